"""TLT's switch: no drafts until few requests are left, then the same number for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView
from .switch import SIZE, speculates, switch_state

SWITCHES = ("reprefill", "free")


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    on = speculates(plan.values[:SIZE], batch.last, batch.counts)
    k = np.int32(plan.values[SIZE]) if on else np.int32(0)
    for j in range(batch.counts[DECODING]):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class Threshold:
    """No drafts until few requests are left, k tokens from then on.

    Speculation begins an RL step switched off. Once `patience` decode forwards in a row had at most
    `limit` requests it is switched on, and stays on until the RL step ends, whatever arrives. A
    forward in which prompts are prefilled neither counts nor interrupts, as in the released code.
    There switching on empties the KV cache and prefills every live request again: that is
    switch=reprefill, which only a simulation can do. The paper's rule, as reported, is that
    speculation starts when fewer than 32 requests remain, without a wait or a price:
    `limit=31,patience=1,switch=free`. TLT drafts trees of depth 8 and 48 tokens (choosing among
    sizes is the budget beg_mab); k is for chains, and 8 is that depth.
    """

    name: ClassVar[str] = "threshold"
    source: ClassVar[str] = (
        "TLT, arXiv 2511.16665; released: mit-han-lab/fastrl, "
        "sglang/srt/speculative/eagle_worker.py (should_enable_sd), managers/scheduler.py"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    k: int = option(8, "draft tokens once switched on", low=0, high=128, unit="tokens", always=True)
    limit: int = option(
        32, "requests that may decode, 0: on from the start", low=0, unit="requests"
    )
    patience: int = option(10, "decode forwards in a row", low=1, unit="forwards")
    switch: str = option(
        "reprefill", "switching on prefills everybody again, or costs nothing", choices=SWITCHES
    )

    @property
    def in_engine(self) -> bool:
        """Whether an engine can do it: nothing asks vLLM to prefill again."""
        return self.switch == "free" or self.limit == 0

    def plan(self, view: StepView) -> Plan:
        """The switch, off, and k."""
        state = switch_state(self.limit, self.patience, self.switch == "reprefill")
        return Plan(np.append(state, float(self.k)), np.zeros((len(view.prompt), 1)))
