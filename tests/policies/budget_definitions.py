"""What budgets that weigh gain against cost go by, from the definitions in plain Python."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from longtail.policies.batch import Batch
from longtail.policies.drafters.cost import DraftCost
from longtail.policies.view import PastStep

COSTS = {
    "base": 1e-2,
    "token": 2e-4,
    "kv_token": 1e-7,
    "pair": 3e-8,
    "request": 2e-5,
    "draft": 1e-5,
}
WEIGHT = 8  # judged tokens that what is known at the start weighs


@dataclass
class Acceptance:
    """What a rule has seen, from the definition: outcomes (drafted, accepted) by age."""

    cold: float
    half_life: float
    before: list[tuple[int, int]] = field(default_factory=list)  # of the RL step before
    seen: list[list[tuple[int, int]]] = field(default_factory=list)  # forward by forward

    def learn_step(self, past: PastStep) -> None:
        p = past.profile
        for first, last in itertools.pairwise(p.offsets.tolist()):
            at = first + 1
            while at < last:
                d, a = int(p.drafted[at]), int(p.matched[at])
                self.before.append((min(d, last - at), a))
                at += a + 1

    def weighted(self) -> list[tuple[int, int, float]]:
        ages = range(len(self.seen) - 1, -1, -1)
        return [
            (d, a, 0.5 ** (age / self.half_life))
            for age, outcomes in zip(ages, self.seen, strict=True)
            for d, a in outcomes
        ]

    def rate(self, first: int, last: int) -> float:
        """Of the tokens at positions first … last - 1 that were judged, the share accepted."""

        def counts(outcomes: list[Any]) -> tuple[float, float]:
            judged = good = 0.0
            for d, a, *weight in outcomes:
                w = weight[0] if weight else 1.0
                judged += w * sum(first <= p < last for p in range(min(d, a + 1)))
                good += w * sum(first <= p < last for p in range(a))
            return judged, good

        judged, good = counts(self.before)
        everywhere = self.cold
        if total := sum(min(d, a + 1) for d, a in self.before):
            everywhere = sum(a for _, a in self.before) / total
        start = everywhere
        if last - first == 1:  # of one position
            start = (good + WEIGHT * everywhere) / (judged + WEIGHT)
        judged, good = counts(self.weighted())
        return (good + WEIGHT * start) / (judged + WEIGHT)


def forward_s(batch: Batch, who: np.ndarray, k: int, cost: DraftCost) -> float:
    """A forward in which everybody drafts k tokens, request by request, and its drafting."""
    seconds = COSTS["base"]
    for i in who.tolist():
        computed = int(batch.prompt_len[i] + batch.generated[i]) - 1
        seconds += COSTS["request"] + COSTS["token"] * (1 + k) + COSTS["draft"] * k
        seconds += COSTS["kv_token"] * (computed + 1 + k)
        seconds += COSTS["pair"] * sum(computed + 1 + q for q in range(k + 1))
    if k:
        seconds += cost.once_s + cost.step_s * min(k, cost.most_steps) + cost.token_s * k * len(who)
    return seconds


def algorithm_1(
    gamma: int,
    high: int,
    low: int,
    beta: list[float],
    most: int,
    lam: float,
    kind: str,
    line_4: int,
) -> tuple[int, int]:
    """Seer's Algorithm 1, line by line; line_4: what Gamma* must reach."""
    total = gamma * (high + low)
    if total < line_4:
        return 0, 0
    g_h, g_l, remaining = 1, 0, total - high
    while remaining > 0:
        gained = [b * beta[g + 1] for b, g in ((high, g_h), (low, g_l))]
        printed = [b * (beta[g] - beta[g + 1]) for b, g in ((high, g_h), (low, g_l))]
        benefit_h, benefit_l = gained if kind == "survival" else printed
        if benefit_h > lam * benefit_l and g_h < most and remaining >= high:
            g_h, remaining = g_h + 1, remaining - high
        elif low > 0 and g_l < most and remaining >= low:
            g_l, remaining = g_l + 1, remaining - low
        else:
            break
    return g_h, g_l
