"""What a drafter would draft at every position of every rollout, and how much of it would match.

For a drafter whose drafts depend on history and on the rollout's own text only, not on timing,
this is computed once; a budget sweep then only walks arrays. Entry g of a rollout belongs to the
draft made when g output tokens exist (entry 0 is unused: the first token comes from the prefill).
A draft that is cut to b tokens drafts min(b, drafted[g]) and matches min(b, matched[g]).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .compiled import jit

PROBES = np.array([1, 2, 4, 8, 16, 32], np.int32)  # draft lengths at which history is walked


@dataclass(frozen=True)
class Profile:
    """n rollouts in trace order, or one RL step of them."""

    drafted: np.ndarray  # uint8[sum of output_len]
    matched: np.ndarray  # uint8[same]: never beyond the rollout's end
    offsets: np.ndarray  # int64[n + 1]

    def part(self, first: int, last: int) -> Profile:
        """Rollouts first … last - 1 (views)."""
        begin, end = self.offsets[first], self.offsets[last]
        return Profile(
            self.drafted[begin:end],
            self.matched[begin:end],
            self.offsets[first : last + 1] - begin,
        )

    def take(self, rows: np.ndarray, output_len: np.ndarray) -> Profile:
        """Rollouts `rows` in that order, cut to `output_len` tokens each (copies)."""
        begins = self.offsets[rows]
        index = np.concatenate(
            [np.arange(b, b + n) for b, n in zip(begins, output_len, strict=True)]
            or [np.empty(0, int)]
        )
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(output_len, out=offsets[1:])
        left = np.repeat(offsets[1:], output_len) - np.arange(len(index))  # to the end
        matched = np.minimum(self.matched[index], left).astype(np.uint8)
        return Profile(self.drafted[index], matched, offsets)

    def clairvoyant(self) -> Profile:
        """The same drafter with no token drafted in vain, and as few forwards as can be.

        Drafts are cut where they would be rejected, before the end token (it comes for free), and
        earlier where the draft at the place then reached gets further: taking all that matches is
        not always best.
        """
        best = np.zeros_like(self.drafted)
        _fewest_forwards(self.matched, self.offsets, best)
        return Profile(best, best, self.offsets)

    @cached_property
    def walks(self) -> np.ndarray:
        """int64[n, len(PROBES), 3]: forwards, drafted and accepted of each rollout decoded alone
        with at most PROBES[b] draft tokens per forward.
        """
        result = np.zeros((len(self.offsets) - 1, len(PROBES), 3), np.int64)
        _walk(self.drafted, self.matched, self.offsets, PROBES, result)
        return result


def blank_profile(output_len: np.ndarray) -> Profile:
    """A profile of no drafts, to be filled."""
    offsets = np.zeros(len(output_len) + 1, np.int64)
    np.cumsum(output_len, out=offsets[1:])
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


@jit()
def _walk(drafted, matched, offsets, probes, result):
    for i in range(len(offsets) - 1):
        begin, length = offsets[i], offsets[i + 1] - offsets[i]
        for b in range(len(probes)):
            g, forwards, total, good = 1, 1, 0, 0
            while g < length:
                d = min(probes[b], np.int32(drafted[begin + g]))
                a = min(d, np.int32(matched[begin + g]))
                forwards += 1
                total += d
                good += a
                g += a + 1
            result[i, b, 0], result[i, b, 1], result[i, b, 2] = forwards, total, good
