"""How likely a draft token is to be accepted: learnt from outcomes, RL step by RL step.

A drafter gives every draft token a label, one byte that says what it knows of its chances; what
acceptance a label means is counted here, in the forwards that earlier RL steps would have taken
with whole drafts. For a chain that is the chance of a token whose predecessors were accepted, for a
node of a tree its own. Simulated or live, the counts come from the profiles of the RL steps before
(`PastStep.profile`), so both give the same estimates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .batch import DECODING, LABELS, TREES
from .compiled import jit
from .drafts import Drafts
from .profile import Profile


class Confidence:
    """Acceptance rates by label.

    prior: float64[256], a drafter's `prior()`: what a label means before anything was seen. It is
    scaled by how far off it was over all labels that were, and weighs as much as `weight` draft
    tokens. half_life: RL steps after which an outcome counts half.
    """

    def __init__(self, prior: np.ndarray, weight: float = 8.0, half_life: float = 4.0) -> None:
        self._prior, self._weight = prior, weight
        self._fading = 0.5 ** (1.0 / half_life)
        self._counts = np.zeros((LABELS, 2))  # tried, accepted

    def learn(self, profile: Profile) -> None:
        """What became of an RL step's drafts; of all later RL steps it is the oldest."""
        self.add(outcomes(profile))

    def add(self, counts: np.ndarray) -> None:
        """As `learn`, with what it counts: float64[256, 2], tokens tried and accepted."""
        self._counts = self._counts * self._fading + counts

    @property
    def rates(self) -> np.ndarray:
        """float64[256]: chance that a draft token with this label is accepted."""
        tried, accepted = self._counts.T
        expected = float(tried @ self._prior)
        scale = (float(accepted.sum()) + self._weight) / (expected + self._weight)
        prior = np.minimum(self._prior * scale, 1.0)
        rates: np.ndarray = (accepted + self._weight * prior) / (tried + self._weight)
        return rates


def rates_by_step(prior: np.ndarray, parts: Sequence[Profile]) -> list[np.ndarray]:
    """For each of these RL steps, ascending, the rates that were known when it began."""
    known, rates = Confidence(prior), []
    for part in parts:
        rates.append(known.rates)
        known.learn(part)
    return rates


def outcomes(profile: Profile) -> np.ndarray:
    """float64[256, 2]: draft tokens tried and accepted by label, in the forwards that the rollouts
    take with whole drafts. Of a chain a token is tried if all before it were accepted. What lies
    beyond a rollout's end is never judged, nor is a tree that may reach beyond it.
    """
    counts = np.zeros((LABELS, 2))
    if len(profile.labels):
        _count(
            profile.drafted,
            profile.matched,
            profile.offsets,
            profile.labels,
            profile.label_starts,
            profile.ranks,
            profile.rank_starts,
            counts,
        )
    return counts


def survival(rates: np.ndarray, labels: np.ndarray, sizes: np.ndarray, trees: bool) -> np.ndarray:
    """Chance of each draft token to be accepted, float64[J, L], 0 beyond a draft's size.

    labels: uint8[J, L], sizes: int[J].
    """
    chances = rates[labels] * (np.arange(labels.shape[1]) < sizes[:, None])
    return chances if trees else np.cumprod(chances, axis=1)


def judge(
    drafts: Drafts, matched: np.ndarray, ranks: np.ndarray, left: np.ndarray, counts: np.ndarray
) -> None:
    """Add to counts, float64[256, 2], what became of these drafts: tokens tried and accepted.

    matched, ranks: as `matches` has them. left: int64[J], tokens that were yet to come.
    """
    if drafts.tokens.shape[1]:
        _judge(drafts.labels, drafts.sizes, matched, ranks, len(drafts.parents) > 0, left, counts)


@jit(inner=True)
def chances_at_hand(batch, most, starts):
    """float64[all draft tokens]: the chance of each to be accepted, draft by draft.

    Never more than that of the token before: one is verified only together with all before it.
    most: tokens of a draft that count. starts: int64[n + 1], where each of the n decoding
    requests' begins, is written.
    """
    slots, n, trees = batch.slots, batch.counts[DECODING], batch.counts[TREES] != 0
    starts[0] = 0
    for j in range(n):
        starts[j + 1] = starts[j] + min(max(np.int64(batch.offered[slots[j]]), 0), most)
    chances = np.empty(starts[n])
    for j in range(n):
        at, chance = batch.labels_at[slots[j]] - starts[j], 1.0
        for t in range(starts[j], starts[j + 1]):
            own = batch.chances[batch.labels[at + t]]
            chance = min(chance, own) if trees else chance * own
            chances[t] = chance
    return chances


@jit()
def _judge(labels, sizes, matched, ranks, trees, left, counts):
    for j in range(len(sizes)):
        d, a = np.int64(sizes[j]), np.int64(matched[j])
        if trees:
            if d > left[j]:
                continue
            _try_tree(labels[j], np.int64(0), d, a, ranks[j], np.int64(0), counts)
        else:
            _try_chain(labels[j], np.int64(0), min(d, a + 1, left[j]), a, counts)


@jit(inner=True)
def _try_chain(labels, first, tried, accepted, counts):
    for i in range(tried):
        counts[labels[first + i], 0] += 1.0
        if i < accepted:
            counts[labels[first + i], 1] += 1.0


@jit(inner=True)
def _try_tree(labels, first, drafted, accepted, ranks, start, counts):
    done = 0
    for i in range(drafted):
        counts[labels[first + i], 0] += 1.0
        if done < accepted and ranks[start + done] == i:
            counts[labels[first + i], 1] += 1.0
            done += 1


@jit()
def _count(drafted, matched, offsets, labels, label_starts, ranks, rank_starts, counts):
    for i in range(len(offsets) - 1):
        at = offsets[i] + 1
        while at < offsets[i + 1]:
            d, a = np.int64(drafted[at]), np.int64(matched[at])
            if len(ranks) > 0 and d <= offsets[i + 1] - at:
                _try_tree(labels, label_starts[at], d, a, ranks, rank_starts[at], counts)
            elif len(ranks) == 0:
                tried = min(d, a + 1, offsets[i + 1] - at)
                _try_chain(labels, label_starts[at], tried, a, counts)
            at += a + 1
