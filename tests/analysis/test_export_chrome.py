"""The timeline keeps to the trace-event format, and says what the simulator or the engine did."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.export_chrome import ROLLOUTS, events, export_chrome
from longtail.analysis.timeline import forward_table, is_log, read_timeline, timeline_of
from longtail.sim.limits import Limits
from longtail.sim.simulate import Result, Setup, simulate
from longtail.sim.sweep import write_table
from longtail.sim.workload import Workload
from longtail.traces import TraceError, open_trace
from longtail.traces.synth import Recipe, parse_lengths, synthesize

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from made_runs import Making, write_run
from small_workloads import Rollout, traces, workload_of


def check(found: list[dict[str, Any]]) -> None:
    """The rules of the Trace Event Format for the events used here."""
    ends: dict[tuple[int, int], int] = defaultdict(int)
    open_: dict[tuple[int, str, str], dict[str, Any]] = {}
    for event in json.loads(json.dumps(found, allow_nan=False)):
        phase = event["ph"]
        assert isinstance(event["name"], str) and event["name"]
        assert isinstance(event["pid"], int) and event["pid"] > 0 and isinstance(event["tid"], int)
        if phase == "M":
            assert event["name"] in {"process_name", "thread_name"} and event["args"]["name"]
            continue
        at = round(1000 * event["ts"])  # nanoseconds
        assert at >= 0 and abs(at - 1000 * event["ts"]) < 1e-3
        track = (event["pid"], event["tid"])
        if phase == "X":  # complete: those of a thread have to nest, here not even that
            assert at >= ends[track] and event["dur"] >= 0
            ends[track] = at + round(1000 * event["dur"])
        elif phase == "C":
            assert event["args"] and all(isinstance(v, int | float) for v in event["args"].values())
        else:  # asynchronous: paired by category, id and process
            key = (event["pid"], event["cat"], event["id2"]["local"])
            if phase == "b":
                assert key not in open_
                open_[key] = event
            else:
                begun = open_.pop(key)
                assert phase == "e" and begun["name"] == event["name"]
                assert event["ts"] >= begun["ts"]
    assert not open_


def simulated(load: Workload, **setup: Any) -> Result:
    limits = Limits(**setup.pop("limits", {}))
    return simulate(load, Setup.of(**setup, limits=limits), log=True)


@settings(max_examples=25, deadline=None)
@given(rollouts=traces, replicas=st.integers(1, 3), seats=st.integers(1, 4))
def test_a_simulation_is_all_there(rollouts: list[Rollout], replicas: int, seats: int) -> None:
    load = workload_of(rollouts)
    result = simulated(
        load, drafter="ngram:k=4,min=1,max=3", limits={"replicas": replicas, "max_num_seqs": seats}
    )
    found = list(events(timeline_of(result, load)))
    check(found)

    slices = [e for e in found if e["ph"] == "X"]
    assert len(slices) == result.total("forwards")
    for name, total in (("drafted", "draft_tokens"), ("tokens", "processed_tokens")):
        assert sum(e["args"][name] for e in slices) == result.total(total)
    ends = [e for e in found if e["ph"] == "e" and e["cat"] == "request"]
    assert len(ends) == len(rollouts)
    assert max(e["ts"] for e in ends) == pytest.approx(1e6 * result.makespan_s)
    last = max(e["ts"] + e["dur"] for e in slices)
    assert last == pytest.approx(1e6 * result.makespan_s)
    prompts = Counter(e["name"] for e in ends)
    assert prompts == Counter(f"prompt {r.prompt_id}" for r in rollouts)
    steps = [e["name"] for e in found if e["ph"] == "b" and e["cat"] == "RL step"]
    assert steps == [f"RL step {step}" for step in load.rl_steps]


def test_counters_are_steps_that_say_what_ran_when() -> None:
    load = workload_of([Rollout(0, 0, [1, 2], [3] * 4), Rollout(0, 1, [1, 2], [3] * 2)])
    result = simulated(load, latency="linear:base=1e-2,token=0")
    assert result.makespan_s == pytest.approx(0.04)
    found = list(events(timeline_of(result, load)))
    running = [
        (e["ts"], e["args"]["running"]) for e in found if e["ph"] == "C" and "running" in e["args"]
    ]
    assert running == [(0, 2), (20_000, 1), (40_000, 0)]
    names = [e["name"] for e in found if e["ph"] == "X"]
    assert names == ["prefill", "decode", "decode", "decode"]
    assert not any("waiting" in e["args"] and e["args"]["waiting"] for e in found if e["ph"] == "C")


def test_a_replica_that_is_done_counts_nothing_until_the_next_rl_step() -> None:
    rollouts = [Rollout(step, who, [1], [3] * (4 - 2 * who)) for step in (0, 1) for who in (0, 1)]
    load = workload_of(rollouts)
    setup = {"latency": "linear:base=1e-2,token=0", "limits": {"replicas": 2}}
    found = list(events(timeline_of(simulated(load, **setup), load)))
    running = {
        pid: [
            (round(e["ts"]), e["args"]["running"])
            for e in found
            if e["pid"] == pid and e["ph"] == "C" and "running" in e["args"]
        ]
        for pid in (2, 3)
    }
    alone = [(0, 1), (20_000, 0), (40_000, 1), (60_000, 0)]
    assert sorted(running.values()) == sorted(
        [alone, [(0, 1), (40_000, 0), (40_000, 1), (80_000, 0)]]
    )


def test_the_file_is_whole_says_what_it_is_and_is_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    recipe = {"rl_steps": 2, "prompts": 2, "samples": 2, "cap": 60}
    synthesize(path, Recipe(**recipe, lengths=parse_lengths("lognormal:median=20,sigma=1")))
    load = Workload.from_trace(open_trace(path))
    result = simulated(load, drafter="suffix", budget="fixed:k=2")
    for name in ("a.json", "b.json.gz", "c.json.gz"):
        done = export_chrome(timeline_of(result, load), tmp_path / name, path)
    raw = (tmp_path / "a.json").read_bytes()
    assert raw == gzip.decompress((tmp_path / "b.json.gz").read_bytes())
    assert (tmp_path / "b.json.gz").read_bytes() == (tmp_path / "c.json.gz").read_bytes()
    whole = json.loads(raw)
    assert len(whole["traceEvents"]) == done.records
    check(whole["traceEvents"])
    about = whole["otherData"]
    assert about["seconds"] == "simulated" and about["origin"] == "synthetic"
    assert about["budget"] == "fixed:k=2" and about["drafter"].startswith("suffix:")
    named = [e["args"]["name"] for e in whole["traceEvents"] if e["name"] == "process_name"]
    assert named == [
        f"{what} (simulated, SYNTHETIC rollouts)" for what in ("rollouts", "replica 0")
    ]
    with pytest.raises(TraceError, match="one of the sources"):
        export_chrome(timeline_of(result, load), path, path)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_log_alone_has_forwards_and_no_requests(tmp_path: Path, name: str) -> None:
    load = workload_of([Rollout(step, 0, [1], [2, 3] * 5) for step in (0, 1) for _ in range(3)])
    result = simulated(load, drafter="ngram:k=2,min=1,max=3", limits={"replicas": 2})
    frames = [s.log.assign(rl_step=s.rl_step) for s in result.steps if s.log is not None]
    write_table(pd.concat(frames, ignore_index=True), tmp_path / name)
    assert is_log(tmp_path / name)
    timeline = read_timeline(tmp_path / name)
    assert timeline.requests is None and "forwards only" in timeline.warnings[0]
    alone, known = list(events(timeline)), list(events(timeline_of(result, load)))
    check(alone)

    def slices(found: list[dict[str, Any]]) -> list[tuple]:
        return [(e["pid"], e["ts"], e["dur"], e["args"]) for e in found if e["ph"] == "X"]

    assert slices(alone) == slices(known)
    table = forward_table(tmp_path / name)
    assert table.drafted.sum() == result.total("draft_tokens")
    with pytest.raises(TraceError, match="has no requests"):
        forward_table(tmp_path / name, by_request=True)


def test_a_live_engines_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "steps", "ngram", Making(requests=6, longest=40))
    timeline = read_timeline(folder)
    assert timeline.kind == "live" and timeline.requests is not None
    found = list(events(timeline))
    check(found)
    slices = [e for e in found if e["ph"] == "X"]
    rows = timeline.forwards
    assert [e["args"]["accepted"] for e in slices] == rows.accepted.tolist()
    assert [e["args"]["model_ms"] for e in slices] == pytest.approx((1000 * rows.model_s).tolist())
    assert [e["dur"] for e in slices] == pytest.approx((1e6 * rows.forward_s).tolist(), abs=2e-3)
    requests = [e for e in found if e["ph"] == "b" and e["cat"] == "request"]
    assert [e["name"] for e in requests] == [f"prompt p{i}" for i in range(6)]
    assert {e["pid"] for e in requests} == {ROLLOUTS}

    table = forward_table(folder)
    assert not table.map(lambda value: isinstance(value, np.ndarray)).any(axis=None)
    assert len(table) == len(rows)
    parts = forward_table(folder, by_request=True)
    assert len(parts) == rows.requests.sum() and parts.drafted.sum() == rows.drafted.sum()
    assert set(parts.prompt_id) == {f"p{i}" for i in range(6)}


def test_a_forward_scheduled_while_the_last_one_runs_begins_when_that_has_ended(
    tmp_path: Path,
) -> None:
    folder = write_run(tmp_path / "steps", "ngram", Making(requests=3, longest=30))
    for part in folder.rglob("forwards-*.parquet"):
        table = pd.read_parquet(part)
        early = table.begin_s.to_numpy(copy=True)
        early[1:] -= 0.9 * np.diff(early)  # as with asynchronous scheduling
        rewrite(part, early)
    timeline = read_timeline(folder)
    found = list(events(timeline))
    check(found)
    lasted = [e["dur"] for e in found if e["ph"] == "X"]
    assert lasted == pytest.approx((1e6 * timeline.forwards.forward_s).tolist(), abs=2e-3)


def rewrite(part: Path, begin_s: np.ndarray) -> None:
    """Another clock for the forwards of a log."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    place = table.schema.get_field_index("begin_s")
    pq.write_table(table.set_column(place, "begin_s", pa.array(begin_s)), part)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "column rl_step is missing"),
        ("", "not a table"),
        ("HEADER\n", "no forwards"),
        ("HEADER\n0,0,0,-1,1,1,1,1,1,1,1,1,1\n", "row 1"),
        ("HEADER\n0,0,0,x,1,1,1,1,1,1,1,1,1\n", "row 1"),
    ],
)
def test_what_is_no_log(tmp_path: Path, text: str, message: str) -> None:
    header = (
        "rl_step,replica,begin_s,forward_s,running,waiting,tokens,requests,drafted,accepted,"
        "kv_tokens,pairs,prefill_tokens"
    )
    (tmp_path / "log.csv").write_text(text.replace("HEADER", header))
    with pytest.raises(TraceError, match=message):
        read_timeline(tmp_path / "log.csv")
    with pytest.raises(TraceError, match="no such file"):
        read_timeline(tmp_path / "none.csv")


def test_a_trace_is_no_log(tmp_path: Path) -> None:
    synthesize(tmp_path / "t.parquet", Recipe(rl_steps=1, prompts=1, samples=1, cap=30))
    assert not is_log(tmp_path / "t.parquet") and is_log(tmp_path)
    with pytest.raises(TraceError, match="no step log"):
        read_timeline(tmp_path)
