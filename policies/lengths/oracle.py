"""The recorded length, to see what knowing it would be worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..batch import Plan
from ..registry import ComponentError
from ..view import StepView
from .known import EARLIER, plan_of


@dataclass(frozen=True)
class Oracle:
    """The recorded length itself. It breaks the knowledge boundary: a bound, and no policy.

    Only the simulator can tell it (`StepView.recorded_len`); engines refuse it.
    """

    name: ClassVar[str] = "oracle"
    source: ClassVar[str] = "the recorded rollout; a bound, as Seer's length-oracle ablation is"
    knows_lengths: ClassVar[bool] = True

    def plan(self, view: StepView) -> Plan:
        """Each request's length. Raises ComponentError where nobody has told it."""
        told = view.recorded_len
        if told is None or len(told) != len(view.prompt):
            raise ComponentError(
                "length predictor 'oracle' needs every request's recorded length, which only a "
                "simulation has"
            )
        return plan_of(view, EARLIER, np.stack([np.ones(len(told)), told.astype(float)], axis=1))
