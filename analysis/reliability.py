"""Whether draft tokens are accepted as often as predicted when they were drafted.

A draft token's predicted chance is that of being accepted, of a chain with all tokens before it.
What is kept are sums by bin of that chance, from which all scores follow exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..policies.confidence import rates_by_step, survival
from ..policies.profile import Profile
from .acceptance import forwards_of

BINS = 20
CHUNK = 1 << 16  # drafts judged at once, so that memory does not follow the trace
COUNT, PREDICTED, SQUARED, ACCEPTED, BOTH = range(5)


@dataclass(frozen=True)
class Reliability:
    """Draft tokens whose predicted chance lies in [b, b + 1) / BINS, the last bin with 1."""

    sums: np.ndarray  # float64[BINS, 5]: tokens, their chances' sum and sum of squares, accepted
    # tokens, and the sum of their chances

    @classmethod
    def of(cls, profile: Profile, rates: np.ndarray, trees: bool) -> Reliability:
        """An RL step's drafts; rates: float64[256] by label, as they were when it began."""
        sums = np.zeros((BINS, 5))
        for chance, accepted in judged(profile, rates, trees):
            bins = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
            for column, weights in enumerate(
                (None, chance, chance * chance, accepted, chance * accepted)
            ):
                sums[:, column] += np.bincount(bins, weights, BINS)
        return cls(sums)

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.sums + other.sums)

    @property
    def tokens(self) -> np.ndarray:
        """float64[BINS]: draft tokens judged."""
        return self.sums[:, COUNT]

    @property
    def predicted(self) -> np.ndarray:
        """float64[BINS]: mean predicted chance, NaN for an empty bin."""
        return self._share(PREDICTED)

    @property
    def observed(self) -> np.ndarray:
        """float64[BINS]: share accepted, NaN for an empty bin."""
        return self._share(ACCEPTED)

    @property
    def total(self) -> float:
        """Draft tokens judged."""
        return float(self.tokens.sum())

    @property
    def brier(self) -> float:
        """Mean square of chance minus outcome (1 or 0); NaN if nothing was drafted.

        It is miscalibration - resolution + uncertainty + within.
        """
        columns = self.sums.sum(axis=0)
        return self._mean(columns[SQUARED] - 2 * columns[BOTH] + columns[ACCEPTED])

    @property
    def error(self) -> float:
        """Expected calibration error: mean over tokens of the gap of their bin."""
        return self._mean(np.abs(self.sums[:, PREDICTED] - self.sums[:, ACCEPTED]).sum())

    @property
    def miscalibration(self) -> float:
        """Mean over tokens of their bin's squared gap."""
        return self._mean(np.nansum(self.tokens * (self.predicted - self.observed) ** 2))

    @property
    def resolution(self) -> float:
        """Mean over tokens of how far their bin's share accepted is from all bins', squared."""
        return self._mean(np.nansum(self.tokens * (self.observed - self.base_rate) ** 2))

    @property
    def base_rate(self) -> float:
        """Share of all tokens that were accepted."""
        return self._mean(self.sums[:, ACCEPTED].sum())

    @property
    def uncertainty(self) -> float:
        """The Brier score of whoever always predicts the base rate."""
        return self.base_rate * (1 - self.base_rate)

    @property
    def within(self) -> float:
        """What the Brier score owes to chances that differ within a bin: their variance, less twice
        their covariance with the outcomes (Stephenson et al. 2008).
        """
        n, p, pp, good, both = self.sums.T
        some = np.where(n > 0, n, 1)
        return self._mean((pp - p * p / some - 2 * (both - p * good / some)).sum())

    def _share(self, column: int) -> np.ndarray:
        nothing = np.full(BINS, np.nan)
        return np.divide(self.sums[:, column], self.tokens, out=nothing, where=self.tokens > 0)

    def _mean(self, total: float) -> float:
        return float(total) / self.total if self.total else float("nan")


def reliability_of(drafter: Any, parts: Sequence[Profile], wanted: Collection[int]) -> Reliability:
    """The drafter's calibrated chances in the RL steps `wanted`, each by what the ones before it
    have taught (policies/confidence.py).

    parts: profiles with labels of all RL steps, ascending; wanted: indices of them.
    """
    found = Reliability(np.zeros((BINS, 5)))
    rates = rates_by_step(drafter.prior(), parts[: max(wanted, default=-1) + 1])
    for i in sorted(wanted):
        found += Reliability.of(parts[i], rates[i], drafter.trees)
    return found


def judged(
    profile: Profile, rates: np.ndarray, trees: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(chance float64[m], accepted bool[m]) of draft tokens, along the forwards that rollouts take
    with whole drafts; in pieces.

    What lies beyond a rollout's end is not judged. Of a node of a tree it is not known how deep it
    stands: trees with more nodes than there are tokens left are left out.
    """
    every = forwards_of(profile)
    every = every[profile.drafted[every] > 0]
    for first in range(0, len(every), CHUNK):
        at = every[first : first + CHUNK]
        sizes = profile.drafted[at].astype(np.int64)
        left = profile.offsets[np.searchsorted(profile.offsets, at, "right")] - at
        if trees:
            at, sizes = at[sizes <= left], sizes[sizes <= left]
        matched = profile.matched[at].astype(np.int64)
        places = np.arange(int(sizes.max(initial=0)))
        where = np.minimum(profile.label_starts[at][:, None] + places, len(profile.labels) - 1)
        chances = survival(rates, profile.labels[where], sizes, trees)
        if trees:
            seen, good = places < sizes[:, None], np.zeros(where.shape, np.bool_)
            row = np.repeat(np.arange(len(at)), matched)
            if len(row):
                nth = np.arange(len(row)) - np.repeat(np.cumsum(matched) - matched, matched)
                good[row, profile.ranks[profile.rank_starts[at][row] + nth]] = True
        else:
            seen = places < np.minimum(sizes, left)[:, None]
            good = places < matched[:, None]
        yield chances[seen], good[seen]
