"""Drafts that fill a forward up to the tokens at which the hardware is busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, MAX_DRAFT, RULE_SIGNATURE, TREES, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView

CAPACITY, DEEPEST, SHALLOWEST, WIDEST, QUALITY, COUNT = range(6)  # plan.values
PEAK = 0.95  # of the most tokens per second


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, slots, n = plan.values, batch.slots, batch.counts[DECODING]
    verify = int(values[CAPACITY]) // n
    nodes = verify - 1
    if nodes > 0:
        depth = min(np.floor(np.log2(verify / values[QUALITY])), values[DEEPEST])
        depth = int(max(depth, values[SHALLOWEST]))
        if batch.counts[TREES] != 0:
            width = min(nodes, int(values[WIDEST]))
            nodes = min(nodes, width + width * width * (depth - 1)) if depth > 0 else 0
        else:
            nodes = min(nodes, depth)
    tokens = np.int32(min(max(nodes, 0), MAX_DRAFT))
    for j in range(n):
        budget[slots[j]] = tokens


@dataclass(frozen=True)
class Fastgrpo:
    """FastGRPO's concurrency-aware drafts: the fewer requests run, the more each one drafts.

    Every request may verify N = C_peak / B tokens, its own next one among them, where C_peak is
    what the hardware takes in one forward. It drafts L = min(floor(log2(N / a)), L_max) tokens
    deep and at most N - 1. Where drafts are trees, K = min(N - 1, K_max) is their width: a node
    has up to K children and a level keeps K of them, so there are K + K^2 (L - 1) nodes to choose
    from. A drafter's trees have their own shape: here the budget is min(N - 1, K + K^2 (L - 1))
    nodes, the likeliest first; K does not touch chains. N is rounded down, as in the code.

    The code (read in copies of its repository) never drafts less deep than 3 tokens, so far as
    N - 1 allow (`form=released`), and stops with an error where N < 2; we do not draft there.
    Its C_peak is 160, or measured: the smallest batch of one-token requests with 95 % of the most
    tokens per second among batches of up to 256. `capacity=0` reads that off the latency model
    that the budget is told.
    """

    name: ClassVar[str] = "fastgrpo"
    source: ClassVar[str] = (
        "FastGRPO, arXiv 2509.21792; yedaotian9/GRPO_speculative, get_adaptive_hyperparameters"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    capacity: int = option(160, "C_peak, 0 asks the latency model", low=0, unit="tokens")
    most: int = option(5, "L_max, of a draft's depth", low=0, high=MAX_DRAFT, unit="tokens")
    width: int = option(8, "K_max, of a tree", low=1, high=MAX_DRAFT)
    quality: float = option(0.75, "a, lower for a better drafter", low=0.01)
    form: str = option("paper", "released has a least depth of 3", choices=("paper", "released"))
    largest: int = option(256, "batch looked at where capacity=0", low=1, unit="tokens")

    def plan(self, view: StepView) -> Plan:
        """The constants of the formulas."""
        values = np.zeros(COUNT)
        values[CAPACITY] = self.capacity or self._peak(view)
        values[DEEPEST], values[WIDEST], values[QUALITY] = self.most, self.width, self.quality
        values[SHALLOWEST] = 3 if self.form == "released" else 0
        return Plan(values, np.zeros((len(view.prompt), 1)))

    def _peak(self, view: StepView) -> int:
        """The smallest batch with 95 % of the most tokens per second."""
        sizes = np.arange(1, self.largest + 1)
        rates = sizes / np.array([view.forward_s(size, size) for size in sizes.tolist()])
        return int(sizes[np.argmax(rates >= PEAK * rates.max())])
