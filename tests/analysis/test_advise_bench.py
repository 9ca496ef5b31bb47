"""The bench of an advice: which rollouts stand for all, and that it simulates as the simulator."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.advice.bench import Bench, take_rollouts
from longtail.analysis.advice.choices import (
    off,
)
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import open_trace, sample_path

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import choice, rollouts, whole


def test_a_whole_bench_is_simulate() -> None:
    load = rollouts("history", cut=True)
    for one in (off(), choice("das", "tail"), choice("suffix:scope=all", "fixed:k=3"),
                choice("ngram", "goodput")):  # fmt: skip
        bench = whole(load)
        done = simulate_steps(load, one.setup(bench.setup), [1, 2], longest_draft=one.k)
        assert bench.totals([one])[0] == pytest.approx(sum(s.makespan_s for s in done), rel=1e-12)


@pytest.mark.parametrize("drafter", ["grouped", "grouped:scope=group,every=4", "best_of"])
@pytest.mark.parametrize("budget", ["fixed:k=2", "fixed:k=8"])
def test_drafts_that_depend_on_timing_are_nearly_those_of_the_loop(
    drafter: str, budget: str
) -> None:
    """As if rollouts began together and grew alike; printed with -s."""
    load = Workload.from_trace(open_trace(sample_path()), rl_steps=[0])
    assert load.trace is not None
    load.tokens = load.trace.tokens([0])
    load, one = take_rollouts(load, load.lengths.prompt < 16), choice(drafter, budget)
    bench = whole(load, steps=(0,))
    none, alike = bench.totals([off(), one])
    (real,) = simulate_steps(load, one.setup(bench.setup), [0])
    print(f"{one.name}: {none / alike:.3f}x, in the loop {none / real.makespan_s:.3f}x")
    assert none / alike > 1.1 and alike == pytest.approx(real.makespan_s, rel=0.1)


@given(requests=st.integers(1, 300), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_rows_stand_for_as_many_requests_as_asked(requests: int, seed: int) -> None:
    load = rollouts("fresh", seed=seed, steps=2, prompts=5, samples=3)
    bench = Bench.of(load, (1,), Setup.of(), most_tokens=10**9, requests=requests)
    rows = bench.rows(1)
    assert len(rows) == requests and (np.diff(rows) >= 0).all()
    assert (load.lengths.rl_step[rows] == 1).all()
    counts = np.bincount(rows - rows.min(), minlength=15)
    assert counts.max() - counts[counts > 0].min() <= 1
    again = bench.rows(1, np.array([2, 2]))
    assert len(again) == requests and len(np.unique(load.lengths.prompt[again])) == 1


def test_a_part_of_the_prompts_keeps_their_history() -> None:
    load = rollouts("history", prompts=20)
    part = Bench.of(load, (1, 2), Setup.of(), most_tokens=2_000)
    assert 1 <= part.prompts < 20 and part.count == {1: 80, 2: 80}
    assert part.load.rl_steps == [0, 1, 2]
    kept = np.unique(part.load.lengths.prompt)
    whole_rows = np.isin(load.lengths.prompt, kept)
    assert (part.load.lengths.output_len == load.lengths.output_len[whole_rows]).all()
    assert len(part.cases()[0][1]) == 80
    assert part.last(1, 3).steps == (2,) and part.last(10**9, 3).steps == (1, 2)
    bare = part.forgetful(0.0)
    assert bare.load.rl_steps == [2] and bare.steps == (2,)


@given(seed=st.integers(0, 20), tokens=st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)))
@settings(max_examples=20, deadline=None)
def test_what_is_searched_is_some_of_what_is_measured(seed: int, tokens: tuple[int, int]) -> None:
    load = rollouts("fresh", seed=seed, steps=1, prompts=40, samples=2)
    few, more = (
        set(Bench.of(load, (0,), Setup.of(), most_tokens=most).load.lengths.prompt.tolist())
        for most in sorted(tokens)
    )
    assert few and few <= more


def test_prompts_that_do_not_come_again_are_found_in_every_step() -> None:
    load = rollouts("own", recur=False, prompts=6)
    part = Bench.of(load, (1, 2), Setup.of(), most_tokens=1)
    assert all(len(part.rows(step)) == 24 for step in (1, 2))
