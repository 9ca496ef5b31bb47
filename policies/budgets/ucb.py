"""UCB1 over draft lengths: what proved fastest, and what has been tried too little."""

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
    MEAN,
    TRIMMED,
    arm_lengths,
    averages,
    bandit_state,
    best_rewards,
    group_of,
    pull,
    pulls,
    settle,
)

STANDARD, MOST, REMEMBERED, BANDIT = range(4)  # values, before the bandit's


@jit(inner=True)
def _choose(state, standard, most, remembered, size):
    """The arm of the highest upper confidence bound among those that fit; of equals the first."""
    group = group_of(state, size)
    lengths, average, count = arm_lengths(state), averages(state, group), pulls(state, group)
    total = 0.0
    for arm in range(len(count)):
        total += min(count[arm], remembered)
    unit = best_rewards(state)[group] if standard and total > 0 else 1.0
    best, highest = -1, 0.0
    for arm in range(len(lengths)):
        if (lengths[arm] + 1) * size > most:
            continue
        score = np.inf
        # Where the average is 0 the released code has learnt nothing yet.
        if count[arm] > 0 and average[arm] > 0:
            bonus = np.sqrt(2.0 * np.log(total) / min(count[arm], remembered))
            score = average[arm] / unit + bonus
        if best < 0 or score > highest:
            best, highest = arm, score
    return np.int64(best) if best >= 0 else np.int64(np.argmin(lengths))


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, n = plan.values, batch.counts[DECODING]
    state = values[BANDIT:]
    settle(state, batch.last, latency, params)
    arm = _choose(state, values[STANDARD] != 0, values[MOST], values[REMEMBERED], n)
    k = pull(state, arm, n)
    for j in range(n):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class Ucb:
    """The draft length with the highest upper confidence bound, learnt by batch size.

    UCB1 (Auer et al. 2002): an arm's average reward + sqrt(2 ln N / n), for n of all N pulls in
    this group of batch sizes; untried arms first. The reward of a forward is the tokens it gave per
    second. Groups are those of TLT's released code: 1 … 31 one by one, 32 … 120 by 8, to 256 by 32.

    As released in TLT, next to its default beg_mab: the average is the mean of the last `window`
    rewards without the highest and lowest tenth, rewards are tokens per second as they are (so that
    the bonus, some units, decides nothing among thousands) and stand on the arm's median accepted
    length over all groups; a first pull earns 0 and is repeated (half of what a second earns is
    then little beside the arm that is pulled a third time: who leads after two pulls of each tends
    to stay); arms with which a forward would verify more than `most` tokens are left out, the
    shortest excepted. There the mean of fewer than
    ten rewards is that of none of them, not a number, and the first arm is hardly ever left: not
    reproduced. Standard: the mean of all rewards, as shares of the group's best so far, since UCB1
    is stated for rewards from 0 to 1.

    Seconds are those of the latency model that the policy is told, plus the drafter's own; forwards
    that prefill earn nothing. Each RL step begins anew. Arms by default are those of beg_mab, whose
    tokens to verify count one that is no draft.
    """

    name: ClassVar[str] = "ucb"
    source: ClassVar[str] = (
        "UCB1, Auer et al. 2002; TLT, released: mit-han-lab/fastrl, "
        "sglang/srt/speculative/eagle_mab.py (UCB1MAB)"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    form: str = option(
        "released", "the released code's, or UCB1 as stated", choices=("released", "standard")
    )
    arms: str = option("7-15-31-47", "draft lengths, joined by -", always=True)
    most: int = option(
        2048, "tokens in a forward; longer arms are not tried, 0: no limit", low=0, unit="tokens"
    )
    window: int = option(300, "pulls of an arm that are remembered (released)", low=1, high=10_000)
    seed: int = option(0, "of the random numbers (released)", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d+(-\d+)*", self.arms):
            raise ValueError(f"arms={self.arms}: write draft lengths joined by -")
        if max(self.lengths) > MAX_DRAFT or len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"arms={self.arms}: different lengths of at most {MAX_DRAFT} tokens")

    @property
    def lengths(self) -> list[int]:
        """Draft tokens of each arm."""
        return [int(arm) for arm in self.arms.split("-")]

    def plan(self, view: StepView) -> Plan:
        """A bandit that has pulled nothing."""
        standard = self.form == "standard"
        state = bandit_state(
            self.lengths,
            groups=ALL_GROUPS,
            window=0 if standard else self.window,
            average=MEAN if standard else TRIMMED,
            steady=not standard,
            seed=self.seed,
            view=view,
        )
        head = [standard, self.most or np.inf, np.inf if standard else self.window]
        values = np.concatenate([head, state])
        return Plan(values.astype(float), np.zeros((len(view.prompt), 1)))
