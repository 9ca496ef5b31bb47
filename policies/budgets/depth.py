"""How long drafts are to be made, for rules that see them: they are made before the rule is asked.

Where the drafter is a model, each step of making drafts takes time whatever is verified of them. So
they are made as long as leaves most, and no longer or not at all, but for a try now and then: all
tries together may take `SHARE` of the time.
"""

from __future__ import annotations

import numpy as np

from ..batch import MAX_DRAFT
from ..compiled import jit
from ..drafters.cost import drafting_s, free

CREDIT, KNOWN, WORTH = range(3)  # of the state; from WORTH on seconds that each place leaves
SIZE = WORTH + MAX_DRAFT
WEIGHT = 0.25  # of the last forward in what a place leaves
SHARE = 0.006


def depth_state() -> np.ndarray:
    """float64[SIZE]: nothing is known, so the first drafts are whole."""
    return np.zeros(SIZE)


@jit(inner=True)
def next_longest(state, cost, left_s, made, n, forward_s):
    """How long drafts of the next forward are to be made (`counts[NEXT_LONGEST]`).

    cost: `DraftCost.array`; left_s: float64[MAX_DRAFT], what the tokens at each place of the drafts
    at hand were expected to save over what verifying them took; made: the longest draft; n:
    requests; forward_s: what a forward takes without drafts.
    """
    if free(cost):
        return MAX_DRAFT
    state[CREDIT] += SHARE * forward_s
    for place in range(made):
        weight = WEIGHT if place < state[KNOWN] else 1.0
        state[WORTH + place] += (left_s[place] - state[WORTH + place]) * weight
    first = state[KNOWN] == 0.0
    state[KNOWN] = max(state[KNOWN], made)
    known = np.int64(state[KNOWN])
    best, best_s, sum_s = 0, 0.0, 0.0
    for place in range(known):
        sum_s += state[WORTH + place]
        now_s = sum_s - drafting_s(cost, n * (place + 1), place + 1)
        if now_s > best_s:
            best, best_s = place + 1, now_s
    if best == known:
        return MAX_DRAFT
    if state[CREDIT] < 0.0 and not first:
        return best
    more_s = drafting_s(cost, n * known, known) - drafting_s(cost, n * best, best)
    state[CREDIT] = -more_s
    return best if first else MAX_DRAFT
