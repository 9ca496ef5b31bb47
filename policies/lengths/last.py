"""Who will be last, if what is left is as likely as said."""

from __future__ import annotations

import numpy as np

from ..compiled import jit
from .known import SCENES


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
