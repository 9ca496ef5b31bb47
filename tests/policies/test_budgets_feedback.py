"""Budgets that follow what happens: each against its definition in plain Python, forward by
forward, and in whole simulations.
"""

from __future__ import annotations

import importlib.util
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_engine import COST, LINEAR, Engine, N, Switch, seconds, seeds, view_of
from small_workloads import random_rollouts, workload_of

from longtail.policies.batch import RESTART
from longtail.policies.components import BUDGETS
from longtail.policies.drafters.cost import FREE, DraftCost
from longtail.policies.profile import Profile
from longtail.policies.registry import ComponentError
from longtail.policies.view import PastStep
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate

# --- the switch, and vLLM's schedule ---


@pytest.mark.parametrize("switch", ["reprefill", "free"])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, limit=st.integers(1, 39), patience=st.integers(1, 12))
def test_threshold_is_the_switch(switch: str, seed: int, limit: int, patience: int) -> None:
    spec = f"threshold:k=6,limit={limit},patience={patience},switch={switch}"
    engine = Engine(BUDGETS.make(spec), seed, view_of())
    known = Switch(limit, patience)
    for _ in range(80):
        turned = known.turns_on(engine.last)
        budgets = engine.ask(engine.some())
        assert set(budgets) == {6 if known.on else 0}
        assert engine.batch.counts[RESTART] == (turned and switch == "reprefill")
        engine.batch.counts[RESTART] = 0
        engine.run(budgets, 0.5)


def test_only_what_an_engine_can_do_is_in_engine() -> None:
    for spec, possible in (
        ("threshold", False),
        ("threshold:switch=free", True),
        ("beg_mab", True),
        ("beg_mab:limit=32", False),
        ("beg_mab:limit=32,switch=free", True),
    ):
        assert BUDGETS.make(spec).in_engine is possible


def schedule_by_vllm(entries: list[tuple[int, int, int]], size: int) -> list[int]:
    """vLLM's own table, from its file: importing all of vLLM takes seconds."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    path = Path(found.origin).parent / "v1/spec_decode/dynamic/utils.py"
    if not path.exists():
        pytest.skip("this vLLM has no schedule")
    spec = importlib.util.spec_from_file_location("vllm_dynamic", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: list[int] = module.build_dynamic_sd_schedule_lookup(entries, size, 128)
    return table


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_schedule_is_vllms(data: st.DataObject) -> None:
    entries, first = [], 1
    for _ in range(data.draw(st.integers(1, 4))):
        last = first + data.draw(st.integers(0, 20))
        entries.append((first, last, data.draw(st.integers(0, 128))))
        first = last + data.draw(st.integers(1, 9))
    table = schedule_by_vllm(entries, 120)
    budget = BUDGETS.make("schedule:ranges=" + "_".join(f"{a}-{b}:{k}" for a, b, k in entries))
    engine = Engine(budget, 0, view_of())
    for size in range(1, 121):
        engine.batch.last[:] = (size, size, 0, 0, 0, 0, 0)
        assert set(engine.ask([4, 1])) == {table[size]}


# --- RhymeRL's window ---


@pytest.mark.parametrize("form", ["printed", "released"])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, luck=st.sampled_from([0.2, 0.6, 0.95]))
def test_aimd_is_its_definition(form: str, seed: int, luck: float) -> None:
    engine = Engine(BUDGETS.make(f"aimd:form={form}"), seed, view_of())
    window = [2] * N
    batch, met = engine.batch, [False] * N
    for _ in range(120):
        decoding = engine.rng.sample(range(6), engine.rng.randint(1, 6))
        budgets = engine.ask(decoding)
        assert budgets == [window[i] for i in decoding]
        before = batch.forwards.copy(), batch.drafted.copy(), batch.accepted.copy()
        engine.run(budgets, luck)
        for i in decoding:
            met[i] = True
            ran, d, a = (
                int(now[i] - old[i])
                for now, old in zip(
                    (batch.forwards, batch.drafted, batch.accepted), before, strict=True
                )
            )
            if form == "released" and ran:
                window[i] = min(2 * window[i], 16) if a + 1 > window[i] else max(window[i] // 2, 2)
            elif d:
                window[i] = min(window[i] + 2, 32) if a == d else 2
    assert any(met)


# --- ReSpec's solver ---


def past_step(rng: random.Random) -> PastStep:
    """A few rollouts, whose drafts match more or less."""
    length = np.array([rng.randint(1, 120) for _ in range(rng.randint(1, 6))], np.int32)
    offsets = np.concatenate([[0], length.cumsum()]).astype(np.int64)
    left = np.repeat(offsets[1:], length) - np.arange(offsets[-1])
    drafted = np.array([rng.randint(0, 40) for _ in left], np.uint8)
    luck = rng.random()
    share = [1.0 if rng.random() < luck else rng.random() for _ in left]
    matched = np.minimum((drafted * np.array(share)).astype(int), left).astype(np.uint8)
    return PastStep(2, np.zeros(len(length), np.int32), length, Profile(drafted, matched, offsets))


def best_length(past: PastStep, context: float, n: int, cost: DraftCost) -> list[int]:
    """Walk history at each draft length, and find the most tokens per second; all that tie."""
    speed = {}
    for k in (0, 1, 2, 4, 8, 16):
        tokens = forwards = drafts = 0
        for first, end in zip(past.profile.offsets[:-1], past.profile.offsets[1:], strict=True):
            at = first + 1
            while at < end:
                d = min(k, int(past.profile.drafted[at]))
                a = min(d, int(past.profile.matched[at]))
                forwards, drafts, at = forwards + 1, drafts + d, at + a + 1
            tokens += int(end - first) - 1
        gain, each = (tokens / forwards, drafts / forwards) if forwards else (1.0, 0.0)
        total = round(n * each)
        kv, pairs = int(n * context) + total, int((n + total) * context)
        time = seconds([n + total, n, kv, pairs, 0, total, 0])
        if total:
            time += cost.once_s + cost.step_s * min(k, cost.most_steps) + cost.token_s * total
        speed[k] = n * (gain if k else 1.0) / time
    most = max(speed.values())
    return [k for k, s in speed.items() if math.isclose(s, most, rel_tol=1e-9)]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, cost=st.sampled_from([FREE, COST]))
def test_respec_takes_the_fastest_length(seed: int, cost: DraftCost) -> None:
    past = past_step(random.Random(seed))
    view = view_of((past,), cost)
    engine = Engine(BUDGETS.make("respec"), seed, view)
    positions = [g for length in past.output_len.tolist() for g in range(length)]
    context = float(view.prompt_len.mean()) + sum(positions) / len(positions) + 0.5
    for _ in range(30):
        decoding = engine.some()
        budgets = engine.ask(decoding)
        assert len(set(budgets)) == 1
        assert budgets[0] in best_length(past, context, len(decoding), cost)
        engine.run(budgets, 0.5)


def test_respec_drafts_when_the_batch_has_shrunk() -> None:
    length = np.full(4, 200, np.int32)
    offsets = np.arange(5, dtype=np.int64) * 200
    drafted = np.full(800, 20, np.uint8)
    matched = np.minimum(6, np.repeat(offsets[1:], 200) - np.arange(800)).astype(np.uint8)
    past = PastStep(2, np.zeros(4, np.int32), length, Profile(drafted, matched, offsets))
    engine = Engine(BUDGETS.make("respec"), 0, view_of((past,)))
    few, many = engine.ask([1])[0], engine.ask(list(range(N)))[0]
    assert few == 8 and many < few
    cold = Engine(BUDGETS.make("respec:cold=3"), 0, view_of())
    assert cold.ask([2, 3]) == [3, 3]


# --- all of them at work ---

SPECS = (
    "threshold:limit=5",
    "threshold:limit=5,switch=free",
    "schedule:ranges=1-3:8_4-9:2_10-12:0",
    "beg_mab",
    "beg_mab:form=printed,arms=1:8-2_4:4-1,window=20",
    "beg_mab:arms=2:9-3_4:5-1,limit=6",
    "ucb:arms=0-2-8",
    "ucb:form=standard,arms=0-2-8",
    "respec",
    "aimd",
    "aimd:form=released",
)
LOAD = workload_of(random_rollouts(4, rl_steps=3, prompts=3, samples=4, longest=90, alphabet=3))


TIGHT = Limits(max_num_seqs=6, max_num_batched_tokens=24, kv_tokens=240, block_size=4)


@pytest.mark.parametrize("limits", [Limits(), TIGHT], ids=["unlimited", "tight"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_simulation_runs_to_its_end_twice_alike(spec: str, limits: Limits) -> None:
    drafter = "suffix:scope=both,max=16,factor=3"
    setup = Setup.of(drafter=drafter, budget=spec, latency=LINEAR, limits=limits)
    runs = [simulate(LOAD, setup, log=True) for _ in range(2)]
    for step, again in zip(*(run.steps for run in runs), strict=True):
        assert step.finished == step.requests == 12
        assert step.log is not None and again.log is not None
        assert step.log.equals(again.log)
    assert runs[0].total("accepted_tokens") > 0


def test_switching_on_prefills_everybody_again() -> None:
    setup = Setup.of(drafter="suffix:scope=both", budget="threshold:limit=9", latency=LINEAR)
    for step in simulate(LOAD, setup, log=True).steps:
        log = step.log
        assert log is not None
        small = ((log["requests"] <= 9) & (log["prefill_tokens"] == 0)).to_numpy()
        first = next(t for t in range(len(small)) if small[t - 9 : t + 1].sum() == 10)
        assert log["drafted"][: first + 2].sum() == 0 < log["drafted"][first + 2 :].sum()
        live = int(log["running"][first + 1])
        assert step.preemptions == live > 0
        assert log["prefill_tokens"][first + 1] == log["tokens"][first + 1] > live


@pytest.mark.parametrize(
    "spec",
    [
        "schedule:ranges=2-4:8",
        "schedule:ranges=1-4:8_4-9:2",
        "schedule:ranges=1-4:200",
        "beg_mab:arms=1:48_1:16",
        "beg_mab:arms=1:0",
        "beg_mab:arms=1:",
        "ucb:arms=1-1",
        "ucb:arms=129",
        "aimd:longest=1",
    ],
)
def test_what_makes_no_sense_is_refused(spec: str) -> None:
    with pytest.raises(ComponentError):
        BUDGETS.make(spec)
