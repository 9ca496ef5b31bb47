"""What a drafter would draft at every position of every rollout, and how much of it would match.

For a drafter whose drafts depend on history and on the rollout's own text only, not on timing,
this is computed once; a budget sweep then only walks arrays. Entry g of a rollout belongs to the
draft made when g output tokens exist (entry 0 is unused: the first token comes from the prefill).

A draft is a chain of tokens, or a tree whose nodes are listed so that each stands behind its
parent. Cut to b tokens it keeps the first b: a chain then matches min(b, matched[g]), a tree as
many as there are ranks below b among those of the matched path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .compiled import jit

PROBES = np.array([1, 2, 4, 8, 16, 32], np.int32)  # draft lengths at which history is walked


def _nothing() -> np.ndarray:
    return np.empty(0, np.uint8)


def _no_heads() -> np.ndarray:
    return np.empty((0, 2), np.int32)


@dataclass(frozen=True, eq=False)
class Profile:
    """n rollouts in trace order, or one RL step of them. Equal to itself only: a key."""

    drafted: np.ndarray  # uint8[sum of output_len]
    matched: np.ndarray  # uint8[same]: never beyond the rollout's end
    offsets: np.ndarray  # int64[n + 1]
    labels: np.ndarray = field(
        default_factory=_nothing
    )  # uint8[sum of drafted]: what the drafter knows of each draft
    # token's chances (policies/confidence.py), draft by draft; empty where nobody asked
    ranks: np.ndarray = field(
        default_factory=_nothing
    )  # uint8[sum of matched]: where in a tree the matched tokens
    # stand, ascending, draft by draft; empty for chains
    heads: np.ndarray = field(default_factory=_no_heads)  # int32[n, 2]: tokens that are verified
    # together with a rollout's prompt, and how many of them are accepted; of length 0 without any

    @cached_property
    def label_starts(self) -> np.ndarray:
        """int64[sum of output_len + 1]: where each draft's labels begin."""
        return starts_of(self.drafted)

    @cached_property
    def rank_starts(self) -> np.ndarray:
        """int64[sum of output_len + 1]: where each draft's ranks begin; of length 0 for chains."""
        return starts_of(self.matched) if len(self.ranks) else np.empty(0, np.int64)

    def part(self, first: int, last: int) -> Profile:
        """Rollouts first … last - 1 (views)."""
        begin, end = self.offsets[first], self.offsets[last]
        return Profile(
            self.drafted[begin:end],
            self.matched[begin:end],
            self.offsets[first : last + 1] - begin,
            _between(self.labels, self.drafted, begin, end),
            _between(self.ranks, self.matched, begin, end),
            self.heads[first:last],
        )

    def take(self, rows: np.ndarray, output_len: np.ndarray) -> Profile:
        """Rollouts `rows` in that order, cut to `output_len` tokens each (copies)."""
        begins = self.offsets[rows]
        ends = begins + output_len
        offsets = starts_of(output_len)
        left = np.repeat(offsets[1:], output_len) - np.arange(offsets[-1])  # to the end
        drafted = _pieces(self.drafted, begins, ends)
        matched = np.minimum(_pieces(self.matched, begins, ends), left).astype(np.uint8)
        labels, ranks = self.labels, self.ranks
        if len(labels):
            labels = _pieces(labels, self.label_starts[begins], self.label_starts[ends])
        if len(ranks):
            index = np.repeat(begins - offsets[:-1], output_len) + np.arange(offsets[-1])
            ranks = ranks[_gather(self.rank_starts[index], matched)]
        heads = self.heads
        if len(heads):
            heads = heads[rows]
            heads[:, 1] = np.minimum(heads[:, 1], output_len)
        return Profile(drafted, matched, offsets, labels, ranks, heads)

    def clairvoyant(self) -> Profile:
        """The same drafter with no token drafted in vain, and as few forwards as can be.

        Drafts are cut where they would be rejected, before the end token (it comes for free), and
        earlier where the draft at the place then reached gets further: taking all that matches is
        not always best.
        """
        best = np.zeros_like(self.drafted)
        _fewest_forwards(self.matched, self.offsets, best)
        heads = np.repeat(self.heads[:, 1:], 2, axis=1)
        return Profile(best, best, self.offsets, heads=heads)

    @cached_property
    def walks(self) -> np.ndarray:
        """int64[n, len(PROBES), 3]: forwards, drafted and accepted of each rollout decoded alone
        with at most PROBES[b] draft tokens per forward.
        """
        result = np.zeros((len(self.offsets) - 1, len(PROBES), 3), np.int64)
        _walk(
            self.drafted, self.matched, self.offsets, self.ranks, self.rank_starts, PROBES, result
        )
        return result


def starts_of(counts: np.ndarray) -> np.ndarray:
    """int64[n + 1]: where each of n consecutive pieces of these sizes begins."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _between(flat: np.ndarray, counts: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The pieces of positions begin … end - 1, a view."""
    if not len(flat):
        return flat
    first = int(counts[:begin].sum(dtype=np.int64))
    return flat[first : first + int(counts[begin:end].sum(dtype=np.int64))]


def _pieces(flat: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """What lies between, one after the other (a copy)."""
    pieces = [flat[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.concatenate(pieces or [flat[:0]])


def _gather(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """int64[sum of counts]: where the pieces that begin at `starts` lie."""
    ends = np.cumsum(counts, dtype=np.int64)
    shift = starts - (ends - counts)
    return np.repeat(shift, counts) + np.arange(int(ends[-1]) if len(ends) else 0)


def blank_profile(output_len: np.ndarray) -> Profile:
    """A profile of no drafts, to be filled."""
    offsets = starts_of(output_len)
    return Profile(np.zeros(offsets[-1], np.uint8), np.zeros(offsets[-1], np.uint8), offsets)


def perfect_profile(output_len: np.ndarray, k: int) -> Profile:
    """Every draft has k tokens, or what is left before the end token, and all of them match."""
    profile = blank_profile(output_len)
    _fill_perfect(profile.offsets, k, profile.drafted)
    return Profile(profile.drafted, profile.drafted, profile.offsets)


@jit()
def _fill_perfect(offsets, k, drafted):
    for i in range(len(offsets) - 1):
        length = offsets[i + 1] - offsets[i]
        for g in range(1, length):
            drafted[offsets[i] + g] = min(k, length - g - 1)


@jit()
def _fewest_forwards(matched, offsets, best):
    # forwards left from position g: f(g) = 1 + min over j <= matched[g] of f(g + j + 1)
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    left = np.zeros(longest + 1, np.int32)
    for i in range(len(offsets) - 1):
        begin, length = offsets[i], offsets[i + 1] - offsets[i]
        left[length] = 0
        for g in range(length - 1, 0, -1):
            pick = 0
            for j in range(1, min(np.int64(matched[begin + g]), length - g - 1) + 1):
                if left[g + j + 1] <= left[g + pick + 1]:
                    pick = j
            best[begin + g] = pick
            left[g] = left[g + pick + 1] + 1


@jit(inner=True)
def accepted_of(draft, matched, ranks, start):
    """How many tokens of a tree, cut to `draft` of them, are accepted: `matched` ranks begin at
    `start`.
    """
    count = 0
    while count < matched and ranks[start + count] < draft:
        count += 1
    return np.int32(count)


@jit()
def _walk(drafted, matched, offsets, ranks, rank_starts, probes, result):
    for i in range(len(offsets) - 1):
        begin, length = offsets[i], offsets[i + 1] - offsets[i]
        for b in range(len(probes)):
            g, forwards, total, good = 1, 1, 0, 0
            while g < length:
                d = min(probes[b], np.int32(drafted[begin + g]))
                a = min(d, np.int32(matched[begin + g]))
                if len(ranks) > 0 and a > 0:
                    most = np.int64(matched[begin + g])
                    a = accepted_of(d, most, ranks, rank_starts[begin + g])
                forwards += 1
                total += d
                good += a
                g += a + 1
            result[i, b, 0], result[i, b, 1], result[i, b, 2] = forwards, total, good
