"""Everything that is known of lengths together, widened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..batch import Plan
from ..compiled import jit
from ..registry import option
from ..view import StepView
from .known import GENERAL, MIXTURE, POOL, SPREAD, add, own_lengths, plan_of


@jit(inner=True)
def mixture(known, row, finished, running, generated, cap, length, weight):
    """The prompt's earlier lengths and finished siblings' count one each; everybody's have a share
    of `general` beside them, and alone they count one together.
    """
    own, pool, general = row[1 : 1 + int(row[0])], known[POOL:], known[GENERAL]
    size = add(own, 1.0, generated, 0, length, weight)
    size = add(finished, 1.0, generated, size, length, weight)
    share = 1.0 + general / (1.0 - general) * (len(own) + len(finished))
    return add(pool, share / max(len(pool), 1), generated, size, length, weight)


@dataclass(frozen=True)
class Mixture:
    """The prompt's earlier lengths, its finished siblings' and everybody's, by Bayes' rule.

    Each only as far as it is longer than what the request has generated already. A length is spread
    by a lognormal factor, since the next rollout is like the last ones and not one of them.
    """

    name: ClassVar[str] = "mixture"
    source: ClassVar[str] = "longtail's own: docs/tail.md"

    general: float = option(
        0.95, "weight of everybody's lengths beside the prompt's own", low=0.0, high=0.99
    )
    spread: float = option(0.15, "of lengths around known ones, standard deviation of log", low=0.0)

    def plan(self, view: StepView) -> Plan:
        """The prompts' lengths and everybody's."""
        plan = plan_of(view, MIXTURE, own_lengths(view))
        plan.values[[GENERAL, SPREAD]] = self.general, self.spread
        return plan
