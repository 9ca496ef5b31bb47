"""The prompt's earlier rollouts: the next ones will be as long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..batch import Plan
from ..compiled import jit
from ..view import StepView
from .known import EARLIER, add, own_lengths, plan_of


@jit(inner=True)
def earlier(known, row, finished, running, generated, cap, length, weight):
    """The lengths in its row, one as likely as the other."""
    return add(row[1 : 1 + int(row[0])], 1.0, generated, 0, length, weight)


@dataclass(frozen=True)
class History:
    """Quantiles of the lengths of the prompt's rollouts in earlier RL steps.

    Those that the request has not outlived, one as likely as the other; where there are none,
    everybody's.
    """

    name: ClassVar[str] = "history"
    source: ClassVar[str] = "empirical quantiles, as RhymeRL ranks prompts by (arXiv 2508.18588)"

    def plan(self, view: StepView) -> Plan:
        """The prompts' lengths."""
        return plan_of(view, EARLIER, own_lengths(view))
