"""Lengths that mean nothing, to see what wrong ones cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..batch import Plan
from ..compiled import jit
from ..registry import option
from ..view import StepView
from .known import AHEAD, POOL, plan_of

COLD = 1000.0  # tokens, where no length is known: who is longer than whom is all that counts


@jit(inner=True)
def ahead(known, row, finished, running, generated, cap, length, weight):
    """One length: so many tokens more, however many there were."""
    length[0], weight[0] = generated + row[1], 1.0
    return 1


@dataclass(frozen=True)
class Noise:
    """What is left is drawn at random, once for each request, and told as if it were certain.

    Exponential with the mean of everybody's lengths: in range, and without a word on the request.
    However far it gets, as much is said to be left, so that the same requests are wronged forever.
    """

    name: ClassVar[str] = "noise"
    source: ClassVar[str] = "longtail's own: a check of robustness"

    seed: int = option(0, "another one, other lengths", low=0)

    def plan(self, view: StepView) -> Plan:
        """A length for each row of this RL step."""
        plan = plan_of(view, AHEAD)
        pool, count = plan.values[POOL:], len(view.prompt)
        mean = pool.mean() if len(pool) else COLD
        left = np.random.default_rng((self.seed, view.rl_step)).exponential(mean, count)
        return Plan(plan.values, np.stack([np.ones(count), left], axis=1))
