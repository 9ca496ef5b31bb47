"""vLLM's adaptive verification: the likeliest draft tokens of all, as many as pay off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, MAX_DRAFT, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..confidence import chances_at_hand
from ..drafters.cost import drafting_s
from ..handles import unpack
from ..registry import option
from ..view import StepView
from .outlook import held_tokens

COST, MOST = 0, 4  # plan.values; COST: drafters/cost.py


@jit(inner=True)
def _most_per_second(latency, params, ranked, n, held, made_s):
    """How many of the likeliest tokens to verify; ranked: their chances, ascending."""
    best, rate, expected = 0, -1.0, float(n)
    context = held / n
    for m in range(len(ranked) + 1):
        if m > 0:
            expected += ranked[len(ranked) - m]
        pairs = np.int64(held + m * context)  # who drafts them is not looked at
        seconds = made_s + latency(n + m, n, held + m, pairs, 0, m, params)
        if expected > rate * seconds:
            best, rate = m, expected / seconds
    return best


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, slots, n = plan.values, batch.slots, batch.counts[DECODING]
    starts = np.empty(n + 1, np.int64)
    scores = chances_at_hand(batch, np.int64(values[MOST]), starts)
    deepest = 0
    for j in range(n):
        deepest = max(deepest, starts[j + 1] - starts[j])
    made_s = drafting_s(values[COST:MOST], len(scores), deepest)
    ranked = np.sort(scores)
    held = held_tokens(slots, n, batch.prompt_len, batch.generated)
    best = _most_per_second(latency, params, ranked, n, held, made_s)
    least = ranked[len(ranked) - best] if best > 0 else np.inf
    ties = best  # how many tokens that are exactly as likely as the last one there is room for
    for i in range(len(ranked) - best, len(ranked)):
        if ranked[i] > least:
            ties -= 1
    for j in range(n):
        taken = 0
        for t in range(starts[j], starts[j + 1]):
            if scores[t] > least:
                taken += 1
            elif scores[t] == least and ties > 0:
                taken, ties = taken + 1, ties - 1
            else:
                break
        budget[slots[j]] = np.int32(taken)


@dataclass(frozen=True)
class AdaptiveVerification:
    """vLLM's adaptive verification: the draft tokens likeliest to be accepted, over all requests.

    A draft token's score is the product of the chances along its draft, up to its own. All tokens
    at hand are ranked by it, and as many of the best are verified as give most accepted tokens per
    second: the B that come anyway and the sum of the scores, over the seconds of drafting and of
    the forward, by the latency model that the budget is told. Equals go to whom the engine serves
    first; no better than no drafts is no drafts.

    As in vLLM, every count is tried, not only up to the first that does not pay (with CUDA graphs'
    sizes the next may), and drafting costs the same whatever is verified: all drafts are made by
    then. vLLM takes chances from DSpark's confidence head, or from draft logits by a regression
    fitted while serving; here they are the rates at which earlier RL steps accepted tokens of the
    same label (policies/confidence.py). It sizes the budget with the scores of a step before, to
    spare a synchronisation; here both use those at hand. It counts the tokens that are prefilled
    in the same forward; a rule does not know them. Of a tree the nodes' own chances count, a node
    never for more than those listed before it.
    """

    name: ClassVar[str] = "adaptive_verification"
    source: ClassVar[str] = (
        "vLLM, vllm/v1/worker/gpu/spec_decode/adaptive_verification.py (pull requests 47808, 52228)"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = None
    sees_drafts: ClassVar[bool] = True

    most: int = option(MAX_DRAFT, "of one draft at most", low=0, high=MAX_DRAFT, unit="tokens")

    def plan(self, view: StepView) -> Plan:
        """What drafting costs; the chances come with the batch."""
        return Plan(np.append(view.cost.array, self.most), np.zeros((len(view.prompt), 1)))
