"""What every running request has left, by any predictor: equally likely numbers of tokens."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from ..batch import DECODING, Batch, Plan
from ..compiled import jit
from .group import longest_sibling
from .history import earlier
from .known import AHEAD, GROUP, KIND, MIXTURE, POOL, SCENES, SPREAD, SURVIVAL, add
from .mixture import mixture
from .noise import ahead
from .survival import survival

NORMAL = np.array([NormalDist().inv_cdf((s + 0.5) / SCENES) for s in range(SCENES)])
RESIDUE = 0.25  # of what it has generated: mean of what is left to who is longer than all before


@jit(inner=True)
def look_ahead(known, rows, slots, n, generated, cap, group, ended, left):
    """Fill left, float64[n, SCENES], for the requests in the first n of slots.

    known, rows: a predictor's plan (rows may have more columns); the others: of the batch.
    """
    room = rows.shape[1] + len(ended) + len(known)
    length, weight = np.empty(room), np.empty(room)
    siblings = np.empty(len(ended))  # finished ones from the front, running ones from the back
    least, first, following = _by_group(group)
    for j in range(n):
        i, finished, running = slots[j], 0, len(ended)
        k = first[group[i] - least] if group[i] >= 0 else -1
        while k >= 0:
            if ended[k] > 0:
                siblings[finished] = ended[k]
                finished += 1
            elif generated[k] > 0:
                running -= 1
                siblings[running] = generated[k]
            k = following[k]
        left_quantiles(
            known, rows[i], siblings[:finished], siblings[running:], generated[i], cap[i], length,
            weight, left[j],
        )  # fmt: skip


@jit()
def _look_ahead(known, rows, slots, n, generated, cap, group, ended, left):
    look_ahead(known, rows, slots, n, generated, cap, group, ended, left)


def left_of(plan: Plan, batch: Batch) -> np.ndarray:
    """float64[n, SCENES]: what the n decoding requests have left, tokens; for callers in Python."""
    n = int(batch.counts[DECODING])
    left = np.empty((n, SCENES))
    _look_ahead(*plan, batch.slots, n, batch.generated, batch.cap, batch.group, batch.ended, left)
    return left


@jit(inner=True)
def _by_group(group):
    """(least, first, following): group g has request first[g - least], after request k comes
    following[k], and -1 is the end.
    """
    least, most = 0, -1
    for each in group:
        if each >= 0:
            least = each if most < 0 else min(least, each)
            most = max(most, each)
    first, following = np.full(most - least + 1, -1), np.full(len(group), -1)
    for k in range(len(group) - 1, -1, -1):
        if group[k] >= 0:
            following[k], first[group[k] - least] = first[group[k] - least], k
    return least, first, following


@jit(inner=True)
def left_quantiles(known, row, finished, running, generated, cap, length, weight, left):
    """Fill left, float64[SCENES], with equally likely numbers of tokens that are yet to come, from
    1 to what the cap leaves. length, weight: room for what the predictor says.
    """
    kind = known[KIND]
    if kind == MIXTURE:
        size = mixture(known, row, finished, running, generated, cap, length, weight)
    elif kind == GROUP:
        size = longest_sibling(known, row, finished, running, generated, cap, length, weight)
    elif kind == SURVIVAL:
        size = survival(known, row, finished, running, generated, cap, length, weight)
    elif kind == AHEAD:
        size = ahead(known, row, finished, running, generated, cap, length, weight)
    else:
        size = earlier(known, row, finished, running, generated, cap, length, weight)
    if size == 0:
        size = add(known[POOL:], 1.0, generated, 0, length, weight)
    if size == 0:
        for s in range(SCENES):
            far = -np.log(1.0 - (s + 0.5) / SCENES) * max(RESIDUE * generated, 1.0)
            left[s] = min(1.0 + far, cap - generated)
        return
    total = 0.0
    for k in range(size):
        total += weight[k]
    order = np.argsort(length[:size])
    below, k = 0.0, 0
    for s in range(SCENES):
        wanted = (s + 0.5) / SCENES * total
        while k < size - 1 and below + weight[order[k]] < wanted:
            below += weight[order[k]]
            k += 1
        # Lengths and factors are independent: the factor's quantiles in another order.
        factor = np.exp(known[SPREAD] * NORMAL[(11 * s + 3) % SCENES])
        left[s] = min(max((length[order[k]] - generated) * factor, 1.0), cap - generated)
