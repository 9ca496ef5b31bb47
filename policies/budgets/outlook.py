"""What a rule may expect of k draft tokens for everybody: how many are accepted, and what it takes.

Acceptance is estimated online, position by position: token p of a draft is judged if all before it
were accepted. Every forward adds what became of the drafts of the one before, over all requests
that decode, to what was counted earlier, and all that was counted fades with every forward, drafted
in or not. What is known at the start (the drafts of the RL step before, decoded with whole drafts,
or a rate that is assumed) weighs as much as WEIGHT judged tokens. So where nothing is drafted the
estimate goes back to that, and drafting is tried again. The last draft of a request is not counted:
it is gone by then. A tree is taken for a chain as long as its accepted path and one node more.
"""

import numpy as np

from ..batch import Plan
from ..compiled import jit
from ..drafters.cost import drafting_s
from ..view import StepView

WEIGHT = 8.0  # judged tokens that the start counts for, as in policies/confidence.py
NEGLIGIBLE = 1e-12  # fainter counts are dropped: numbers with leading zeros are slow
FORWARDS, DRAFTED, ACCEPTED, OWN = range(4)  # columns of plan.request; what follows is the policy's
KEEP, ALPHA, COST, RATES = 0, 1, 2, 6  # plan.values; COST: drafters/cost.py; RATES, JUDGED and GOOD
# are of each position, then come the policy's own


def start(view: StepView, cold: float, half_life: float, own: list[float], columns: int) -> Plan:
    """A plan that knows nothing of this RL step yet.

    cold: acceptance rate where there is no history; half_life: forwards; own: the policy's values,
    which come last; columns: how many of its own it keeps of each request.
    """
    size = max(view.longest_draft, 1)
    judged, good = np.zeros(size), np.zeros(size)
    for past in view.past:
        if past.rl_step == view.rl_step - 1:
            _count(past.profile.drafted, past.profile.matched, past.profile.offsets, judged, good)
    total = judged.sum()
    alpha = good.sum() / total if total else cold
    rates = (good + WEIGHT * alpha) / (judged + WEIGHT)
    head = [0.5 ** (1 / half_life), alpha, *view.cost.array]
    values = np.concatenate([head, rates, np.zeros(2 * size), own])
    return Plan(values, np.zeros((len(view.prompt), OWN + columns)))


@jit()
def _count(drafted, matched, offsets, judged, good):
    for i in range(len(offsets) - 1):
        at = offsets[i] + 1
        while at < offsets[i + 1]:
            d, a = np.int64(drafted[at]), np.int64(matched[at])
            for p in range(min(d, a + 1, offsets[i + 1] - at, len(judged))):
                judged[p] += 1.0
                if p < a:
                    good[p] += 1.0
            at += a + 1


@jit(inner=True)
def observe(values, size, rows, slots, n, forwards, drafted, accepted):
    """What became of the last forward's drafts; the acceptance rate of a draft token, anywhere.

    size: positions, of which `values` has three arrays. The other arrays are the batch's.
    """
    judged = values[RATES + size : RATES + 2 * size]
    good = values[RATES + 2 * size : RATES + 3 * size]
    keep = values[KEEP]
    for p in range(size):
        judged[p] = judged[p] * keep if judged[p] > NEGLIGIBLE else 0.0
        good[p] = good[p] * keep if good[p] > NEGLIGIBLE else 0.0
    for j in range(n):
        i = slots[j]
        # Only between two looks at a decoding request has there been a draft: what was verified
        # with its prompt is none.
        if rows[i, FORWARDS] == forwards[i] - 1 and rows[i, FORWARDS] > 0:
            d = np.int64(drafted[i] - rows[i, DRAFTED])
            a = np.int64(accepted[i] - rows[i, ACCEPTED])
            for p in range(min(d, a + 1, size)):
                judged[p] += 1.0
            for p in range(min(a, size)):
                good[p] += 1.0
        rows[i, FORWARDS], rows[i, DRAFTED] = forwards[i], drafted[i]
        rows[i, ACCEPTED] = accepted[i]
    total, hits = WEIGHT, WEIGHT * values[ALPHA]
    for p in range(size):
        total += judged[p]
        hits += good[p]
    return hits / total


@jit(inner=True)
def survivals(values, size, out):
    """float64[size + 1]: the chance that a draft's first p tokens are all accepted, from p = 0."""
    out[0] = 1.0
    for p in range(size):
        judged, good = values[RATES + size + p], values[RATES + 2 * size + p]
        out[p + 1] = out[p] * (good + WEIGHT * values[RATES + p]) / (judged + WEIGHT)


@jit(inner=True)
def held_tokens(slots, n, prompt_len, generated):
    """Prompt and output tokens of the decoding requests."""
    held = 0
    for j in range(n):
        held += prompt_len[slots[j]] + generated[slots[j]]
    return held


@jit(inner=True)
def best_length(latency, params, values, n, held, alpha, longest):
    """The k that gives most tokens per second, 0 … longest, and the shortest of equals.

    Of k draft tokens 1 + alpha + … + alpha^k tokens come out, in the seconds of a forward of n
    requests with held tokens that draft k each, and of drafting (policies/drafters/cost.py). What
    is prefilled in the same forward is not known and left out.
    """
    best, expected, power, least = 0, 1.0, 1.0, np.inf
    for k in range(longest + 1):
        seconds = latency(
            n * (k + 1), n, held + n * k, (k + 1) * (2 * held + n * k) // 2, 0, n * k, params
        )
        if k > 0:
            power *= alpha
            expected += power
            seconds += drafting_s(values[COST:RATES], n * k, k)
        if seconds / expected < least:
            best, least = k, seconds / expected
    return best
