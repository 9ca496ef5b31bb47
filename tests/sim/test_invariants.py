"""What must hold of every simulation: closed forms, conservation, and who knows what."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_setups import BASE, LINEAR, TOKEN, budgets, closed_form, drafters
from small_workloads import Rollout, random_rollouts, traces, workload_of

from longtail.policies.batch import Batch
from longtail.policies.budgets.das import Das
from longtail.policies.view import StepView
from longtail.sim.limits import Limits
from longtail.sim.replica import Replica
from longtail.sim.simulate import Bounds, Result, Setup, simulate
from longtail.sim.state import IDLE, RUNNING, UNTIL
from longtail.sim.workload import Workload
from longtail.traces import open_trace
from longtail.traces.commands import trace

FULL = "linear:base=1e-2,token=3e-5,kv_token=1e-7,request=2e-4,draft=5e-6"
PIECEWISE = (
    "piecewise:tokens=1/4/16/64,time=1e-2/1.1e-2/1.5e-2/4e-2,capture=1/2/4/8/16,kv_token=1e-7"
)
SHARED = Path(__file__).parents[2].parent / "shared"
KEYS = "prompt_id=problem_id,sample=sample_index,rl_step=epoch_or_checkpoint"
TEXTS = (
    "rg_llama3b_rl_aime_amc",
    "rg_qwen3b_rl_transfer",
    "xling_r1distill_qwen1p5b_checkpoints",
)

latencies = st.sampled_from([LINEAR, FULL, PIECEWISE])


def tight(rollouts: list[Rollout], seed: int) -> Limits:
    """Few seats, few tokens per forward, and a KV cache that often runs over."""
    rng = random.Random(seed)
    block = rng.randint(1, 4)
    most = max(len(r.prompt) + len(r.output) for r in rollouts)
    return Limits(
        max_num_seqs=rng.choice([None, 2, 5]),
        max_num_batched_tokens=rng.choice([None, 3, 12, 40]),
        kv_tokens=rng.choice([None, most + block, 3 * most]),
        block_size=block,
    )


def same(one: Result, other: Result) -> None:
    for a, b in zip(one.steps, other.steps, strict=True):
        assert a.makespan_s == b.makespan_s
        assert (a.forwards, a.draft_tokens, a.accepted_tokens, a.processed_tokens) == (
            b.forwards, b.draft_tokens, b.accepted_tokens, b.processed_tokens
        )  # fmt: skip
        for name in ("finish_s", "request_forwards", "drafted", "accepted"):
            assert (getattr(a, name) == getattr(b, name)).all()


# Closed forms


def one_by_one(load: Workload, base_s: float, token_s: float) -> dict[int, float]:
    """Makespan of one seat, by RL step: the sum over its requests, each alone."""
    result = {}
    for step in load.rl_steps:
        lengths = load.lengths.select(load.rows(step))
        outputs, prompts = (a.astype(float) for a in (lengths.output_len, lengths.prompt_len))
        result[step] = float((base_s * outputs + token_s * (prompts + outputs - 1)).sum())
    return result


def makespans(load: Workload, setup: Setup) -> dict[int, float]:
    result = simulate(load, setup, bounds=Bounds({}, {}))
    return {step.rl_step: step.makespan_s for step in result.steps}


@settings(max_examples=150, deadline=None)
@given(rollouts=traces)
def test_closed_form(rollouts: list[Rollout]) -> None:
    load, setup = workload_of(rollouts), Setup.of(latency=LINEAR)
    assert makespans(load, setup) == pytest.approx(closed_form(load, BASE, TOKEN), rel=1e-9)
    alone = replace(setup, limits=Limits(max_num_seqs=1))
    assert makespans(load, alone) == pytest.approx(one_by_one(load, BASE, TOKEN), rel=1e-9)


@pytest.fixture(scope="session")
def shared_traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workload]:
    """Every recorded trace beside the checkout, imported as its users would."""
    folder = tmp_path_factory.mktemp("shared")
    loads = {}
    sources = {name: f"{name}.jsonl.gz" for name in TEXTS}
    sources["epoch_benchhub_output_tokens"] = "epoch_benchhub_output_tokens.csv.gz"
    for name, file in sources.items():
        target, source = str(folder / f"{name}.parquet"), str(SHARED / "traces" / file)
        if name in TEXTS:
            tokenizer = str(SHARED / "tokenizers" / "qwen2" / "tokenizer.json")
            command = ["import", "text", source, "--tokenizer", tokenizer, "--map", KEYS]
            command += ["--end-token", "<|endoftext|>", "-o", target]
        else:
            keys = "rl_step=run_id,prompt_id=task+problem_id,sample=epoch,output_len=output_tokens"
            command = ["import", "lengths", source, "--map", keys, "--prompt-len", "512"]
            command += ["--drop-empty", "-o", target]
        done = CliRunner().invoke(trace, command)
        assert done.exit_code == 0, (done.output, done.exception)
        loads[name] = Workload.from_trace(open_trace(target))
    return loads


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no recorded traces beside the checkout")
@pytest.mark.parametrize("name", [*TEXTS, "epoch_benchhub_output_tokens"])
def test_closed_form_of_recorded_traces(shared_traces: dict[str, Workload], name: str) -> None:
    load, setup = shared_traces[name], Setup.of(latency=LINEAR)
    assert makespans(load, setup) == pytest.approx(closed_form(load, BASE, TOKEN), rel=1e-9)
    alone = replace(setup, limits=Limits(max_num_seqs=1))
    assert makespans(load, alone) == pytest.approx(one_by_one(load, BASE, TOKEN), rel=1e-9)


# Conservation


@settings(max_examples=100, deadline=None)
@given(rollouts=traces, drafter=drafters, latency=latencies, seed=st.integers(0, 99))
def test_budget_zero_is_no_drafter(
    rollouts: list[Rollout], drafter: str, latency: str, seed: int
) -> None:
    load, limits = workload_of(rollouts), tight(rollouts, seed)
    none = Setup.of(latency=latency, limits=limits)
    for budget in ("fixed:k=0", "unlimited:k=0", "das:cold=0,window=1"):
        zero = Setup.of(drafter=drafter, budget=budget, latency=latency, limits=limits)
        step = load.rl_steps[:1] if budget.startswith("das") else None  # cold: no history
        same(simulate(load, none, rl_steps=step), simulate(load, zero, rl_steps=step))


@settings(max_examples=150, deadline=None)
@given(
    rollouts=traces, drafter=drafters, budget=budgets, latency=latencies, seed=st.integers(0, 99)
)
def test_conserved_and_repeatable(
    rollouts: list[Rollout], drafter: str, budget: str, latency: str, seed: int
) -> None:
    limits = tight(rollouts, seed)
    setup = Setup.of(drafter=drafter, budget=budget, latency=latency, limits=limits)
    result = simulate(workload_of(rollouts), setup)
    same(result, simulate(workload_of(rollouts), setup))
    same(result, simulate(workload_of(rollouts), setup, log=True))
    assert result.total("requests") == result.total("finished") == len(rollouts)
    assert result.total("output_tokens") == sum(len(r.output) for r in rollouts)
    logged = simulate(workload_of(rollouts), setup, log=True)
    for step in logged.steps:
        log = step.log
        assert log is not None and len(log) == step.forwards
        assert log["drafted"].sum() == step.draft_tokens == step.drafted.sum()
        assert log["accepted"].sum() == step.accepted_tokens == step.accepted.sum()
        assert log["tokens"].sum() == step.processed_tokens
        assert step.positions[:, 1:].sum(0).tolist() == [step.draft_tokens, step.accepted_tokens]
        assert log["forward_s"].sum() == pytest.approx(step.makespan_s, rel=1e-9)
        assert log["tokens"].max() <= (limits.max_num_batched_tokens or 1 << 60)
        assert log["requests"].max() <= (limits.max_num_seqs or 1 << 60)
        assert log["kv_tokens"].max() <= (limits.kv_tokens or 1 << 60)


@settings(max_examples=60, deadline=None)
@given(rollouts=traces, drafter=drafters, budget=st.sampled_from(["unlimited", "fixed:k=2"]),
       seed=st.integers(0, 99))  # fmt: skip
def test_two_replicas_are_two_runs(
    rollouts: list[Rollout], drafter: str, budget: str, seed: int
) -> None:
    limits = tight(rollouts, seed)
    both = Setup.of(
        drafter=drafter, budget=budget, latency=FULL, limits=replace(limits, replicas=2)
    )
    single = replace(both, limits=limits)
    load = workload_of(rollouts)
    last = load.rl_steps[-1]
    now = [r for r in rollouts if r.rl_step == last]
    past = [r for r in rollouts if r.rl_step < last]
    together = simulate(load, both, rl_steps=[last]).steps[0]
    assert together.finished == len(now)
    assert together.output_tokens == sum(len(r.output) for r in now)
    halves = [
        simulate(workload_of([*past, *half]), single, rl_steps=[last]).steps[0]
        for half in (now[::2], now[1::2])
        if half
    ]
    for i, half in enumerate(halves):
        assert (together.finish_s[i::2] == half.finish_s).all()
        assert (together.drafted[i::2] == half.drafted).all()
        assert (together.request_forwards[i::2] == half.request_forwards).all()
    assert together.makespan_s == max(half.makespan_s for half in halves)
    assert together.forwards == sum(half.forwards for half in halves)
    assert together.preemptions == sum(half.preemptions for half in halves)


# Stopping and going on


def replica_of(load: Workload, setup: Setup, step: int, log: bool = False) -> Replica:
    requests, rows, profile = load.requests(step), load.rows(step), load.profile(setup.drafter)
    latency = setup.latency
    view = StepView(
        rl_step=step,
        prompt=requests.prompt,
        prompt_len=requests.prompt_len,
        cap=requests.cap,
        longest_draft=setup.drafter.longest_draft,
        past=load.past(step, profile),
        forward_s=lambda tokens, count: float(
            latency.seconds(tokens, count, 0, 0, 0, 0, latency.params)
        ),
    )
    return Replica(
        view=view,
        output_len=requests.output_len,
        profile=profile.part(rows.start, rows.stop),
        budget=setup.budget,
        latency=latency,
        told=latency,
        limits=setup.limits,
        log=log,
    )


@example(
    rollouts=random_rollouts(16, rl_steps=1, prompts=3, samples=2, longest=16, alphabet=2),
    drafter="none",
    budget="unlimited",
    stops=[0.015625],
    seed=0,
)
@example(
    rollouts=random_rollouts(3, rl_steps=2, prompts=1, samples=1, longest=3, alphabet=2),
    drafter="none",
    budget="unlimited",
    stops=[0.015625],
    seed=0,
)
@settings(max_examples=100, deadline=None)
@given(
    rollouts=traces,
    drafter=st.one_of(st.just("none"), drafters),
    budget=budgets,
    stops=st.lists(st.floats(0, 0.6), max_size=8),
    seed=st.integers(0, 99),
)
def test_stopped_and_resumed(
    rollouts: list[Rollout], drafter: str, budget: str, stops: list[float], seed: int
) -> None:
    setup = Setup.of(drafter=drafter, budget=budget, latency=FULL, limits=tight(rollouts, seed))
    load = workload_of(rollouts)
    last = load.rl_steps[-1]
    whole, pieces = replica_of(load, setup, last), replica_of(load, setup, last, log=True)
    assert whole.decode(until_s=math.inf) == IDLE
    for stop in sorted(stops):
        why = pieces.decode(until_s=stop)
        assert pieces.clock_s >= stop if why == UNTIL else why == IDLE
    assert pieces.decode(until_s=math.inf) == IDLE
    assert pieces.clock_s == whole.clock_s
    # What a forward was told is left over from the last one that was scheduled one by one; and
    # where nothing is drafted no rule is told of forwards.
    left_over = {"slots", "scheduled", "budget"}
    if drafter == "none":
        left_over |= {"last", "counts"}
    for a, b in ((whole.state, pieces.state), (whole.batch, pieces.batch)):
        for name in a._fields:
            if name not in left_over:
                assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True), name


# Who knows what


def test_a_rule_sees_no_recorded_length() -> None:
    assert set(Batch._fields) == {
        "slots", "prompt_len", "cap", "generated", "forwards", "drafted", "accepted", "group",
        "ended", "offered", "labels_at", "labels", "chances", "last", "counts",
    }  # fmt: skip
    hidden = {"output_len", "finish", "length", "tokens", "output_tokens"}
    assert not hidden & set(StepView.__dataclass_fields__)


@settings(max_examples=150, deadline=None)
@given(
    rollouts=traces, drafter=drafters, budget=budgets, seed=st.integers(0, 1 << 30), data=st.data()
)
def test_the_future_changes_nothing(
    rollouts: list[Rollout], drafter: str, budget: str, seed: int, data: st.DataObject
) -> None:
    """Two worlds that differ in one rollout's tokens from g on, and in how many they are."""
    rng = random.Random(seed)
    last = rollouts[-1].rl_step
    which = data.draw(
        st.sampled_from([i for i, r in enumerate(rollouts) if r.rl_step == last]), label="rollout"
    )
    changed = replace(rollouts[which], cap=1000)
    g = data.draw(st.integers(1, len(changed.output)), label="g")
    tail = [rng.randrange(4) for _ in range(rng.randint(1, 30))]
    worlds = []
    limits = replace(tight(rollouts, seed), kv_tokens=None)
    setup = Setup.of(drafter=drafter, budget=budget, latency=LINEAR, limits=limits)
    for output in (changed.output, changed.output[:g] + tail):
        mine = [*rollouts[:which], replace(changed, output=output), *rollouts[which + 1 :]]
        worlds.append(workload_of(mine))

    profiles = [load.profile(setup.drafter) for load in worlds]
    at = int(profiles[0].offsets[which])
    end = at + min(g + 1, len(changed.output), g + len(tail))
    assert (profiles[0].drafted[:end] == profiles[1].drafted[:end]).all()

    a, b = (replica_of(load, setup, last) for load in worlds)
    here = which - worlds[0].rows(last).start
    alike, why = True, [UNTIL]
    while alike and IDLE not in why and a.batch.generated[here] <= g:
        why = [r.decode(until_s=math.nextafter(r.clock_s, math.inf)) for r in (a, b)]
        assert a.clock_s == b.clock_s
        assert (a.batch.drafted == b.batch.drafted).all()
        assert (a.state.budget == b.state.budget).all()
        alike = a.batch.generated[here] == b.batch.generated[here]
        alike &= a.state.n[RUNNING] == b.state.n[RUNNING]  # or one of them has just finished


# Plans


def test_das_plans_no_more_than_the_drafter_can() -> None:
    rollouts = random_rollouts(4, 3, 3, 4, 40, 2)
    load = workload_of(rollouts)
    setup = Setup.of(drafter="ngram:k=4,min=1,max=3", budget="das", latency=LINEAR)
    assert isinstance(setup.budget, Das)
    plan = replica_of(load, setup, 2).plan
    assert (plan.values[:3] >= 0).all() and (plan.values[:3] <= 4).all()
    assert plan.values[:3].any()
    kinds = plan.request[:, 0]
    assert set(kinds.tolist()) <= {0.0, 1.0, 2.0}
    upgrades = plan.values[3:9].reshape(3, 2)  # of each initial class: to medium, to long
    assert (upgrades[:, 0] <= upgrades[:, 1]).all()
