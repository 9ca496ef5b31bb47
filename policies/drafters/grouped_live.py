"""Drafts from what a group's other rollouts have written by now, forward by forward."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np

from .live import UNKNOWN, Ints
from .suffix_rows import LiveLookup
from .suffix_rule import SuffixRule
from .suffix_siblings import Siblings


class LiveGrouped(LiveLookup):
    """The live face of `grouped` (see `LiveDrafter`); a forward is a call of `extend`.

    A group is the requests that begin with the same prompt id in the same RL step. After every
    `every`-th forward of an RL step each request gets to see what its group had written `delay`
    forwards before.
    """

    def __init__(self, rule: SuffixRule, every: int, delay: int) -> None:
        self._siblings = Siblings(rule.depth)
        super().__init__(rule, self._siblings)
        self._every, self._delay = every, delay
        self._forward = 0
        self._number: dict[Hashable, int] = {}  # of a running request's text among the siblings'
        # What was written and is not to be seen yet: forward, order, group, text, tokens.
        self._unseen: deque[tuple[int, int, Hashable, int, np.ndarray]] = deque()
        self._first = 0  # forwards before this RL step

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what comes is in groups of its own."""
        self._rl_step, self._first = rl_step, self._forward
        running = {group for _, group, _ in self._who.values()}
        gone = {group for group in self._siblings.groups if group not in running}
        self._unseen = deque(item for item in self._unseen if item[2] not in gone)
        for group in gone:
            self._siblings.drop(group)

    def _corpus(self, prompt_id: Hashable) -> Hashable:
        return self._rl_step, prompt_id

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request with the tokens of its prompt, in the group of the RL step begun last."""
        super().begin(request, prompt_id, prompt)
        self._number[request] = self._siblings.join(self._who[request][1])

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """What each request has just generated: one forward."""
        super().extend(requests, tokens)
        self._forward += 1
        for request, new in zip(requests, tokens, strict=True):
            if len(new):
                order, group, _ = self._who[request]
                item = (self._forward, order, group, self._number[request], np.array(new, np.int32))
                self._unseen.append(item)
        if (self._forward - self._first) % self._every == 0:
            self._fetch(self._forward - self._delay)

    def _fetch(self, forward: int) -> None:
        """Show everybody what was written up to `forward`, texts in the order of their begin."""
        pieces: dict[int, list[np.ndarray]] = {}
        about: dict[int, tuple[Hashable, int]] = {}
        while self._unseen and self._unseen[0][0] <= forward:
            _, order, group, number, new = self._unseen.popleft()
            pieces.setdefault(order, []).append(new)
            about[order] = group, number
        if not pieces:
            return
        orders = sorted(pieces)
        texts = [np.concatenate(pieces[order]) for order in orders]
        groups = [about[order][0] for order in orders]
        self._siblings.publish(
            groups,
            np.array([about[order][1] for order in orders], np.int64),
            np.concatenate(texts),
            np.array([len(text) for text in texts], np.int64),
        )
        changed = set(groups)
        near = [r for r in self._row if self._who[r][1] in changed]
        if near:
            self._place(self._which(near), near)

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """The request is over; its group goes on seeing what it wrote."""
        self._leave(request)
        del self._number[request]

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """Nothing to learn: only the group's own texts are looked at."""
