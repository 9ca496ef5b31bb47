"""The past that a live budget sees is the simulator's."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_traces import Rollout, random_rollouts, workload_of, write

from longtail.engine.history import History
from longtail.engine.live import LivePolicy
from longtail.engine.settings import LiveSettings
from longtail.policies.components import DRAFTERS
from longtail.policies.view import PastStep
from longtail.traces import open_trace

SPECS = [
    "ngram:k=4,min=1,max=3",
    "suffix:scope=own,window=2,depth=8",
    *(f"suffix:scope={s},window={w},depth=8" for s in ("problem", "both") for w in (0, 1, 2)),
]

traces = st.builds(
    random_rollouts,
    seed=st.integers(0, 1 << 30),
    rl_steps=st.integers(1, 5),
    prompts=st.integers(1, 3),
    samples=st.integers(1, 3),
    longest=st.integers(1, 30),
    alphabet=st.integers(2, 4),
)


def same(live: PastStep, simulated: PastStep, numbers: list[int]) -> None:
    """numbers: of the simulator's prompts, in the live history."""
    assert live.rl_step == simulated.rl_step
    assert live.prompt.tolist() == [numbers[p] for p in simulated.prompt]
    assert live.output_len.tolist() == simulated.output_len.tolist()
    for name in ("drafted", "matched", "offsets"):
        mine, theirs = (getattr(past.profile, name) for past in (live, simulated))
        assert mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist()
    assert live.profile.walks.tolist() == simulated.profile.walks.tolist()


def finish(history: History, rollouts: list[Rollout], rl_step: int, rng: random.Random) -> None:
    """The RL step's rollouts, in any order."""
    mine = [(i, r) for i, r in enumerate(rollouts) if r.rl_step == rl_step]
    rng.shuffle(mine)
    for order, r in mine:
        tokens = (np.array(t, np.int32) for t in (r.prompt, r.output))
        history.add(rl_step, order, r.prompt_id, *tokens)


def check(history: History, rollouts: list[Rollout], rl_step: int, drafter: object) -> None:
    load = workload_of(rollouts)
    expected = load.past(rl_step, load.profile(drafter))
    numbers = [history.number(p) for p in range(1 + max(r.prompt_id for r in rollouts))]
    assert len(history.past) == len(expected)
    for live, simulated in zip(history.past, expected, strict=True):
        same(live, simulated, numbers)


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=15, deadline=None)
@given(rollouts=traces, seed=st.integers(0, 99), patience=st.integers(1, 3))
def test_the_past_is_the_simulators(
    spec: str, rollouts: list[Rollout], seed: int, patience: int
) -> None:
    """patience: RL steps that finish before the history is asked to look at them."""
    rng, drafter = random.Random(seed), DRAFTERS.make(spec)
    history = History(drafter)
    last = max(r.rl_step for r in rollouts)
    for rl_step in range(last + 1):
        if rl_step % patience == 0:
            history.close(rl_step)
            check(history, rollouts, rl_step, drafter)
        finish(history, rollouts, rl_step, rng)
    history.close(last + 1)
    check(history, rollouts, last + 1, drafter)
    history.close(last + 1)
    check(history, rollouts, last + 1, drafter)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_steps_in_which_nothing_finished(window: int) -> None:
    rng, drafter = random.Random(window), DRAFTERS.make(f"suffix:window={window},depth=8")
    rollouts = [r for r in random_rollouts(3, 7, 2, 3, 25, 3) if r.rl_step not in (1, 2, 5)]
    history = History(drafter)
    for rl_step in range(8):
        history.close(rl_step)
        check(history, rollouts, rl_step, drafter)
        finish(history, rollouts, rl_step, rng)


@pytest.mark.parametrize("spec", SPECS)
def test_what_a_trace_brought_counts_as_having_run(spec: str, tmp_path: Path) -> None:
    rollouts = random_rollouts(5, 5, 3, 3, 30, 3)
    policy = LivePolicy(LiveSettings(spec, "das"), 100, pytest.fail)
    policy.load(open_trace(write(tmp_path / "t.parquet", rollouts)), rl_steps=range(4))
    policy.start_step(4)
    load = workload_of(rollouts)
    expected = load.past(4, load.profile(DRAFTERS.make(spec)))
    history = policy._history
    assert history is not None and len(history.past) == len(expected) == 4
    numbers = [history.number(str(p)) for p in range(3)]
    for live, simulated in zip(history.past, expected, strict=True):
        same(live, simulated, numbers)


def test_text_that_no_profile_depends_on_is_let_go() -> None:
    for spec, kept in (("ngram", 3), ("suffix:window=2", 9), ("suffix", 30)):
        history = History(DRAFTERS.make(spec))
        for rl_step in range(10):
            finish(history, [Rollout(rl_step, 0, [1], [2, 3])] * 3, rl_step, random.Random(0))
            history.close(rl_step + 1)
        assert len(history._kept) == kept and not history._open


def test_a_rollout_without_output_leaves_no_trace() -> None:
    """An engine that was told to write nothing, or a stop before the first token."""
    policy = LivePolicy(LiveSettings("suffix", "das"), 100, pytest.fail)
    for rl_step in (1, 2, 3):
        policy.start_step(rl_step)
        for name in ("a", "b"):
            policy.arrive(name, [1, 2], prompt_id="p")
        policy.propose([], 2, 0, 0)
        policy.gained(["a"], [[5, 6]], [0], [0])
        policy.leave("a", [5, 6])
        policy.leave("b", [])
    assert policy._history is not None
    assert [past.output_len.tolist() for past in policy._history.past] == [[2], [2]]
