"""How much a request has yet to generate, as far as anybody can know.

What speaks of it: how long its prompt's rollouts became in earlier RL steps, how long those of its
group became that are over, and how long any rollout did; each only as far as it is longer than what
the request has generated already, which is Bayes' rule for a mixture of these lengths. A length is
spread by a lognormal factor, since the next rollout is like the last ones and not one of them.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from .compiled import jit
from .view import StepView

OWN, POOL = 32, 64  # quantiles kept of a prompt's lengths, and of everybody's
SCENES = 16  # quantiles of what is left
NORMAL = np.array([NormalDist().inv_cdf((s + 0.5) / SCENES) for s in range(SCENES)])
RESIDUE = 0.25  # of what it has generated: mean of what is left to who is longer than all before


def known_lengths(view: StepView) -> tuple[np.ndarray, np.ndarray]:
    """What earlier RL steps say, as `left_quantiles` takes it: float64[N, 1 + OWN], a row's first
    entry being how many lengths follow (ascending), and float64[<= POOL], everybody's.
    """
    lengths = np.concatenate([past.output_len for past in view.past] or [np.empty(0)])
    prompts = np.concatenate([past.prompt for past in view.past] or [np.empty(0)])
    own = np.zeros((len(view.prompt), 1 + OWN))
    for prompt in np.unique(view.prompt):
        mine = _thinned(lengths[prompts == prompt], OWN)
        rows = view.prompt == prompt
        own[rows, 0] = len(mine)
        own[rows, 1 : 1 + len(mine)] = mine
    return own, _thinned(lengths, POOL)


def _thinned(lengths: np.ndarray, most: int) -> np.ndarray:
    """Ascending, at most so many of them."""
    if len(lengths) > most:
        return np.quantile(lengths, (np.arange(most) + 0.5) / most)
    return np.sort(lengths).astype(float)


@jit(inner=True)
def left_quantiles(own, siblings, pool, generated, cap, general, spread, left):
    """Fill left, float64[SCENES], with equally likely numbers of tokens that are yet to come.

    own, siblings, pool: lengths of the prompt's earlier rollouts, of its group's finished ones, and
    of everybody's. general: what share everybody's lengths have where there are others, each of
    which counts one; alone they count one together.
    """
    most = len(own) + len(siblings) + len(pool)
    length, weight = np.empty(most), np.empty(most)
    size, total = 0, 0.0
    for known in (own, siblings):
        for each in known:
            if each > generated:
                length[size], weight[size] = each, 1.0
                size += 1
    share = 1.0 + general / (1.0 - general) * (len(own) + len(siblings))
    for each in pool:
        if each > generated:
            length[size], weight[size] = each, share / len(pool)
            size += 1
    if size == 0:
        for s in range(SCENES):
            far = -np.log(1.0 - (s + 0.5) / SCENES) * max(RESIDUE * generated, 1.0)
            left[s] = min(1.0 + far, cap - generated)
        return
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
        factor = np.exp(spread * NORMAL[(11 * s + 3) % SCENES])
        left[s] = min(max((length[order[k]] - generated) * factor, 1.0), cap - generated)


@jit(inner=True)
def draw(j, s):
    """Which of its quantiles the j-th request has in scene s: each once, as if independently."""
    hashed = np.uint32(j) * np.uint32(2654435761)
    return np.int64((np.uint32(s) * ((hashed >> 7) | 1) + (hashed >> 16)) % SCENES)


@jit(inner=True)
def weigh(left, n, sharp, weight):
    """weight[j]: how likely the j-th request is to be the last one, or near it.

    left: float64[n, SCENES]. Returns how long the longest is expected to take, and how many there
    are that are as long, or nearly so.
    """
    weight[:n] = 0.0
    expected = together = 0.0
    share = np.empty(n)
    for s in range(SCENES):
        longest, total = 1.0, 0.0
        for j in range(n):
            longest = max(longest, left[j, draw(j, s)])
        for j in range(n):
            share[j] = np.exp(sharp * (left[j, draw(j, s)] / longest - 1.0))
            total += share[j]
        square = 0.0
        for j in range(n):
            weight[j] += share[j] / (total * SCENES)
            square += share[j] ** 2
        expected += longest / SCENES
        together += total**2 / square / SCENES
    return expected, together
