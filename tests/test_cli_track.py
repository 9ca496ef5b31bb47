"""`--track`: what a tracker is told, and what happens where there is none.

The trackers here are small modules with the interface of the real ones (`fake_trackers`);
TensorBoard is the real one, where it is installed.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from longtail.analysis.track import QUIET, TRACKERS, Tracked, find_tracker, tracked_job
from longtail.cli import cli
from longtail.engine.job import Job, Replay
from longtail.traces import TraceError

POLICY = ("--drafter", "suffix", "--budget", "fixed:k=2")
SWEEP = ("--drafter", "suffix", "--budget", "fixed:k=1..2", "--jobs", "1")


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment: the trackers' settings, and what finding one sets itself."""
    monkeypatch.chdir(tmp_path)
    asked = ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI")
    for name in (*asked, *QUIET):
        monkeypatch.setenv(name, "")  # so that afterwards it is what it was, also if it was unset
        monkeypatch.delenv(name)


def fake(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("fake_trackers")))
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)
    module.RUNS.clear()
    return module


def told_by(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("asked", "mode"), [(None, "offline"), ("online", "online")])
def test_wandb_is_told_each_rl_step(
    little_trace: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, mode: str
) -> None:
    wandb = fake("wandb", monkeypatch)
    if asked:
        monkeypatch.setenv("WANDB_MODE", asked)
    done = command("simulate", little_trace, *POLICY, "--json", "--track", "wandb")
    told, (run,) = told_by(done), wandb.RUNS
    assert (run.project, run.name, run.mode) == ("longtail", "suffix:scope=both/fixed:k=2", mode)
    assert run.config == {"trace": "T.parquet", "origin": "synthetic", **told["configuration"]}
    assert [{"rl_step": step, **row} for step, row in run.steps] == told["rl_steps"]
    assert run.summary["total_makespan_s"] == told["makespan_s"] and run.exit_code == 0
    assert "wandb: wandb/run (offline; to send it: wandb sync wandb/run)" in done.stderr
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_wandb_is_told_a_sweep_as_one_table(
    little_trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = fake("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_PROJECT", "tails")
    done = command("sweep", little_trace, *SWEEP, "-o", "sweep.csv", "--track", "wandb")
    assert done.exit_code == 0, done.output
    written, (run,) = pd.read_csv("sweep.csv"), wandb.RUNS
    ((step, logged),) = run.steps
    assert step is None and run.project == "tails" and run.name == "sweep of T.parquet"
    assert [row["makespan_s"] for row in logged["sweep"].rows] == list(written.makespan_s)
    assert logged["sweep"].rows[0]["max_num_seqs"] is None
    shortest = written.groupby("budget").makespan_s.sum().min()
    assert run.config["points"] == 2
    assert run.summary == {"shortest_makespan_s": pytest.approx(shortest)}


def test_mlflow_is_told_both(little_trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = fake("mlflow", monkeypatch)
    told = told_by(command("simulate", little_trace, *POLICY, "--json", "--track", "mlflow"))
    assert command("sweep", little_trace, *SWEEP, "-o", "s.csv", "--track", "mlflow").exit_code == 0
    one, many = mlflow.RUNS
    assert one.params["max_num_seqs"] == "unlimited" and one.params["budget"] == "fixed:k=2"
    *steps, (no_step, totals) = one.metrics
    assert [{"rl_step": step, **row} for step, row in steps] == told["rl_steps"]
    assert no_step is None and totals["total_forwards"] == told["forwards"]
    kept = pd.read_csv(io.StringIO(many.texts["sweep.csv"]))
    pd.testing.assert_frame_equal(kept, pd.read_csv("s.csv"), check_dtype=False)
    assert one.finished and many.finished


def test_tensorboard_reads_back_what_was_told(little_trace: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    def makespans(folder: Path) -> list[tuple[int, float]]:
        events = EventAccumulator(str(folder)).Reload()
        assert "_hparams_/session_start_info" in events.Tags()["tensors"]
        found = events.Tensors("makespan_s")
        return [(event.step, float(make_ndarray(event.tensor_proto))) for event in found]

    told = told_by(command("simulate", little_trace, *POLICY, "--json", "--track", "tensorboard"))
    assert command("sweep", little_trace, *SWEEP, "--track", "tensorboard").exit_code == 0
    files = sorted(Path("longtail-tensorboard").rglob("events.*"), key=lambda file: file.parts[1:])
    ran = [file.parent for file in files if "sweep" not in str(file)]
    points = [file.parent for file in files if "sweep" in str(file)]
    wanted = [(s["rl_step"], pytest.approx(s["makespan_s"])) for s in told["rl_steps"]]
    assert len(ran) == 1 and makespans(ran[0]) == wanted
    assert len(points) == 2 and makespans(points[1]) == wanted


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("verb", ["simulate", "sweep"])
def test_a_tracker_that_is_not_there_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, verb: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    done = command(verb, "nowhere.parquet", "--track", name)
    assert str(done.exception) == f"{name} is not installed; install it with: pip install {name}"
    assert isinstance(done.exception, TraceError) and done.stdout == ""


def test_a_broken_tracker_says_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(TraceError, match=r"wandb cannot be imported .*a_module_that_is_not_there"):
        find_tracker("wandb")


def test_a_run_that_wandb_cannot_log_is_closed_as_failed(
    little_trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = fake("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_PROJECT", "unreachable")
    done = command("simulate", little_trace, "--track", "wandb")
    assert "wandb could not keep it (no such host)" in str(done.exception)
    assert [run.exit_code for run in wandb.RUNS] == [1]


def test_a_tracker_that_fails_costs_no_result(
    little_trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("mlflow", monkeypatch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "unreachable")
    done = command("simulate", little_trace, "--json", "--track", "mlflow")
    assert json.loads(done.stdout)["finished"] == 18
    assert "mlflow could not keep it (no such host after 3 tries)" in str(done.exception)


def test_a_dry_run_tracks_nothing(little_trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = fake("wandb", monkeypatch)
    assert command("sweep", little_trace, *SWEEP, "--dry-run", "--track", "wandb").exit_code == 0
    assert wandb.RUNS == []


def test_a_live_run_is_told_with_what_its_step_log_counts() -> None:
    log = pd.DataFrame({"rl_step": [0, 0, 2], "drafted": [3, 4, 5], "accepted": [1, 2, 5]})
    steps = [
        {"rl_step": 0, "makespan_s": 1.5, "text": "ab"},
        {"rl_step": 1, "makespan_s": 0.5},  # not in the log
        {"rl_step": 2, "makespan_s": 2.5},
    ]
    job = Job(
        "suffix_das", Replay("T.parquet"), "dummy", {"drafter": "suffix"}, {"max_num_seqs": 4}
    )
    told = tracked_job(job, {"steps": steps}, log)
    assert isinstance(told, Tracked) and told.name == "suffix_das"
    assert told.config["max_num_seqs"] == 4 and told.config["drafter"] == "suffix"
    assert list(told.steps) == [
        {"rl_step": 0, "makespan_s": 1.5, "drafted": 7, "accepted": 3, "forwards": 2},
        {"rl_step": 1, "makespan_s": 0.5, "drafted": 0, "accepted": 0, "forwards": 0},
        {"rl_step": 2, "makespan_s": 2.5, "drafted": 5, "accepted": 5, "forwards": 1},
    ]
