"""Budgets that learn by trial, each against its definition in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_engine import COST, LONGEST, Engine, N, Switch, seconds, seeds, view_of

from longtail.policies.batch import RESTART
from longtail.policies.components import BUDGETS


class Dice:
    """splitmix64 of a counter, on Python's integers."""

    def __init__(self, seed: int, rl_step: int) -> None:
        self.stream, self.count = self.mix((seed << 32) + rl_step) >> 11, 0

    @staticmethod
    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    def __call__(self) -> float:
        self.count += 1
        at = (self.stream + self.count * 0x9E3779B97F4A7C15) % 2**64
        return (self.mix(at) >> 11) / 2**53


GROUPS = [*range(1, 32), *range(32, 128, 8), *range(128, 257, 32)]


class Bandit:
    """What pulls gained: by group and arm, or by arm; as released, standing on steady lengths."""

    def __init__(self, drafts: list[int], window: int | None, grouped: bool, steady: bool) -> None:
        self.drafts, self.grouped, self.is_steady = drafts, grouped, steady
        self.rewards: Any = defaultdict(lambda: deque(maxlen=window))
        self.lengths: Any = defaultdict(lambda: deque(maxlen=window))
        self.steady = [0.0] * len(drafts)
        self.dice = Dice(5, 3)
        self.pulled: tuple[int, int] | None = None

    def group(self, size: int) -> int:
        return max(g for g in GROUPS if g <= size) if self.grouped else 0

    def learn(self, last: list[int]) -> None:
        if self.pulled is None:
            return
        (arm, size), self.pulled = self.pulled, None
        if last[1] != size or last[4]:
            return
        time = seconds(last)
        if last[5]:
            steps = min(self.drafts[arm], COST.most_steps, LONGEST)
            time += COST.once_s + COST.step_s * steps + COST.token_s * last[5]
        length = gained = last[6] / size + 1
        if self.is_steady:
            if self.dice() < 0.1 or not self.steady[arm]:
                known = [x for (_, a), xs in self.lengths.items() if a == arm for x in xs]
                self.steady[arm] = median(known) if known else 0.0
            length = self.steady[arm]
        self.rewards[self.group(size), arm].append(length * size / time)
        self.lengths[self.group(size), arm].append(gained)


@pytest.mark.parametrize("form", ["printed", "released"])
@settings(max_examples=25, deadline=None)
@given(seed=seeds, epsilon=st.sampled_from([0.0, 0.1, 0.5]), window=st.integers(1, 6))
def test_beg_mab_is_its_definition(form: str, seed: int, epsilon: float, window: int) -> None:
    buckets = {2: [16, 5, 9], 5: [8], 21: [4, 1]}
    arms = "_".join(f"{start}:{'-'.join(map(str, of))}" for start, of in buckets.items())
    spec = f"beg_mab:form={form},arms={arms},epsilon={epsilon},window={window},seed=5"
    engine = Engine(BUDGETS.make(spec), seed, view_of(cost=COST))
    drafts = [arm - 1 for of in buckets.values() for arm in of]
    known = Bandit(drafts, window, grouped=form == "released", steady=form == "released")
    choices = {start: [drafts.index(arm - 1) for arm in of] for start, of in buckets.items()}
    seen = set()
    for _ in range(150):
        decoding = engine.some()
        size = len(decoding)
        known.learn(engine.last)
        fitting = [start for start in choices if start <= size]
        valid = choices[max(fitting)] if fitting else list(range(len(drafts)))
        if len(valid) == 1:
            arm = valid[0]
        elif known.dice() < epsilon:
            arm = valid[int(known.dice() * len(valid))]
        else:
            rewards = [known.rewards[known.group(size), a] for a in valid]
            scores = [median(r) if r else math.inf for r in rewards]
            arm = valid[scores.index(max(scores))]
        known.pulled = arm, size
        seen.add(arm)
        budgets = engine.ask(decoding)
        assert budgets == [drafts[arm]] * size
        engine.run(budgets, 0.3)
    assert len(seen) > 3


def test_beg_mab_as_released_is_a_static_table() -> None:
    """TLT's configuration: 48, 32, 16 and 8 tokens to verify, one of them no draft."""
    engine = Engine(BUDGETS.make("beg_mab"), 1, view_of())
    for size in range(1, N):
        verify = 48 if size == 1 else 32 if size <= 4 else 16 if size <= 20 else 8
        budgets = engine.ask(list(range(size)))
        assert budgets == [verify - 1] * size
        engine.run(budgets, 0.5)


def test_beg_mab_waits_for_the_switch() -> None:
    engine = Engine(BUDGETS.make("beg_mab:limit=32,patience=2"), 2, view_of())
    known, restarts = Switch(32, 2), 0
    for _ in range(40):
        known.turns_on(engine.last)
        decoding = engine.some()
        budgets = engine.ask(decoding)
        assert (max(budgets) > 0) == known.on
        restarts += int(engine.batch.counts[RESTART])
        engine.batch.counts[RESTART] = 0
        engine.run(budgets, 0.5)
    assert known.on and restarts == 1


def trimmed_mean(rewards: Any) -> float:
    cut = len(rewards) // 10
    kept = sorted(rewards)[cut : len(rewards) - cut]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("form", ["standard", "released"])
@settings(max_examples=25, deadline=None)
@given(seed=seeds, window=st.sampled_from([3, 12, 25]), most=st.sampled_from([0, 60, 200]))
def test_ucb_is_its_definition(form: str, seed: int, window: int, most: int) -> None:
    drafts, released = [3, 0, 8, 15], form == "released"
    arms = "-".join(map(str, drafts))
    spec = f"ucb:form={form},arms={arms},window={window},most={most},seed=5"
    engine = Engine(BUDGETS.make(spec), seed, view_of(cost=COST))
    known = Bandit(drafts, window if released else None, grouped=True, steady=released)

    def score(group: int, arm: int) -> float:
        rewards = [known.rewards[group, a] for a in range(len(drafts))]
        if not rewards[arm] or not sum(rewards[arm]):
            return math.inf
        bonus = math.sqrt(2 * math.log(sum(map(len, rewards))) / len(rewards[arm]))
        if released:
            return (trimmed_mean(rewards[arm]) or math.inf) + bonus
        mean = sum(rewards[arm]) / len(rewards[arm])
        return mean / max(max(r) for r in rewards if r) + bonus

    for _ in range(150):
        decoding = engine.some()
        size = len(decoding)
        known.learn(engine.last)
        valid = [a for a in range(len(drafts)) if (drafts[a] + 1) * size <= (most or math.inf)]
        scores = {a: score(known.group(size), a) for a in valid}
        best = max(scores.values(), default=0.0)
        near = {a for a, s in scores.items() if s == best or math.isclose(s, best, rel_tol=1e-12)}
        budgets = engine.ask(decoding)
        arm = drafts.index(budgets[0])
        assert budgets == [drafts[arm]] * size
        if math.isinf(best):
            assert arm == min(near)
        else:
            assert arm in near if valid else drafts[arm] == 0
        known.pulled = arm, size
        engine.run(budgets, 0.3)


@pytest.mark.parametrize(
    "spec",
    ["beg_mab:arms=1:3-9-17,epsilon=0.05", "ucb:form=standard,arms=2-8-16"],
)
def test_a_bandit_finds_the_best_arm(spec: str) -> None:
    """All drafts hold, and cost next to nothing: the longest is best."""
    engine = Engine(BUDGETS.make(spec), 0, view_of())
    pulls = []
    for _ in range(300):
        budgets = engine.ask([1, 2, 3])
        pulls.append(budgets[0])
        engine.run(budgets, 1.0)
    assert pulls[100:].count(16) > 150
    assert set(pulls) == {2, 8, 16}
