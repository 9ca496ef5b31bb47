"""What budgets that learn by trial share: arms, what pulling them gained, and random numbers.

An arm is a draft length. A forward pulls one; the next time the rule is asked, what the forward
gained is the pull's reward. Everything is kept in `Plan.values`, so it begins anew with each RL
step's plan. Time is what the latency model and the drafter's own cost say of the forward, not a
clock: the same live and simulated, and without noise.

Pulls are kept by group of batch sizes and arm. As in TLT's released code (fastrl, eagle_mab.py)
there may be 48 groups, and a reward may stand on the arm's accepted length over all of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..batch import (
    LAST_ACCEPTED,
    LAST_DRAFTED,
    LAST_KV,
    LAST_PAIRS,
    LAST_PREFILL,
    LAST_REQUESTS,
    LAST_TOKENS,
)
from ..compiled import jit
from ..drafters.cost import drafting_s
from ..view import StepView

PULLED, PULLED_SIZE, DRAWS, STREAM, ARMS, GROUPS, WINDOW, AVERAGE, STEADY, COST = range(10)
FIRST = COST + 4  # COST: drafters/cost.py
NOTHING = -1.0  # in PULLED
MEAN, MEDIAN, TRIMMED = range(3)  # kinds of AVERAGE; MEAN is of all pulls, without a window
ALL_GROUPS = 48
REFRESH = 0.1  # chance that an arm's accepted length over all groups is computed anew
TRIM = 0.1  # of the window, at either end
UNSEEN = np.inf


def bandit_state(
    lengths: list[int],
    *,
    groups: int,
    window: int,
    average: int,
    steady: bool,
    seed: int,
    view: StepView,
) -> np.ndarray:
    """The memory of a bandit that has pulled nothing; lengths: each arm's draft tokens."""
    arms = len(lengths)
    cells = groups * arms
    state = np.zeros(FIRST + 2 * arms + groups + 2 * cells + 2 * cells * window)
    state[PULLED], state[AVERAGE], state[STEADY] = NOTHING, average, steady
    # 53 bits: as many as a float64 keeps.
    state[STREAM] = float(int(_mix(np.uint64((seed << 32) + view.rl_step))) >> 11)
    state[ARMS], state[GROUPS], state[WINDOW] = arms, groups, window
    # However long the arm, a draft is no longer than the drafter makes them.
    most_steps = min(view.cost.most_steps, view.longest_draft)
    state[COST:FIRST] = replace(view.cost, most_steps=most_steps).array
    state[FIRST : FIRST + arms] = lengths
    averages = FIRST + 2 * arms + groups + cells
    state[averages : averages + cells] = UNSEEN
    return state


# The blocks behind FIRST, in this order: each arm's draft tokens, and its accepted length over all
# groups; each group's best reward; and by group and arm: pulls, the average reward, then rings of
# `window` rewards and accepted lengths.


@jit(inner=True)
def arm_lengths(state):
    """float64[ARMS]: draft tokens."""
    return state[FIRST : FIRST + np.int64(state[ARMS])]


@jit(inner=True)
def _steady_lengths(state):
    arms = np.int64(state[ARMS])
    return state[FIRST + arms : FIRST + 2 * arms]


@jit(inner=True)
def best_rewards(state):
    """float64[GROUPS]: tokens per second."""
    first = FIRST + 2 * np.int64(state[ARMS])
    return state[first : first + np.int64(state[GROUPS])]


@jit(inner=True)
def _cells(state):
    """Where the blocks by group and arm begin, and how many cells one has."""
    arms, groups = np.int64(state[ARMS]), np.int64(state[GROUPS])
    return FIRST + 2 * arms + groups, arms * groups


@jit(inner=True)
def pulls(state, group):
    """float64[ARMS]: how often each arm was pulled in this group, ever."""
    first, _ = _cells(state)
    arms = np.int64(state[ARMS])
    return state[first + group * arms : first + (group + 1) * arms]


@jit(inner=True)
def averages(state, group):
    """float64[ARMS]: average rewards, tokens per second; UNSEEN for an arm without any."""
    first, cells = _cells(state)
    arms = np.int64(state[ARMS])
    return state[first + cells + group * arms : first + cells + (group + 1) * arms]


@jit(inner=True)
def _ring(state, which, group, arm):
    """float64[WINDOW]: rewards (0) or accepted lengths (1)."""
    first, cells = _cells(state)
    window = np.int64(state[WINDOW])
    at = first + (2 + which * window) * cells + (group * np.int64(state[ARMS]) + arm) * window
    return state[at : at + window]


@jit()
def _mix(x):
    """splitmix64's finaliser."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@jit(inner=True)
def uniform(state):
    """The next random number of this RL step, in [0, 1): splitmix64 of a counter."""
    state[DRAWS] += 1.0
    at = np.uint64(state[STREAM]) + np.uint64(state[DRAWS]) * np.uint64(0x9E3779B97F4A7C15)
    return np.float64(_mix(at) >> np.uint64(11)) * 2.0**-53


@jit(inner=True)
def group_of(state, size):
    """Of TLT's groups 1 … 31, 32 … 120 by 8, 128 … 256 by 32 the last that is not above this
    batch size; 0 where there is one group only.
    """
    if state[GROUPS] == 1:
        return np.int64(0)
    if size < 32:
        return np.int64(max(size, 1) - 1)
    if size < 128:
        return np.int64(31 + (size - 32) // 8)
    return np.int64(min(43 + (size - 128) // 32, ALL_GROUPS - 1))


@jit(inner=True)
def _over_groups(state, arm):
    """Median accepted length of the arm in all windows, 0 without any."""
    groups, window = np.int64(state[GROUPS]), np.int64(state[WINDOW])
    found = np.empty(groups * window)
    count = np.int64(0)
    for group in range(groups):
        kept = min(np.int64(pulls(state, group)[arm]), window)
        found[count : count + kept] = _ring(state, 1, group, arm)[:kept]
        count += kept
    return np.median(found[:count]) if count > 0 else 0.0


@jit(inner=True)
def _average(state, kept):
    if state[AVERAGE] == MEDIAN:
        return np.median(kept)
    cut = np.int64(len(kept) * TRIM)
    return np.mean(np.sort(kept)[cut : len(kept) - cut])


@jit(inner=True)
def settle(state, last, latency, params):
    """Give the arm that was pulled last its reward, once, if the forward before this one was that
    pull: everybody who was to decode did, and no prompt was prefilled beside them.
    """
    arm, requests = np.int64(state[PULLED]), last[LAST_REQUESTS]
    state[PULLED] = NOTHING
    if arm < 0 or last[LAST_PREFILL] != 0 or requests != np.int64(state[PULLED_SIZE]):
        return
    drafted = last[LAST_DRAFTED]
    seconds = latency(
        last[LAST_TOKENS], requests, last[LAST_KV], last[LAST_PAIRS], 0, drafted, params
    )
    seconds += drafting_s(state[COST:FIRST], drafted, arm_lengths(state)[arm])
    gained = last[LAST_ACCEPTED] / requests + 1.0
    length = gained
    if state[STEADY] != 0:
        known = _steady_lengths(state)
        if uniform(state) < REFRESH or known[arm] == 0:
            known[arm] = _over_groups(state, arm)
        length = known[arm]
    reward = length * requests / seconds
    group, window = group_of(state, requests), np.int64(state[WINDOW])
    count, average, best = pulls(state, group), averages(state, group), best_rewards(state)
    before = np.int64(count[arm])
    count[arm] += 1.0
    best[group] = max(best[group], reward)
    if state[AVERAGE] == MEAN:
        old = average[arm] if before > 0 else 0.0
        average[arm] = old + (reward - old) / count[arm]
        return
    rewards, lengths = _ring(state, 0, group, arm), _ring(state, 1, group, arm)
    rewards[before % window], lengths[before % window] = reward, gained
    average[arm] = _average(state, rewards[: min(before + 1, window)])


@jit(inner=True)
def pull(state, arm, size):
    """Note the arm whose length this forward grants to `size` requests."""
    state[PULLED], state[PULLED_SIZE] = arm, size
    return np.int32(arm_lengths(state)[arm])
