"""TLT's strategy selector: batch-size buckets, and trial among the strategies of a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, MAX_DRAFT, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView
from .bandit import (
    ALL_GROUPS,
    MEDIAN,
    averages,
    bandit_state,
    group_of,
    pull,
    settle,
    uniform,
)
from .switch import SIZE, speculates, switch_state
from .threshold import SWITCHES

BUCKET = re.compile(r"(\d+):(\d+(?:-\d+)*)")
EPSILON, BUCKETS, STATIC, TABLE = range(SIZE, SIZE + 4)  # values, behind the switch


@jit(inner=True)
def _bucket(table, count, size):
    """First arm of this batch size's bucket and the one behind its last; of all arms where it lies
    below every bucket. table: float64[2 * count + 1], from which sizes on, and the first arms.
    """
    bucket = -1
    while bucket + 1 < count and size >= table[bucket + 1]:
        bucket += 1
    if bucket < 0:
        return np.int64(0), np.int64(table[2 * count])
    return np.int64(table[count + bucket]), np.int64(table[count + bucket + 1])


@jit(inner=True)
def _choose(state, epsilon, first, end, size):
    """Epsilon-greedy by median reward; unseen arms first, of equals the first."""
    if end - first == 1:
        return first
    if uniform(state) < epsilon:
        return first + np.int64(uniform(state) * (end - first))
    reward = averages(state, group_of(state, size))
    best = first
    for arm in range(first + 1, end):
        if reward[arm] > reward[best]:
            best = arm
    return best


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, n = plan.values, batch.counts[DECODING]
    count = np.int64(values[BUCKETS])
    table = values[TABLE : TABLE + 2 * count + 1]
    state = values[TABLE + 2 * count + 1 :]
    k = np.int32(0)
    if values[STATIC] == 0:
        settle(state, batch.last, latency, params)
    if speculates(values[:SIZE], batch.last, batch.counts):
        first, end = _bucket(table, count, n)
        k = pull(state, _choose(state, values[EPSILON], first, end, n), n)
    for j in range(n):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class BegMab:
    """Fewer tokens to verify the larger the batch; among several, the one that proved fastest.

    Each bucket of batch sizes has its arms, numbers of tokens to verify per request: `1:48-24_2:16`
    is 48 or 24 for one request, 16 for two and more. The text's last token is among them, as in
    SGLang, so that one draft token less is granted. A bucket with one arm uses it. Else, with
    chance epsilon, any of its arms is taken, otherwise the one with the best median reward over its
    last `window` pulls, untried ones first. The reward of a forward is the tokens it gave per
    second. With one arm per bucket, which is the released default, nothing is learnt: the table is
    static. Strategies of a bucket differ in depth and top-k in TLT; a budget only sets the number
    of tokens, so alternatives are numbers.

    As printed, an arm's rewards are kept over all batch sizes. As released, by group of batch sizes
    (1 … 31 one by one, 32 … 120 by 8, to 256 by 32), and the reward stands on the median accepted
    length of the arm over all groups, computed anew in one pull of ten; an arm's first pull earns
    0 (nothing was known of it). Epsilon and the window are the released ones in both.

    Seconds are those of the latency model that the policy is told, plus the drafter's own; forwards
    that prefill earn nothing. The released engine remembers over RL steps; here each begins anew.
    `limit=32,switch=reprefill` is TLT as shipped, with its switch (see the budget threshold).
    """

    name: ClassVar[str] = "beg_mab"
    source: ClassVar[str] = (
        "TLT, arXiv 2511.16665 (BEG-MAB); released: mit-han-lab/fastrl, "
        "sglang/srt/speculative/eagle_mab.py, eagle_worker.py"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    form: str = option(
        "released", "the paper's or the released code's", choices=("printed", "released")
    )
    arms: str = option(
        "1:48_2:32_5:16_21:8", "FROM:TOKENS-TOKENS… joined by _: tokens to verify by batch size"
    )
    epsilon: float = option(0.1, "chance to try any arm of the bucket", low=0.0, high=1.0)
    window: int = option(300, "pulls of an arm that are remembered", low=1, high=10_000)
    seed: int = option(0, "of the random numbers", low=0, high=2**31 - 1)
    limit: int = option(
        0, "no drafts before so few decode, 0: drafts from the start", low=0, unit="requests"
    )
    patience: int = option(10, "for so many decode forwards in a row", low=1, unit="forwards")
    switch: str = option(
        "reprefill", "switching on prefills everybody again, or costs nothing", choices=SWITCHES
    )

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.buckets]
        if starts != sorted(set(starts)):
            raise ValueError(f"arms={self.arms}: batch sizes ascend")
        for _, arms in self.buckets:
            if not 1 <= min(arms) <= max(arms) <= MAX_DRAFT + 1:
                raise ValueError(
                    f"arms={self.arms}: from 1 (no drafts) to {MAX_DRAFT + 1} tokens to verify"
                )

    @property
    def buckets(self) -> list[tuple[int, list[int]]]:
        """(smallest batch size, tokens to verify of each arm) of each bucket."""
        buckets = []
        for part in self.arms.split("_"):
            match = BUCKET.fullmatch(part)
            if not match:
                raise ValueError(f"arms={self.arms}: write FROM:TOKENS-TOKENS…, not '{part}'")
            start, arms = match.groups()
            buckets.append((int(start), [int(arm) for arm in arms.split("-")]))
        return buckets

    @property
    def in_engine(self) -> bool:
        """Whether an engine can do it: nothing asks vLLM to prefill again."""
        return self.switch == "free" or self.limit == 0

    @property
    def static(self) -> bool:
        """Whether there is never anything to choose."""
        buckets = self.buckets
        covered = buckets[0][0] <= 1 or sum(len(arms) for _, arms in buckets) == 1
        return covered and all(len(arms) == 1 for _, arms in buckets)

    def plan(self, view: StepView) -> Plan:
        """The switch, the buckets, and a bandit that has pulled nothing."""
        buckets, released = self.buckets, self.form == "released"
        state = bandit_state(
            [arm - 1 for _, arms in buckets for arm in arms],
            groups=ALL_GROUPS if released and not self.static else 1,
            window=self.window,
            average=MEDIAN,
            steady=released,
            seed=self.seed,
            view=view,
        )
        values = np.concatenate(
            [
                switch_state(self.limit, self.patience, self.switch == "reprefill"),
                [self.epsilon, len(buckets), self.static],
                [start for start, _ in buckets],
                np.cumsum([0] + [len(arms) for _, arms in buckets]),
                state,
            ]
        )
        return Plan(values.astype(float), np.zeros((len(view.prompt), 1)))
