"""Seer's estimate: as long as the longest of its siblings so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..batch import NO_CAP, Plan
from ..compiled import jit
from ..view import StepView
from .known import GROUP, POOL, plan_of


@jit(inner=True)
def longest_sibling(known, row, finished, running, generated, cap, length, weight):
    """One length: the longest finished one; before there is one, the cap."""
    pool = known[POOL:]
    if len(finished) > 0:
        guess = finished.max()
    elif cap < NO_CAP:
        guess = float(cap)
    elif len(pool) > 0:
        guess = pool[-1]
    else:
        return 0
    if guess <= generated:
        return 0
    length[0], weight[0] = guess, 1.0
    return 1


@dataclass(frozen=True)
class Group:
    """As long as the longest of the group that has finished, for certain.

    As long as possible before any has: up to the cap, or as the longest rollout known where there
    is none. In Seer one request of each group, the probe, goes first, so that the others' length is
    known when they begin; here all may have begun at once, and whoever outlives its group's longest
    is told nothing by it: then everybody's lengths speak.
    """

    name: ClassVar[str] = "group"
    source: ClassVar[str] = "Seer, arXiv 2511.14617 §3, algorithm 2 (L_g)"

    def plan(self, view: StepView) -> Plan:
        """Nothing of the requests: all of it comes to light as siblings finish."""
        return plan_of(view, GROUP)
