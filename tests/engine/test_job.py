"""Jobs as data, what is run again, what an engine is asked for; by a fake `vllm`, not the real."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_traces import Rollout, write

from longtail.engine.execute import execute
from longtail.engine.job import Generate, Job, JobError, Replay, read_summary, run_jobs
from longtail.engine.policies import parse_policy
from longtail.policies.batch import MAX_DRAFT
from longtail.traces import TraceError

ROLLOUTS = [
    Rollout(0, 0, [1], [5, 6]),
    Rollout(0, 1, [2, 3], [5]),
    Rollout(2, 0, [1], [7] * 4, cap=4),
    Rollout(5, 1, [2, 3], [8]),
]


class World:
    """Engines that were started, and what they were asked; the `broken`-th request batch fails."""

    def __init__(self) -> None:
        self.engines: list[dict[str, Any]] = []
        self.stopped = 0
        self.sessions: list[Any] = []
        self.loaded: list[list[int]] = []
        self.asked: list[tuple[list[list[int]], list[Any]]] = []
        self.broken: int | None = None
        self.wrong = False

    def start(self, **arguments: Any) -> FakeEngine:
        self.engines.append(arguments)
        return FakeEngine(self)


class FakeEngine:
    """Gives replays their tokens, and everybody else a token that the seed tells."""

    def __init__(self, world: World) -> None:
        self.world = world
        policy = SimpleNamespace(
            rl_step=0, load=lambda _, rl_steps: world.loaded.append([*rl_steps])
        )
        scheduler = SimpleNamespace(
            session=SimpleNamespace(policy=policy),
            begin_session=world.sessions.append,
            longtail_stats=lambda: {"faults": {}},
        )
        core = SimpleNamespace(engine_core=SimpleNamespace(scheduler=scheduler), shutdown=self.stop)
        self.llm_engine = SimpleNamespace(engine_core=core)

    def stop(self) -> None:
        self.world.stopped += 1

    def reset_prefix_cache(self) -> None:
        pass

    def generate(self, prompts: list, params: Any, use_tqdm: bool) -> list[Any]:
        if not hasattr(params[0], "extra_args"):
            return []  # to warm up
        if self.world.broken == len(self.world.asked):
            self.world.broken = None
            raise RuntimeError("the device is lost")
        self.world.asked.append(([p["prompt_token_ids"] for p in prompts], params))
        texts = [p.extra_args.get("longtail_replay") or [(p.seed or 0) % 97] for p in params]
        texts[0] = [1, 2, 3] if self.world.wrong else texts[0]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=t)]) for t in texts]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(os, "environ", {**os.environ})  # some of it is set for vLLM
    made, vllm, platforms = World(), ModuleType("vllm"), ModuleType("vllm.platforms")
    vllm.LLM, vllm.SamplingParams = made.start, SimpleNamespace  # type: ignore[attr-defined]
    platforms.current_platform = SimpleNamespace(is_cpu=bool)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    return made


@pytest.fixture
def trace(tmp_path: Path) -> str:
    return str(write(tmp_path / "t.parquet", ROLLOUTS))


def of(policy: str, work: Replay | Generate, **more: Any) -> Job:
    named = parse_policy(policy)
    return Job(named.name, work, **{"model": "dummy", "policy": named.policy, **more})


def run(jobs: list[Job], folder: Path, **more: Any) -> dict[str, Any]:
    return run_jobs(jobs, folder, **{"apart": False, "say": lambda line: None, **more})


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# Jobs as data

steps = st.none() | st.lists(st.integers(0, 9), max_size=3)
values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
works = st.builds(Replay, st.text(), steps, st.none() | st.integers(1)) | st.builds(
    Generate,
    st.lists(st.text(), max_size=2),
    st.lists(st.lists(st.integers()), max_size=2),
    temperature=st.floats(0, 2),
    coupled=st.booleans(),
)


@settings(deadline=None)
@given(
    job=st.builds(Job, st.text(), works, st.text(), st.just({}), st.dictionaries(st.text(), values))
)
def test_a_job_can_be_written_down(job: Job) -> None:
    again = Job.from_json(job.to_json())
    assert again == job and again.to_json() == job.to_json()


def test_one_engine_runs_what_it_can(tmp_path: Path) -> None:
    a, same = (str(write(tmp_path / f"{name}.parquet", ROLLOUTS)) for name in ("a", "same"))
    b = str(write(tmp_path / "b.parquet", [Rollout(0, 0, [1], [99])]))
    plain = of("none", Replay(a))
    drafting = of("suffix/das", Replay(a))
    assert drafting.engine_key == of("ngram:k=2", Replay(same, [3], 9)).engine_key
    others = [
        plain,  # has no speculation
        replace(drafting, model="tiny"),
        replace(drafting, engine={"max_num_seqs": 1}),
        replace(drafting, work=Replay(b)),  # a dummy has its trace's vocabulary
        replace(drafting, work=Generate([], [])),
    ]
    assert len({job.engine_key for job in (drafting, *others)}) == 1 + len(others)
    real = [replace(drafting, model="m", work=Replay(name)) for name in "ab"]
    assert real[0].engine_key == real[1].engine_key


# What an engine is asked for


def test_a_replay_asks_for_every_recorded_token(world: World, trace: str, tmp_path: Path) -> None:
    done = run([of("suffix:depth=8,max=5", Replay(trace, [5, 0]))], tmp_path / "runs")
    counts = [
        (s["rl_step"], s["requests"], s["output_tokens"])
        for s in done["suffix_depth=8_max=5"]["steps"]
    ]
    assert counts == [(0, 2, 3), (5, 1, 1)]
    assert world.loaded == [[], [1, 2, 3, 4]]  # history: all that lies between
    assert [prompts for prompts, _ in world.asked] == [[[1], [2, 3]], [[2, 3]]]
    (first, _), (last,) = (params for _, params in world.asked)
    assert (first.max_tokens, first.ignore_eos) == (2, True)
    told = {"replay": [5, 6], "prompt_id": "0", "rl_step": 0, "sample": 0, "cap": 4}
    assert first.extra_args == {f"longtail_{name}": value for name, value in told.items()}
    assert last.extra_args["longtail_rl_step"] == 5
    (engine,) = world.engines
    assert engine["max_model_len"] == 3 + MAX_DRAFT + 2 and not engine["enable_prefix_caching"]
    assert engine["additional_config"] == {"longtail": {"drafter": "ngram:k=5"}}
    policy = world.sessions[0]
    assert policy.drafter.depth == 8 and policy.log.name == "steps" and policy.record is None


@pytest.mark.parametrize(("cap", "told"), [(None, 4), (3, 4), (1, 4), (9, 9)])
def test_a_cap_does_not_tell_where_a_text_ends(
    world: World, trace: str, tmp_path: Path, cap: int | None, told: int
) -> None:
    run([of("none", Replay(trace, [0, 2], cap))], tmp_path / "runs")
    caps = [params[0].extra_args["longtail_cap"] for _, params in world.asked]
    assert caps == [told, told]


def test_rounds_are_rl_steps_and_every_rollout_has_a_seed(world: World, tmp_path: Path) -> None:
    work = Generate(["a", "b"], [[1], [2]], rounds=2, samples=2, seed=3, coupled=True)
    jobs = [of(policy, work, model=str(tmp_path)) for policy in ("none", "suffix")]
    (tmp_path / "config.json").write_text("{}")
    done = run(jobs, tmp_path / "runs")
    asked = [x for _, params in world.asked for x in params]
    told = [[x.extra_args[f"longtail_{n}"] for n in ("prompt_id", "sample")] for x in asked]
    assert told == [["a", 0], ["a", 1], ["b", 0], ["b", 1]] * 4
    assert all(x.extra_args["longtail_coupled"] for x in asked)
    seeds = [x.seed for x in asked]
    assert len(set(seeds[:8])) == 8 and seeds[8:] == seeds[:8]  # the same under every policy
    texts = [[s["text"] for s in done[job.name]["steps"]] for job in jobs]
    assert texts[0] == texts[1] and len(set(texts[0])) == 2
    assert world.sessions[0].record.name == "rollouts"
    run([replace(jobs[0], work=replace(work, temperature=0.0))], tmp_path / "greedy")
    assert {x.seed for x in world.asked[-1][1]} == {None}


def test_rounds_come_after_the_history(world: World, trace: str, tmp_path: Path) -> None:
    work = Generate(["a"], [[1]], rounds=2, history=trace)
    (tmp_path / "config.json").write_text("{}")
    run([of("suffix", work, model=str(tmp_path))], tmp_path / "runs")
    assert str(world.sessions[0].history) == trace
    with pytest.raises(TraceError):
        job = of("suffix", replace(work, history=str(tmp_path / "none")), model=str(tmp_path))
        run([job], tmp_path / "more")


# What is run, and what is left


def test_what_is_done_is_not_done_again(world: World, trace: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    jobs = [of(p, Replay(trace)) for p in ("none", "ngram:k=3", "ngram:k=9")]
    said: list[str] = []
    first = run(jobs[1:2], folder, say=said.append)
    assert said == ["ngram_k=3 …"] and left(folder) == ["ngram_k=3"]
    every = run(jobs, folder, say=said.append)
    assert said[1:] == ["none …", "ngram_k=9 …"] and list(every) == [job.name for job in jobs]
    assert every["ngram_k=3"] == first["ngram_k=3"] == read_summary(folder / "ngram_k=3")
    assert run(jobs, folder, say=said.append) == every and len(said) == 3
    assert left(folder) == sorted(job.name for job in jobs)
    assert all(Job.from_json((folder / j.name / "job.json").read_text()) == j for j in jobs)
    assert world.stopped == len(world.engines) == 3


@pytest.mark.parametrize("done", [[], [2], [1]])
def test_an_engine_has_room_for_what_was_done_too(
    world: World, trace: str, tmp_path: Path, done: list[int]
) -> None:
    """The engine's K changes what it costs: it must not depend on what is left to do."""
    jobs = [of(p, Replay(trace)) for p in ("ngram:k=3", "ngram:k=9", "ngram:k=5")]
    run([jobs[i] for i in done], tmp_path / "runs")
    run(jobs, tmp_path / "runs")
    assert world.engines[-1]["additional_config"] == {"longtail": {"drafter": "ngram:k=9"}}


def test_a_run_that_fails_keeps_the_ones_before(world: World, trace: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    jobs = [of(p, Replay(trace)) for p in ("ngram:k=3", "ngram:k=9")]
    world.broken = 4  # the second job's second RL step
    with pytest.raises(RuntimeError, match="the device is lost"):
        run(jobs, folder)
    assert left(folder) == [".ngram_k=9.part", "ngram_k=3"] and world.stopped == 1
    assert list(run(jobs, folder)) == ["ngram_k=3", "ngram_k=9"]
    assert left(folder) == ["ngram_k=3", "ngram_k=9"] and len(world.asked) == 4 + 3


def test_a_run_that_fails_does_not_stop_the_others(
    world: World, trace: str, tmp_path: Path
) -> None:
    jobs = [of(p, Replay(trace)) for p in ("ngram:k=3", "suffix/das", "ngram:k=9")]
    world.broken = 0
    with pytest.raises(RuntimeError, match="the device is lost"):
        run(jobs, tmp_path)
    done = ["ngram_k=9", "suffix_das"]
    assert [name for name in left(tmp_path) if (tmp_path / name / "job.json").exists()][1:] == done


def test_a_replay_that_writes_something_else_is_no_replay(
    world: World, trace: str, tmp_path: Path
) -> None:
    world.wrong = True
    with pytest.raises(RuntimeError, match="RL step 0: 1 of 2 rollouts were not replayed"):
        run([of("none", Replay(trace))], tmp_path / "runs")
    assert not (tmp_path / "runs" / "none").exists()


def test_no_job_begins_when_time_is_up(world: World, trace: str, tmp_path: Path) -> None:
    jobs = [of(p, Replay(trace)) for p in ("none", "ngram")]
    assert run(jobs, tmp_path / "a", limit_s=1e-9) == {} and not world.engines
    execute(jobs[1:], tmp_path / "b", 8, left_s=-1.0)
    assert not world.asked and left(tmp_path / "b") == []


def test_another_run_of_the_same_name_is_not_overwritten(
    world: World, trace: str, tmp_path: Path
) -> None:
    job = of("none", Replay(trace))
    run([job], tmp_path / "runs")
    before = len(world.engines)
    for other in (replace(job, engine={"seed": 1}), replace(job, work=Replay(trace, [0]))):
        with pytest.raises(TraceError, match=r"runs/none: this folder holds another run; "):
            run([of("ngram", Replay(trace)), other], tmp_path / "runs")
    assert len(world.engines) == before and left(tmp_path / "runs") == ["none"]


def test_a_process_of_its_own_says_why_it_failed(
    trace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm.py").write_text("raise ImportError('no engine today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    jobs, said = [of(p, Replay(trace)) for p in ("none", "ngram")], []
    with pytest.raises(JobError, match="none failed: ImportError: no engine today") as one:
        run_jobs(jobs, tmp_path / "runs", say=said.append)
    assert "ngram failed" in str(one.value) and one.value.summaries == {} and len(said) == 2
    assert left(tmp_path / "runs") == []


# What is wrong


def test_no_time_is_no_job(world: World, trace: str, tmp_path: Path) -> None:
    assert run([of("none", Replay(trace))], tmp_path / "runs", limit_s=0) == {}


def test_a_job_given_twice_is_run_once(world: World, trace: str, tmp_path: Path) -> None:
    run([of("ngram", Replay(trace))] * 2, tmp_path / "runs")
    assert len(world.asked) == 3


def test_a_folder_of_something_else_is_refused(world: World, trace: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / "none").mkdir(parents=True)
    with pytest.raises(TraceError, match="this folder holds"):
        run([of("none", Replay(trace))], tmp_path / "runs")


def test_a_dummy_model_cannot_continue_prompts(world: World, tmp_path: Path) -> None:
    with pytest.raises(TraceError):
        run([of("none", Generate(["a"], [[1]]))], tmp_path)
