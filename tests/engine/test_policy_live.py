"""A policy at work in an engine drafts as the simulator does, and learns what a trace brings."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_policy import DRAFT, VOCAB, Bench, FakeDrafter
from hypothesis import given, settings
from hypothesis import strategies as st
from little_traces import Rollout, random_rollouts, workload_of, write

from longtail.engine.live import LivePolicy
from longtail.engine.settings import LiveSettings
from longtail.sim.simulate import Setup, simulate_steps
from longtail.traces import TraceError, TraceMeta, TraceWriter, open_trace

# As the simulator does


def drive(rollouts: list[Rollout], told: LiveSettings, loaded: int = 0) -> list[tuple[int, ...]]:
    """(RL step, running, drafted, accepted) of each forward of an engine without limits.

    The RL steps before `loaded` are learnt from a trace instead of being run.
    """
    policy = LivePolicy(told, VOCAB, pytest.fail)
    if loaded:
        with tempfile.TemporaryDirectory() as folder:
            earlier = [r for r in rollouts if r.rl_step < loaded]
            policy.load(open_trace(write(Path(folder) / "t.parquet", earlier)))
    rows = []
    for step in sorted({r.rl_step for r in rollouts if r.rl_step >= loaded}):
        policy.start_step(step)
        texts = {(step, i): r for i, r in enumerate(rollouts) if r.rl_step == step}
        written = dict.fromkeys(texts, 0)
        for name, r in texts.items():
            policy.arrive(name, r.prompt, cap=r.cap, prompt_id=str(r.prompt_id))
        while written:
            decoding = [name for name, count in written.items() if count]
            kv_tokens = sum(len(texts[n].prompt) + written[n] for n in decoding)
            drafts = policy.propose(decoding, 0, len(written) - len(decoding), kv_tokens)
            gains, accepted = [], []
            for name, draft in zip(written, drafts or [[] for _ in written], strict=True):
                rest = texts[name].output[written[name] :]
                good = 0
                while good < min(len(draft), len(rest)) and draft[good] == rest[good]:
                    good += 1
                accepted.append(good)
                gains.append(rest[: good + 1])
            drafted = list(map(len, drafts)) or [0 for _ in written]
            policy.gained(list(written), gains, drafted, accepted)
            rows.append((step, len(written), sum(drafted), sum(accepted)))
            for name, gain in zip(list(written), gains, strict=True):
                written[name] += len(gain)
                if written[name] == len(texts[name].output):
                    del written[name]
                    policy.leave(name, texts[name].output)
    assert not policy.faults
    return rows


def simulated(rollouts: list[Rollout], setup: Setup) -> list[tuple[int, ...]]:
    load = workload_of(rollouts)
    rows: list[tuple[int, ...]] = []
    for result in simulate_steps(load, setup, load.rl_steps, log=True):
        assert result.log is not None
        columns = (result.log[name].tolist() for name in ("running", "drafted", "accepted"))
        rows += [(result.rl_step, *row) for row in zip(*columns, strict=True)]
    return rows


texts = st.builds(
    random_rollouts,
    seed=st.integers(0, 1 << 30),
    rl_steps=st.integers(2, 4),
    prompts=st.integers(1, 3),
    samples=st.integers(1, 4),
    longest=st.integers(1, 40),
    alphabet=st.integers(2, 4),
)


@pytest.mark.parametrize(
    "budget", ["fixed:k=3", "das:cold=1.7", "das:cold=0.4,window=1,short=0.3", "unlimited"]
)
@pytest.mark.parametrize(
    "drafter",
    [
        "ngram:k=4,min=1,max=3",
        "suffix:scope=both,depth=8,max=5",
        "suffix:scope=problem,window=1,depth=6,factor=2",
        "suffix:scope=both,window=2,depth=6",
        "suffix:scope=own,depth=8",
    ],
)
@settings(max_examples=12, deadline=None)
@given(rollouts=texts, loaded=st.integers(0, 2))
def test_every_forward_is_the_simulators(
    drafter: str, budget: str, rollouts: list[Rollout], loaded: int
) -> None:
    expected = simulated(rollouts, Setup.of(drafter=drafter, budget=budget))
    last = max(r.rl_step for r in rollouts)
    loaded = min(loaded, last)
    live = drive(rollouts, LiveSettings(drafter, budget), loaded)
    assert live == [row for row in expected if row[0] >= loaded]


@pytest.mark.parametrize("longest", [0, 1, 3])
@pytest.mark.parametrize("budget", ["fixed:k=8", "das:cold=1.7"])
@settings(max_examples=10, deadline=None)
@given(rollouts=texts)
def test_a_smaller_k_is_the_simulators_too(
    budget: str, longest: int, rollouts: list[Rollout]
) -> None:
    load = workload_of(rollouts)
    setup = Setup.of(drafter="suffix:depth=8,max=5", budget=budget)
    results = simulate_steps(load, setup, load.rl_steps, longest_draft=longest)
    told = LiveSettings(setup.drafter, setup.budget, longest_draft=longest)
    rows = drive(rollouts, told)
    for result in results:
        mine = [row for row in rows if row[0] == result.rl_step]
        assert len(mine) == result.forwards
        assert sum(row[2] for row in mine) == result.draft_tokens
        assert sum(row[3] for row in mine) == result.accepted_tokens


# RL steps and loaded history


def test_steps_said_again_or_backwards_change_nothing() -> None:
    bench = Bench()
    for rl_step in (0, 0, 1, 1, 3, 2, -1, 3):
        bench.policy.start_step(rl_step)
    assert bench.drafter.steps == [1, 3] and bench.policy.rl_step == 3
    assert bench.faults == {"step": 2} and "RL step 2 after 3" in bench.warnings[0]


@pytest.mark.parametrize("rl_step", [0, 1])
def test_a_step_said_again_shows_nothing_of_itself(rl_step: int) -> None:
    bench = Bench("suffix:scope=problem")
    bench.policy.start_step(rl_step)
    bench.policy.arrive("a", [1, 2], prompt_id="p")
    bench.policy.gained(["a"], [[1, 2, 3, 4]], [0], [0])
    bench.policy.leave("a", [1, 2, 3, 4])
    bench.policy.start_step(rl_step)
    bench.policy.arrive("b", [1, 2], prompt_id="p")
    bench.policy.gained(["b"], [[1, 2]], [0], [0])
    assert bench.policy.propose(["b"], 0, 0, 0) == [[]]
    bench.policy.start_step(rl_step + 1)
    assert bench.policy.propose(["b"], 0, 0, 0) == [[3, 4]]


def numbered(rl_step: int, output: list[int], prompt: Sequence[int] = (1, 2)) -> Rollout:
    return Rollout(rl_step, 0, [*prompt], output)


def test_a_prompt_without_a_name_is_known_by_its_tokens(tmp_path: Path) -> None:
    bench = Bench("suffix:scope=problem")
    bench.policy.load(open_trace(write(tmp_path / "t.parquet", [numbered(0, [5, 6, 7])])))
    bench.policy.start_step(1)
    assert bench.policy.arrive("a", [1, 2]).prompt_id == "0"
    assert bench.policy.arrive("b", [1, 3]).prompt_id == bench.policy.arrive("c", [1, 3]).prompt_id
    bench.policy.gained(["a", "b"], [[5], [5]], [0, 0], [0, 0])
    assert bench.policy.propose(["a", "b"], 0, 0, 0) == [[6], []]


def test_several_traces_are_learnt_in_order_of_rl_step(tmp_path: Path) -> None:
    """A recorder's files: a rollout that ended late stands in a later file."""
    parts = [
        [numbered(0, [1]), numbered(1, [2])],
        [numbered(1, [3]), numbered(2, [4])],
        [numbered(0, [5]), numbered(3, [6])],
    ]
    traces = [open_trace(write(tmp_path / f"{i}.parquet", part)) for i, part in enumerate(parts)]
    bench = Bench()
    bench.drafter.history_steps = None
    bench.policy.load(*traces)
    assert bench.policy.rl_step == 3
    assert bench.drafter.steps == sorted(bench.drafter.steps)
    assert [tokens for _, tokens in bench.drafter.learnt] == [[1], [5], [2], [3], [4], [6]]
    assert not bench.faults


def test_only_what_drafts_can_depend_on_is_learnt(tmp_path: Path) -> None:
    rollouts = [numbered(step, [step + 1]) for step in range(6)]
    trace = open_trace(write(tmp_path / "t.parquet", rollouts))
    for depends, learnt in ((None, [1, 2, 3, 4, 5, 6]), (2, [5, 6]), (0, [])):
        bench = Bench()
        bench.drafter.history_steps = depends
        bench.policy.load(trace)
        assert [token for _, (token,) in bench.drafter.learnt] == learnt
    bench.policy.load(trace, rl_steps=[])
    bench.policy.load(trace, rl_steps=range(7, 9))
    assert bench.policy.rl_step == 5


def test_a_drafter_that_cannot_learn_a_trace_does_not_stop_the_engine(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path / "t.parquet", [numbered(0, [5]), numbered(1, [6])]))
    for method in ("learn", "start_step"):
        bench = Bench(FakeDrafter(bad=method))
        bench.drafter.history_steps = None
        bench.policy.load(trace)
        bench.prefill("a")
        assert bench.forward() == {"a": DRAFT}
        assert bench.faults == {method: 2} and len(bench.warnings) == 1


def test_a_lengths_only_trace_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    row = {"rl_step": 0, "prompt_id": "p", "sample": 0, "prompt_len": 1, "output_len": 1}
    with TraceWriter(path, TraceMeta(origin="imported")) as writer:
        writer.write([row])
    with pytest.raises(TraceError, match="lengths-only"):
        Bench().policy.load(open_trace(path))
