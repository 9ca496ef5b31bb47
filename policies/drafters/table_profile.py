"""Profiles whose acceptance is drawn from a table: a random number at every position.

The number u belongs to (seed, RL step, prompt id, sample, position) and to nothing else: neither to
threads nor to the other rollouts of the trace. A draft's first m tokens match if u lies below the
chance that m of them do, so that of two drafters the better one matches more at every position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from ...traces.rollouts import Lengths
from ..compiled import jit
from ..profile import Profile, blank_profile

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 (Steele et al., 2014)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


def rollout_keys(lengths: Lengths, seed: int) -> np.ndarray:
    """uint64[n]: what a rollout's random numbers are made from.

    A prompt counts by its id, not by its number, which depends on what else is in the trace.
    """
    used, which = np.unique(lengths.prompt, return_inverse=True)
    names = [lengths.prompt_ids[i].encode() for i in used.tolist()]
    digests = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
    prompts = np.array([int.from_bytes(d, "little") for d in digests], np.uint64)
    key = _mix(np.full(len(lengths), seed, np.uint64))
    for part in (lengths.rl_step.astype(np.uint64), prompts[which], lengths.sample):
        key = _mix((key ^ part.astype(np.uint64)) + GOLDEN)
    return key


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@jit()
def uniform(key, g):
    """float64 in [0, 1) of a rollout's key (uint64) and a position (int64)."""
    x = key + np.uint64(g) * GOLDEN
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * 2.0**-53


def tree_chances(accepted: np.ndarray, depth: int) -> np.ndarray:
    """float64[depth, B]: the chance that at least j + 1 tokens match in a tree cut to b + 1 nodes,
    such that accepted[b] of float64[B] match on average.

    It is a^(j + 1) with an a for each b, but for what any tree must obey: with a node more there
    is no less chance, and no chance of two more tokens.
    """
    chances = np.zeros((depth, len(accepted)))
    before = np.zeros(depth + 1)  # at least j tokens match in the tree of one node less
    before[0] = 1.0
    powers = np.arange(1, depth + 1)
    for b, wanted in enumerate(accepted.tolist()):
        low, high = 0.0, 1.0
        for _ in range(50):
            a = (low + high) / 2
            row = np.minimum(np.maximum(a**powers, before[1:]), before[:-1])
            low, high = (a, high) if row.sum() < wanted else (low, a)
        chances[:, b] = before[1:] = row
    return chances


def chain_profile(
    lengths: Lengths, seed: int, rates: np.ndarray, states: np.ndarray, *,
    threads: int = 1, labels: bool = False,
) -> Profile:  # fmt: skip
    """Chains of K tokens; rates: float64[S, K], those of rollout i are rates[states[i]]."""
    chances = np.cumprod(rates, axis=1)
    result, _ = _drawn(lengths, seed, chances, states, rates.shape[1], threads)
    return _labelled(result, rates.shape[1]) if labels else result


def tree_profile(
    lengths: Lengths, seed: int, chances: np.ndarray, states: np.ndarray, *,
    threads: int = 1, labels: bool = False,
) -> Profile:  # fmt: skip
    """Trees of B nodes; chances: float64[S, depth, B] of `tree_chances`, states: int64[n]."""
    most = chances.shape[2]
    last = np.ascontiguousarray(chances[:, :, -1])
    result, keys = _drawn(lengths, seed, last, states, most, threads)
    ranks = np.zeros(int(result.matched.sum(dtype=np.int64)), np.uint8)
    result = replace(result, ranks=ranks)
    if len(ranks):
        starts = result.rank_starts

        def one(first: int, last: int) -> None:
            _fill_ranks(
                first, last, keys, states, chances, result.offsets, result.matched, starts, ranks
            )

        _in_pieces(result.offsets, threads, one)
    return _labelled(result, most) if labels else result


def tree_prior(chances: np.ndarray) -> np.ndarray:
    """float64[256]: what node b adds to the accepted tokens on average, given chances:
    float64[depth, B].

    The gains are first made to fall (neighbours that rise are averaged), which keeps their sum.
    """
    gains = np.diff(chances.sum(axis=0), prepend=0.0)
    blocks: list[list[float]] = []  # mean, how many
    for gain in gains.tolist():
        blocks.append([gain, 1])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            mean, count = blocks.pop()
            total = blocks[-1][0] * blocks[-1][1] + mean * count
            blocks[-1] = [total / (blocks[-1][1] + count), blocks[-1][1] + count]
    falling = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks])
    return padded(falling)


def padded(prior: np.ndarray) -> np.ndarray:
    """float64[256]: zeros behind the chances of labels 0, 1, …"""
    result = np.zeros(256)
    result[: len(prior)] = np.minimum(prior, 1.0)
    return result


def _drawn(
    lengths: Lengths, seed: int, chances: np.ndarray, states: np.ndarray, drafted: int, threads: int
) -> tuple[Profile, np.ndarray]:
    result, keys = blank_profile(lengths.output_len), rollout_keys(lengths, seed)

    def one(first: int, last: int) -> None:
        _fill_matched(
            first, last, keys, states, chances, result.offsets, np.int64(drafted), result.drafted,
            result.matched,
        )  # fmt: skip

    _in_pieces(result.offsets, threads, one)
    return result, keys


def _in_pieces(offsets: np.ndarray, threads: int, one: Callable[[Any, Any], None]) -> None:
    """Call one(first, last) for rollouts first … last - 1 in pieces of about as many tokens."""
    cuts = np.searchsorted(offsets, np.linspace(0, offsets[-1], 4 * max(threads, 1) + 1))
    cuts[0], cuts[-1] = 0, len(offsets) - 1
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(one, cuts[:-1], cuts[1:]))


def _labelled(profile: Profile, k: int) -> Profile:
    """Draft token j is labelled by its place."""
    drafts = int(np.count_nonzero(profile.drafted))
    return replace(profile, labels=np.tile(np.arange(k, dtype=np.uint8), drafts))


@jit()
def _fill_matched(first, last, keys, states, chances, offsets, k, drafted, matched):
    levels = chances.shape[1]
    for i in range(first, last):
        begin, length = offsets[i], offsets[i + 1] - offsets[i]
        state = states[i]
        for g in range(1, length):
            u = uniform(keys[i], g)
            most = min(levels, length - g)
            good = 0
            while good < most and u < chances[state, good]:
                good += 1
            drafted[begin + g] = k
            matched[begin + g] = good


@jit()
def _fill_ranks(first, last, keys, states, chances, offsets, matched, starts, ranks):
    nodes = chances.shape[2]
    for i in range(first, last):
        begin, length = offsets[i], offsets[i + 1] - offsets[i]
        state = states[i]
        for g in range(1, length):
            u = uniform(keys[i], g)
            at = starts[begin + g]
            low = 0
            for j in range(np.int64(matched[begin + g])):
                high = nodes - 1  # there it matches: find the first place where it does
                while low < high:
                    middle = (low + high) // 2
                    if u < chances[state, j, middle]:
                        high = middle
                    else:
                        low = middle + 1
                ranks[at + j] = low
                low += 1
