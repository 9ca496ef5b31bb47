"""What every drafter is asked when it drafts live: one forward at a time, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..drafts import Drafts

Ints: TypeAlias = Sequence[int] | np.ndarray  # tokens: any sequence of integers
UNKNOWN = float("nan")  # a reward that nobody told


@runtime_checkable
class LiveDrafter(Protocol):
    """The live face of a drafter: what its `live()` returns.

    A request is any hashable that is not running already, a prompt id any hashable; both may be
    used again. What a finished request wrote is history of its prompt id, and history becomes
    visible at `start_step` only: between two of them drafts depend on a request's own text and on
    nothing that others do.
    """

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins, never a lower one than before.

        What finished or was learnt becomes history, and what is older than the drafter's window is
        forgotten. Requests may be running: from now on they get the drafts that they would get had
        they begun now, with all of their text (but for `grouped`: they stay in their groups).
        """

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request begins, with the tokens of its prompt."""

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """The tokens that each of these running requests has just generated; each named once."""

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """One draft for each of these running requests, at most K = `longest_draft` tokens each.

        The arrays are the caller's. Nothing is remembered of having been asked.
        """

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """A running request is over: a rollout of the RL step begun last, whenever it began.

        learn: whether it becomes history; one that was aborted does not. reward: what it earned.
        """

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """A rollout that finished elsewhere, of the RL step begun last: as if it had just run."""
