"""TLT's switch: plain decoding until few are left, speculation from then on (a part of budgets).

Its state is the first SIZE entries of `Plan.values`; it begins anew with each RL step's plan.
"""

from __future__ import annotations

import numpy as np

from ..batch import LAST_PREFILL, LAST_REQUESTS, RESTART
from ..compiled import jit

ON, SEEN, LIMIT, PATIENCE, REPREFILL, SIZE = range(6)


def switch_state(limit: int, patience: int, reprefill: bool) -> np.ndarray:
    """float64[SIZE]; limit 0: on from the start."""
    return np.array([float(limit == 0), 0.0, limit, patience, float(reprefill)])


@jit(inner=True)
def speculates(state, last, counts):
    """Whether this forward may draft; state: float64[SIZE]. What the forward before was counts: a
    decode forward is one in which nobody was prefilled, and others neither count nor interrupt.
    """
    if state[ON] != 0:
        return True
    if last[LAST_REQUESTS] > 0 and last[LAST_PREFILL] == 0:
        state[SEEN] = state[SEEN] + 1 if last[LAST_REQUESTS] <= state[LIMIT] else 0.0
    if state[SEEN] < state[PATIENCE]:
        return False
    state[ON] = 1.0
    if state[REPREFILL] != 0:
        counts[RESTART] = 1
    return True
