"""The same number of draft tokens for everybody, always."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    k = np.int32(plan.values[0])
    for j in range(batch.counts[DECODING]):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class Fixed:
    """At most k draft tokens per request and forward; k=0 is no speculation."""

    name: ClassVar[str] = "fixed"
    source: ClassVar[str] = "vLLM's num_speculative_tokens"
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    k: int = option(
        8, "draft tokens per request and forward", low=0, high=128, unit="tokens", always=True
    )

    def plan(self, view: StepView) -> Plan:
        """The constant k."""
        return Plan(np.array([float(self.k)]), np.zeros((len(view.prompt), 1)))
