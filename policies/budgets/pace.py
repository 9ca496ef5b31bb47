"""How fast a batch would go on: seconds for one more token of each of its requests."""

from __future__ import annotations

import numpy as np

from ..compiled import jit
from ..drafters.cost import drafting_s

MARGIN = 1.1  # times as fast as without drafts: less may be an error of the latency model


@jit(inner=True)
def pace(latency, params, cost, table, n, context):
    """(seconds per token, tokens per forward, draft length) of n requests with the drafts that are
    best for them if all have the same length; length 0 where little speaks for drafts.

    cost: `DraftCost.array`; table: float64[3, C], speeds.py, without
    drafts first; context: KV tokens of a request.
    """
    best_s, best, plain_s = np.inf, 0, np.inf
    for c in range(table.shape[1]):
        drafts = np.int64(np.rint(n * table[2, c]))
        tokens = n + drafts
        now_s = latency(tokens, n, n * context + drafts, tokens * context, 0, drafts, params)
        now_s = (now_s + drafting_s(cost, drafts, table[0, c])) / table[1, c]
        if c == 0:
            plain_s = now_s
        if now_s < best_s:
            best_s, best = now_s, c
    length = np.int64(table[0, best]) if MARGIN * best_s < plain_s else 0
    return best_s, table[1, best], length
