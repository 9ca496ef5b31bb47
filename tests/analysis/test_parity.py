"""A live log against the simulator's: what differs is found and located. Logs are made here."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from little_traces import Rollout, random_rollouts, write

from longtail.analysis.live import show_parity, show_runs
from longtail.analysis.parity import ALSO, MUST, check_parity, compare_logs, engine_limits
from longtail.engine.job import Generate, Job, Replay
from longtail.engine.settings import LiveSettings
from longtail.engine.step_log import FORWARDS, StepLog
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import TraceError, open_trace

ENGINE = {"max_num_seqs": 3, "max_num_batched_tokens": 24, "kv_blocks": 17, "block_size": 8}
COLUMNS = ("rl_step", *MUST, *ALSO)
POLICY = {"drafter": "suffix:scope=both,depth=8,max=5", "budget": "fixed:k=3"}


def tight(seed: int = 0) -> list[Rollout]:
    return random_rollouts(seed, rl_steps=3, prompts=2, samples=3, longest=30, alphabet=3)


def job_of(trace: Path, policy: dict[str, Any] = POLICY, **work: Any) -> Job:
    return Job("r", Replay(str(trace), **work), "dummy", LiveSettings.of(policy).to_dict())


def simulated(job: Job) -> pd.DataFrame:
    """What an engine of these limits logs, were it the simulator."""
    told = LiveSettings.of(job.policy)
    setup = Setup(told.drafter, told.budget, told.latency, told.placement, engine_limits(ENGINE))
    work = job.work
    assert isinstance(work, Replay)
    load = Workload.from_trace(open_trace(work.trace), cap=work.cap, rl_steps=work.rl_steps)
    results = simulate_steps(
        load, setup, load.choose(work.rl_steps), log=True, longest_draft=told.longest_draft
    )
    logs = [r.log.assign(rl_step=r.rl_step) for r in results if r.log is not None]
    return pd.concat(logs, ignore_index=True)


def keep(folder: Path, job: Job, log: pd.DataFrame, **run: Any) -> Path:
    """A finished run with that log."""
    made = folder / job.name
    (made / "steps").mkdir(parents=True)
    (made / "job.json").write_text(job.to_json())
    steps = StepLog(made / "steps", {"policy": job.policy, **ENGINE, **run})
    for i, row in enumerate(log.to_dict("records")):
        known = {"forward": i, "draft_s": row["requests"] * 3e-6, "request": [0]} | row
        steps.forward(
            tuple(known.get(f.name, [0] if "request_" in f.name else 0) for f in FORWARDS)
        )
    for step in log.rl_step.unique().tolist() * 2:
        steps.request((0, step, "p", 0, 1, 9, "stop", 0.0, 1.0, 500, 0, 0))
    steps.flush()
    return made


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job_of(write(tmp_path_factory.mktemp("parity") / "t.parquet", tight()))


@pytest.fixture(scope="module")
def log(job: Job) -> pd.DataFrame:
    made = simulated(job)
    assert len(made) > 30 and made.accepted.sum() > 0 and made.waiting.sum() > 0
    return made


# Two logs


def test_equal_logs_agree(log: pd.DataFrame) -> None:
    parity = compare_logs(log, log.copy())
    assert parity.exact and parity.difference is None
    assert parity.forwards == parity.agreeing == parity.agreeing_all == len(log)
    assert str(parity) == f"{len(log)} of {len(log)} forwards agree with the simulator"


def test_rows_are_compared_in_order_whatever_their_labels(log: pd.DataFrame) -> None:
    labelled = log.set_index(pd.Index([7] * len(log)))[[*COLUMNS[::-1], "begin_s"]]
    assert compare_logs(labelled, log).exact and compare_logs(log, labelled).exact


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_one_number_changed_is_found_where_it_is(log: pd.DataFrame, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(log) - 1))
    column = data.draw(st.sampled_from(COLUMNS))
    new = int(log[column][row]) + data.draw(st.sampled_from([-1, 1, 1000]))
    live = log.copy()
    live.loc[row, column] = new
    parity = compare_logs(live, log)
    assert (parity.forwards, parity.agreeing_all) == (len(log), len(log) - 1)
    if column in ALSO:
        assert parity.exact and parity.difference is None
    else:
        assert not parity.exact and parity.agreeing == len(log) - 1
        told = f"forward {row}: {column} {new} live, {log[column][row]} simulated"
        assert parity.difference == told and str(parity).endswith(f"first difference: {told}")


def test_the_first_of_several_differences_is_told_whole(log: pd.DataFrame) -> None:
    live = log.copy()
    live.loc[9, "running"] += 1
    live.loc[5, ["drafted", "accepted", "tokens"]] += 1
    parity = compare_logs(live, log)
    assert parity.agreeing == len(log) - 2 and parity.difference is not None
    assert parity.difference.startswith("forward 5: drafted ")
    assert "accepted" in parity.difference and "tokens" not in parity.difference


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_forwards_too_few_or_too_many_are_found(log: pd.DataFrame, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    fewer = log.drop(index=at)
    for live, other in ((fewer, log), (log, fewer)):
        parity = compare_logs(live, other)
        assert not parity.exact and parity.forwards == len(log)
        assert at <= parity.agreeing < len(log) and parity.difference
        if not parity.difference.startswith("forward"):
            told = f"{len(live)} forwards live, {len(other)} simulated"
            assert parity.difference == told and parity.agreeing == len(log) - 1
        else:
            assert int(parity.difference.split()[1].rstrip(":")) >= at


def test_a_log_that_stops_early_is_not_whole(log: pd.DataFrame) -> None:
    parity = compare_logs(log[:4], log)
    assert parity.agreeing == 4 and parity.difference == f"4 forwards live, {len(log)} simulated"


# A replay's folder


def test_limits_are_the_engines_and_it_keeps_a_block_for_itself() -> None:
    limits = engine_limits({**ENGINE, "model": "m"})
    assert (limits.max_num_seqs, limits.max_num_batched_tokens) == (3, 24)
    assert (limits.kv_tokens, limits.block_size, limits.replicas) == (16 * 8, 8, 1)


@pytest.mark.parametrize("budget", ["fixed:k=3", "das:cold=1.7"])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1 << 20), rl_steps=st.none() | st.just([2, 0]))
def test_what_was_simulated_agrees_with_itself(
    budget: str, seed: int, rl_steps: list[int] | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        trace = write(Path(name) / "t.parquet", tight(seed))
        job = job_of(trace, POLICY | {"budget": budget}, rl_steps=rl_steps, cap=99)
        live = simulated(
            replace(job, work=replace(job.work, rl_steps=sorted(rl_steps or range(3))))
        )
        parity = check_parity(keep(Path(name), job, live))
        assert parity.exact and parity.agreeing_all == parity.forwards == len(live)


@pytest.mark.parametrize(
    "change",
    [{"max_num_seqs": 2}, {"max_num_batched_tokens": 8}, {"kv_blocks": 9}, {"block_size": 4}],
)
def test_an_engine_of_other_limits_does_not_agree(
    job: Job, log: pd.DataFrame, tmp_path: Path, change: dict[str, int]
) -> None:
    assert not check_parity(keep(tmp_path, job, log, **change)).exact


def test_another_policy_or_trace_does_not_agree(
    job: Job, log: pd.DataFrame, tmp_path: Path
) -> None:
    other = job_of(Path(job.work.trace), {"drafter": "ngram"})
    assert not check_parity(keep(tmp_path / "a", other, log)).exact
    there = write(tmp_path / "u.parquet", tight(seed=1))
    assert not check_parity(keep(tmp_path / "b", job_of(there), log)).exact


def test_what_is_no_replay_is_said(job: Job, log: pd.DataFrame, tmp_path: Path) -> None:
    made = keep(tmp_path / "a", replace(job, work=Generate(["a"], [[1]])), log)
    with pytest.raises(TraceError, match=r"a/r: not a replay; name the folder of a replay"):
        check_parity(made)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "job.json").write_text(job.to_json())
    with pytest.raises(TraceError, match=r"b/steps: no step log; "):
        check_parity(tmp_path / "b")
    lost = replace(job, work=Replay(str(tmp_path / "lost.parquet")))
    with pytest.raises(TraceError, match=r"lost\.parquet: no such file"):
        check_parity(keep(tmp_path / "c", lost, log))
    missing = replace(job, work=replace(job.work, rl_steps=[0, 9]))
    with pytest.raises(TraceError, match=r"no rollouts in RL step 9"):
        check_parity(keep(tmp_path / "d", missing, log))


def test_policies_are_held_against_the_simulator_one_by_one(
    job: Job, log: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = log.copy()
    live.loc[3, "running"] += 1
    good, bad = job, replace(job, name="bad")
    vllms = replace(job, name="theirs", engine={"speculative_config": {"method": "ngram"}})
    keep(tmp_path, good, log)
    keep(tmp_path, vllms, live)
    assert show_parity([good, vllms, bad], tmp_path)  # the last one is not done
    assert capsys.readouterr().out == f"r: {compare_logs(log, log)}\n"
    keep(tmp_path, bad, live)
    for jobs in ([good, bad], [bad, good]):
        assert not show_parity(jobs, tmp_path)
    assert "bad: " in capsys.readouterr().out


# The table


def summary(log: pd.DataFrame, text: str = "t", **more: Any) -> dict[str, Any]:
    counts = {"makespan_s": 2.0, "requests": 6, "output_tokens": 3000, "text": text}
    return {"steps": [{"rl_step": s, **counts} for s in log.rl_step.unique()], "faults": {}} | more


def test_a_row_per_run_and_rl_step(
    job: Job, log: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [replace(job, name=name) for name in ("one", "two", "undone")]
    for done in jobs[:2]:
        keep(tmp_path, done, log)
    texts = {"one": summary(log), "two": summary(log, "u", faults={"draft": 2})}
    show_runs(jobs, texts, tmp_path)
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("one ", "two "))]
    for cells, (name, step) in zip(rows, [(n, s) for n in texts for s in range(3)], strict=True):
        part = log[log.rl_step == step]
        drafted, accepted = part.drafted.sum(), part.accepted.sum()
        assert cells == [
            name,
            str(step),
            "2.00",
            "1,500",
            str(len(part)),
            "3.00",
            f"{drafted / 3000:.2f}",
            f"{1 - accepted / drafted:.0%}" if drafted else "-",
            "3.0",
            "same" if name == "one" else "DIFFERS",
        ]
    assert "two: faults {'draft': 2}" in out and "one: faults" not in out


@pytest.mark.parametrize(
    ("temperature", "coupled", "said"),
    [(0.0, False, "DIFFERS"), (1.0, True, "DIFFERS"), (1.0, False, "sampled")],
)
def test_only_sampled_text_may_differ(
    log: pd.DataFrame, tmp_path: Path, capsys: Any, temperature: float, coupled: bool, said: str
) -> None:
    work = Generate(["a"], [[1]], temperature=temperature, coupled=coupled)
    jobs = [Job(name, work) for name in "ab"]
    for job in jobs:
        keep(tmp_path, job, log)
    show_runs(jobs, {"a": summary(log), "b": summary(log, "u")}, tmp_path)
    found = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line[:2] == "b "]
    assert found == [said] * 3


# What is wrong


def test_a_policy_with_a_smaller_k_agrees_too(job: Job, tmp_path: Path) -> None:
    shorter = job_of(Path(job.work.trace), POLICY | {"longest_draft": 1})
    assert check_parity(keep(tmp_path, shorter, simulated(shorter))).exact


def test_a_folder_of_nothing_is_no_replay(tmp_path: Path) -> None:
    with pytest.raises(TraceError):
        check_parity(tmp_path)


def test_a_log_of_another_policy_than_the_jobs_is_refused(
    job: Job, log: pd.DataFrame, tmp_path: Path
) -> None:
    made = keep(tmp_path, job, log)
    (made / "job.json").write_text(job_of(Path(job.work.trace), {"drafter": "ngram"}).to_json())
    with pytest.raises(TraceError):
        check_parity(made)
