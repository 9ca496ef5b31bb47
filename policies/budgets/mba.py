"""Two draft lengths, one for probes and one for the rest, by their marginal benefit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, MAX_DRAFT, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView
from .outlook import OWN, RATES, best_length, held_tokens, observe, start, survivals

BENEFITS = ("difference", "survival")
PROBE = OWN  # column of plan.request
LONGEST, PRIORITY, BENEFIT, COUNT = range(4)  # own values, and how many


@jit(inner=True)
def _allocate(most, high, low, beta, longest, priority, survival):
    """(gamma_h, gamma_l): Algorithm 1 from line 4, with Gamma* = most and beta[0] = 1."""
    if most < high:
        return 0, 0
    g_h, g_l, left = 1, 0, most - high
    while left > 0:
        if survival:
            gain_h, gain_l = high * beta[g_h + 1], low * beta[g_l + 1]
        else:
            gain_h = high * (beta[g_h] - beta[g_h + 1])
            gain_l = low * (beta[g_l] - beta[g_l + 1])
        if gain_h > priority * gain_l and g_h < longest and left >= high:
            g_h += 1
            left -= high
        elif low > 0 and g_l < longest and left >= low:
            g_l += 1
            left -= low
        else:
            break
    return g_h, g_l


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, rows, slots, n = plan.values, plan.request, batch.slots, batch.counts[DECODING]
    size = (len(values) - RATES - COUNT) // 3
    own = values[RATES + 3 * size :]
    alpha = observe(values, size, rows, slots, n, batch.forwards, batch.drafted, batch.accepted)
    held = held_tokens(slots, n, batch.prompt_len, batch.generated)
    most = n * best_length(latency, params, values, n, held, alpha, size)
    high = 0
    for j in range(n):
        high += rows[slots[j], PROBE] > 0
    beta = np.zeros(size + MAX_DRAFT + 2)  # beyond the longest draft nothing is accepted
    survivals(values, size, beta)
    g_h, g_l = _allocate(
        most, high, n - high, beta, np.int64(own[LONGEST]), own[PRIORITY], own[BENEFIT] > 0
    )
    for j in range(n):
        i = slots[j]
        budget[i] = np.int32(g_h if rows[i, PROBE] > 0 else g_l)


@dataclass(frozen=True)
class Mba:
    """Seer's marginal-benefit-aware speculation: longer drafts for each group's probe.

    The draft length gamma* that gives most tokens per second to a batch of B, by the latency model
    that the budget is told and the acceptance rate alpha, sets the budget of gamma* B draft tokens.
    It is dealt token by token to the probes (the first request of each prompt; a replica has its
    own) or the others: to the probes where their benefit is more than `priority` times the
    others'. beta(j) is the chance that j draft tokens are all accepted, beta(0) = 1; alpha and beta
    are learnt forward by forward (outlook.py), from the RL step before or `cold` on.

    The benefit of a token behind j is printed as B_x (beta(j) - beta(j + 1)), the chance that the
    draft ends there; the tokens gained by it are B_x beta(j + 1) (`benefit=survival`). No drafts
    are given if the budget is below B_h (arXiv v3, line 4) or below B (a text of the OSDI version,
    perhaps a lost subscript): as gamma* is whole, it is either 0 or at least B, and both are the
    same. The paper searches gamma without a bound: here up to the drafter's longest draft, and
    gamma* = 0 is a forward without drafts. It decides periodically: here in every forward.
    """

    name: ClassVar[str] = "mba"
    source: ClassVar[str] = "Seer, arXiv 2511.14617v3 §3.4.2, Algorithm 1"
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 1

    most: int = option(8, "gamma_max, of one request", low=1, high=128, unit="tokens")
    priority: float = option(2.0, "lambda, of the probes", low=1.0)
    benefit: str = option("difference", "of a token: as printed, or gained", choices=BENEFITS)
    half_life: float = option(
        32.0, "after which a draft's outcome counts half (ours)", low=0.1, unit="forwards"
    )
    cold: float = option(0.5, "acceptance rate without history (ours)", low=0.0, high=1.0)

    def plan(self, view: StepView) -> Plan:
        """Who is a probe, what the RL step before says of acceptance, and room to learn more."""
        own = [float(self.most), self.priority, float(self.benefit == "survival")]
        plan = start(view, self.cold, self.half_life, own, 1)
        plan.request[np.unique(view.prompt, return_index=True)[1], PROBE] = 1.0
        return plan
