"""The batch as a live policy keeps it: a seat per request, in arrays that grow.

A request that is over keeps its seat for a while, so that budgets see how long its siblings became;
it gives it up when the next RL step begins, nobody is left, or too many are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

import numpy as np

from ..policies.batch import NO_CAP, Batch, empty_batch
from ..policies.drafters.live import UNKNOWN

MOST_OVER = 1 << 14  # requests that are over and may be seen; the oldest go first


class Request:
    """One request as a policy keeps it; `seat` is its place in the batch arrays."""

    __slots__ = ("begun", "lost", "order", "prompt", "prompt_id", "reward", "seat")

    def __init__(self, order: int, seat: int, prompt_id: Hashable, prompt: np.ndarray) -> None:
        self.order, self.seat, self.prompt_id, self.prompt = order, seat, prompt_id, prompt
        self.reward = UNKNOWN
        self.begun = False  # the drafter knows it
        self.lost = False  # the drafter failed on it: it goes on undrafted


class Numbers(dict):
    """Anything numbered by first appearance."""

    def number(self, name: Hashable) -> int:
        """Its number."""
        return int(self.setdefault(name, len(self)))


class Seats:
    """`batch` has a row per seat, and as many seats as there ever were requests at once."""

    def __init__(self) -> None:
        self.batch: Batch = empty_batch(np.zeros(0), np.zeros(0))
        self._free: list[int] = []
        self._over: deque[int] = deque()
        self._groups = Numbers()
        self._taken = 0

    def __len__(self) -> int:
        return len(self.batch.slots)

    @property
    def full(self) -> bool:
        """Whether the next request needs more seats than there are."""
        return not self._free

    def take(self, prompt_id: Hashable, prompt_len: int, cap: int) -> int:
        """A seat for a request that has generated nothing yet."""
        seat, batch = self._free.pop(), self.batch
        self._taken += 1
        batch.prompt_len[seat], batch.cap[seat] = prompt_len, min(max(cap, 0), int(NO_CAP))
        batch.group[seat] = self._groups.number(prompt_id)
        for counter in (batch.generated, batch.forwards, batch.drafted, batch.accepted):
            counter[seat] = 0
        return seat

    def leave(self, seat: int, output_len: int) -> None:
        """The request is over; output_len: 0 where it tells nothing of how long others become."""
        self._taken -= 1
        self._over.append(seat)
        self.batch.ended[seat] = output_len
        if output_len == 0:
            self.batch.group[seat] = -1
        self.forget(MOST_OVER if self._taken else 0)

    def forget(self, most: int = 0) -> None:
        """Of the requests that are over keep the last `most`."""
        while len(self._over) > most:
            seat = self._over.popleft()
            self.batch.group[seat], self.batch.ended[seat] = -1, 0
            self._free.append(seat)
        if not self._taken:
            self._groups.clear()

    def grow(self) -> None:
        """Twice as many seats; what is in the old ones stays."""
        count = len(self)
        size = max(2 * count, 64)
        old, self.batch = self.batch, empty_batch(np.zeros(size), np.zeros(size))
        for name, before in old._asdict().items():
            if name != "labels":  # they are of one forward
                getattr(self.batch, name)[: len(before)] = before
        self._free.extend(range(size - 1, count - 1, -1))
