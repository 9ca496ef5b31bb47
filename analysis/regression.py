"""Robust non-negative least squares in relative errors, with a block bootstrap.

Seconds of a forward scatter in proportion to their size, and now and then one takes many times as
long (the first ones compile, another program runs). So errors count relative to a scale `t`, what
is far out is left out, and a coefficient is never negative: no part of a forward gives time back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import nnls

TUKEY = 4.685  # of robust standard deviations: 95 % efficiency where errors are normal
FAR = 4.0  # standard deviations beyond which a measurement is left out of the final fit
ROUNDS = 30
BLOCK = 20  # forwards: neighbours err together
DRAWS = 400
LEVEL = 0.95
SMOOTH = 1e-3  # of a measurement's weight


@dataclass(frozen=True)
class Fit:
    """Coefficients of p columns and what they rest on."""

    coefficients: np.ndarray  # float64[p]
    kept: np.ndarray  # bool[n]: measurements that are no outliers
    spread: float  # robust standard deviation of the relative error
    draws: np.ndarray  # float64[DRAWS, p] of the bootstrap, signs free, or empty

    def interval(self) -> np.ndarray:
        """float64[p, 2]: where the bootstrap's `LEVEL` lies, cut at 0, and the fit itself.

        The draws are not kept from being negative: were they, a coefficient near 0 would push those
        of columns like it away from the truth, and their intervals would miss it.
        """
        edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.maximum(np.quantile(self.draws, edges, axis=0), 0.0)
        fitted = self.coefficients
        return np.column_stack([np.minimum(low, fitted), np.maximum(high, fitted)])


def fit_robust(
    x: np.ndarray,
    y: np.ndarray,
    *,
    scale: np.ndarray | None = None,
    blocks: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
    smooth: np.ndarray | None = None,
    seed: int = 0,
) -> Fit:
    """y ~ x b, b >= 0. x: float64[n, p], y: float64[n]; scale: float64[n] that errors are relative
    to, the fitted value itself by default. blocks: int[n], ascending from 0: measurements that are
    drawn together in the bootstrap, which is left out without them. repeats: int[n, 2], the run of
    each measurement and what that is a repeat of; all are of one run by default. smooth:
    float64[m, p], sums of coefficients that had better be small, where measurements do not say.
    """
    unit = np.abs(x).max(axis=0, initial=0.0)
    unit[unit == 0] = 1.0
    x = x / unit
    wish = np.zeros((x.shape[1], x.shape[1]))
    if smooth is not None:
        rows = smooth / unit
        wish = SMOOTH * len(y) / float(np.median(y)) ** 2 * (rows.T @ rows)
    floor = 1e-3 * float(np.median(y)) + 1e-12
    fitted = x @ _solve(x, y, 1 / np.maximum(y, floor), wish)
    weight = np.ones(len(y))
    spread = 0.0
    for round_ in range(ROUNDS):
        t = np.maximum(fitted, floor) if scale is None else scale
        error = (y - fitted) / t
        spread = max(1.4826 * float(np.median(np.abs(error))), 1e-9)
        limit = TUKEY if round_ < ROUNDS // 2 else FAR
        before = weight
        near = np.abs(error) < limit * spread
        if round_ < ROUNDS // 2:  # find the bulk, then let all of it count alike: sums are wanted
            weight = np.where(near, 1 - (error / (limit * spread)) ** 2, 0.0)
        else:
            weight = near.astype(float)
        coefficients = _solve(x, y, weight / t, wish)
        fitted = x @ coefficients
        if round_ > ROUNDS // 2 and np.array_equal(before, weight):
            break
    t = np.maximum(fitted, floor) if scale is None else scale
    draws = np.empty((0, x.shape[1]))
    if blocks is not None:
        alike = np.zeros((len(y), 2), int) if repeats is None else repeats
        draws = _bootstrap(x, y, weight / t, blocks, alike, wish, seed) / unit
    return Fit(coefficients / unit, weight > 0, spread, draws)


def _solve(x: np.ndarray, y: np.ndarray, weight: np.ndarray, wish: np.ndarray) -> np.ndarray:
    w = weight[:, None] * x
    return _solve_normal(w.T @ w + wish, w.T @ (weight * y))


def _solve_normal(a: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Least squares with b >= 0 from its normal equations a b = c."""
    scaled, size = _scaled(a)
    factor = np.linalg.cholesky(scaled)
    solution, _ = nnls(factor.T, np.linalg.solve(factor, c / size), maxiter=50 * len(a))
    return np.asarray(solution / size)


def _scaled(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix with a unit diagonal, and what it was divided by on both sides."""
    size = np.sqrt(np.diag(a))
    size[size == 0] = 1.0
    # The ridge keeps columns that measure the same apart; it is far below any noise.
    return a / np.outer(size, size) + 1e-10 * np.eye(len(a)), size


def _bootstrap(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    blocks: np.ndarray,
    repeats: np.ndarray,
    wish: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Runs drawn with replacement from the repeats of each, then blocks of them; their normal
    equations are sums, so a draw costs little.
    """
    count, p = int(blocks.max()) + 1, x.shape[1]
    w = np.column_stack([weight[:, None] * x, weight * y])
    sums = np.zeros((count, p + 1, p + 1))
    edges = np.searchsorted(blocks, np.arange(count + 1))
    for block, (first, last) in enumerate(pairwise(edges)):
        sums[block] = w[first:last].T @ w[first:last]
    run, kind = repeats[edges[:-1], 0], repeats[edges[:-1], 1]  # of each block
    members = [[np.flatnonzero(run == r) for r in np.unique(run[kind == k])]
               for k in np.unique(kind)]  # fmt: skip
    rng = np.random.default_rng(seed)
    draws = np.empty((DRAWS, p))
    for i in range(DRAWS):
        often = np.zeros(count)
        for alike in members:
            for which in rng.integers(0, len(alike), len(alike)):
                mine = alike[which]
                often[mine] += rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)))
        total = np.tensordot(often, sums, 1)
        scaled, size = _scaled(total[:p, :p] + wish)
        draws[i] = np.linalg.solve(scaled, total[:p, p] / size) / size
    return draws


def number_blocks(groups: np.ndarray, size: int = BLOCK) -> np.ndarray:
    """int[n]: blocks of `size` neighbours each, none across a change of group."""
    start = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    inside = np.arange(len(groups)) - np.repeat(start, np.diff(np.r_[start, len(groups)]))
    change = np.r_[True, (groups[1:] != groups[:-1]) | (inside[1:] % size == 0)]
    return np.cumsum(change) - 1
