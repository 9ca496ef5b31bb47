"""No budget: every draft is verified whole."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import Plan
from ..registry import option
from ..view import StepView
from .fixed import Fixed


@dataclass(frozen=True)
class Unlimited:
    """Whatever the drafter proposes, up to k: the DAS paper's "unlimited budget" baseline."""

    name: ClassVar[str] = "unlimited"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 §5, Fig. 12"
    rule: ClassVar[Any] = staticmethod(Fixed.rule)
    past_steps: ClassVar[int | None] = 0

    k: int = option(128, "longest draft that is verified", low=0, high=128, unit="tokens")

    def plan(self, view: StepView) -> Plan:
        """The constant k, which the drafter's own limit usually undercuts."""
        return Plan(np.array([float(self.k)]), np.zeros((len(view.prompt), 1)))
