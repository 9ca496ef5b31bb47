"""One draft length for everybody: the one with most tokens per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView
from .outlook import RATES, best_length, held_tokens, observe, start


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, slots, n = plan.values, batch.slots, batch.counts[DECODING]
    size = (len(values) - RATES - 1) // 3
    alpha = observe(
        values, size, plan.request, slots, n, batch.forwards, batch.drafted, batch.accepted
    )
    held = held_tokens(slots, n, batch.prompt_len, batch.generated)
    longest = min(np.int64(values[-1]), size)
    k = np.int32(best_length(latency, params, values, n, held, alpha, longest))
    for j in range(n):
        budget[slots[j]] = k


@dataclass(frozen=True)
class Goodput:
    """SmartSpec: each forward, the one draft length k >= 0 with most tokens expected per second.

    Goodput is B (1 - alpha^(k + 1)) / (1 - alpha) tokens over the seconds that drafting and
    verifying k tokens for each of B requests take, by the latency model that the budget is told.
    The paper estimates the acceptance rate alpha as a moving average over all requests; its
    window, its start and what happens while nothing is drafted were not in the text we had. Ours:
    what was judged fades with a half-life, counts together with the RL step before (`cold` where
    there is none), and comes to weigh less than that start while k = 0, so that drafting is tried
    again. A drafter that finds fewer than k tokens drafts fewer, for all that is expected of it.
    """

    name: ClassVar[str] = "goodput"
    source: ClassVar[str] = "SmartSpec / TurboSpec, arXiv 2406.14066 (goodput)"
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 1

    most: int = option(128, "longest draft considered", low=0, high=128, unit="tokens")
    half_life: float = option(
        32.0, "after which a draft's outcome counts half (ours)", low=0.1, unit="forwards"
    )
    cold: float = option(0.5, "acceptance rate without history (ours)", low=0.0, high=1.0)

    def plan(self, view: StepView) -> Plan:
        """What the RL step before says of acceptance, and room to learn more."""
        return start(view, self.cold, self.half_life, [float(self.most)], 0)
