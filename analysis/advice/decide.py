"""Which of the measured choices to recommend: the simplest that nothing clearly beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..drafters import NEAR
from .choices import Choice


@dataclass(frozen=True)
class Verdict:
    """Indices into the choices: what to do, and the best of the others."""

    recommended: int
    runner_up: int | None


def recommend(choices: Sequence[Choice], seconds: np.ndarray, spread: np.ndarray) -> int:
    """Index of the choice to turn on.

    From no speculation upwards, the fastest of each rank takes the place of the one before if it
    is clearly faster: by 1 % at least, and by more than the interval leaves to chance. seconds:
    makespans [C]; spread: the lower end of each ratio over the ratio [C, C].
    """
    chosen = -1
    for rank in sorted({choice.rank for choice in choices}):
        mine = [i for i, choice in enumerate(choices) if choice.rank == rank]
        fastest = min(mine, key=lambda i: seconds[i])
        if chosen < 0 or clearly(seconds, spread, chosen, fastest):
            chosen = fastest
    return chosen


def clearly(seconds: np.ndarray, spread: np.ndarray, slower: int, faster: int) -> bool:
    """Whether `faster` is, beyond noise and beyond 1 %."""
    ratio = seconds[slower] / seconds[faster]
    return bool(ratio >= 1 + NEAR and ratio * spread[slower, faster] > 1)


def decide(choices: Sequence[Choice], seconds: np.ndarray, spread: np.ndarray) -> Verdict:
    """The recommendation and the runner-up: the fastest of the others; of equals the simpler."""
    best = recommend(choices, seconds, spread)
    others = [i for i in range(len(choices)) if i != best]
    runner = min(others, key=lambda i: (seconds[i], choices[i].rank), default=None)
    return Verdict(best, runner)
