"""What a drafter's own forwards cost, where it is a model: on the critical path.

What looking things up costs the host belongs to the latency model instead (`draft`, or what was
calibrated for the drafter): it depends on the machine, not on the drafter's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiled import jit


@dataclass(frozen=True)
class DraftCost:
    """Seconds, in a forward in which anything is drafted: once + step * steps + token * tokens.

    steps: the longest draft of the batch, but no more than `most_steps` (a tree's depth).
    """

    once_s: float = 0.0
    step_s: float = 0.0
    most_steps: float = np.inf
    token_s: float = 0.0

    @property
    def array(self) -> np.ndarray:
        """float64[4], as the decode loop takes it."""
        return np.array([self.once_s, self.step_s, self.most_steps, self.token_s])

    def whole_s(self, longest: int) -> float:
        """Seconds of one draft of `longest` tokens alone."""
        return float(drafting_s.py_func(self.array, longest, longest))

    @property
    def free(self) -> bool:
        """Whether drafting takes no time."""
        return bool(free.py_func(self.array))


FREE = DraftCost()


@jit(inner=True)
def drafting_s(cost, drafted, deepest):
    """Seconds of a forward's drafts, so many tokens in all and the longest so deep.

    cost: float64[4], `DraftCost.array`.
    """
    if drafted == 0:
        return 0.0
    return cost[0] + cost[1] * min(float(deepest), cost[2]) + cost[3] * drafted


@jit(inner=True)
def free(cost):
    """Whether drafting takes no time; cost: as above."""
    return cost[0] == 0.0 and cost[1] == 0.0 and cost[3] == 0.0


def cost_of(drafter: object) -> DraftCost:
    """The drafter's own; most have none."""
    cost = getattr(drafter, "cost", FREE)
    assert isinstance(cost, DraftCost)
    return cost


def cost_notes(drafter: Any) -> tuple[str, ...]:
    """What to know of results with a model whose cost nobody has given."""
    free = f"drafting with {drafter.name} is taken to be free: measure what it takes"
    return (free,) if cost_of(drafter).free else ()
