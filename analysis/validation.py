"""A validation as a folder: what was run, what was predicted, and what came of it.

In it: `validation.json`, `calibrations/`, and per run `runs/NAME/` with `job.json`, `engine.json`
(the resolved configuration), `live.parquet` and `simulated.parquet` (a row per forward). It can be
shown and drawn again from these alone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ..engine.folders import make_folder
from ..engine.job import Generate, Replay
from ..policies.latency.calibrated import Calibrated
from ..traces.sample import find_trace
from ..traces.schema import TraceError
from ..traces.whole import whole
from .clock import Clock
from .forecast import Forecast, forecast_run
from .limitations import known_limitations
from .observations import LiveRun, read_runs
from .plots import write_figure
from .ranking import Cell, Ranking, rank
from .validate import ALL, Check, calibration_for, check_run, leave_one_out
from .validation_figures import active_requests, makespans, residuals

VERSION = 1
LIVE = ("rl_step", "begin_s", "forward_s", "running", "waiting", "tokens", "requests", "drafted",
        "accepted", "kv_tokens", "pairs", "prefill_tokens")  # fmt: skip


@dataclass(frozen=True)
class Validation:
    """The checks of some runs, and where their logs are kept."""

    checks: tuple[Check, ...]
    forecasts: tuple[Forecast, ...]
    limitations: tuple[str, ...]
    engine: dict[str, Any]
    left_out: tuple[str, ...]  # runs that are measured, not predicted
    folder: Path

    @property
    def exact(self) -> bool:
        """Whether every replay's tokens are the simulator's."""
        return all(check.exact for check in self.checks)

    @property
    def rankings(self) -> list[Ranking]:
        """Per workload."""
        return rank(self.checks)

    @property
    def worst_held_out(self) -> Cell | None:
        """The held-out policy whose makespan is missed by most, at the machine's speed, or None."""
        cells = [cell for ranking in self.rankings for cell in ranking.cells if cell.held_out]
        return max(cells, key=lambda cell: abs(cell.error), default=None)

    @classmethod
    def read(cls, folder: Path) -> Validation:
        """From its folder. Raises TraceError where none is."""
        try:
            stored = json.loads((folder / "validation.json").read_text())
            if stored["longtail_validation"] != VERSION:
                raise ValueError("another version")
            checks = tuple(Check(**{**c, "notes": tuple(c["notes"])}) for c in stored["checks"])
            forecasts = tuple(Forecast.from_json(f) for f in stored["forecasts"])
            lists = {key: tuple(stored[key]) for key in ("limitations", "left_out")}
            return cls(checks, forecasts, engine=stored["engine"], folder=folder, **lists)
        except (OSError, ValueError, KeyError, TypeError):
            raise TraceError(
                "no validation is stored here",
                file=folder,
                remedy="name live runs with --live, run them with --run, or name a folder that "
                "`validate -o` has written",
            ) from None

    def write(self) -> None:
        """Its JSON; the logs beside it are there already."""
        content = {
            "longtail_validation": VERSION,
            "engine": self.engine,
            "checks": [check.to_json() for check in self.checks],
            "forecasts": [forecast.to_json() for forecast in self.forecasts],
            "limitations": self.limitations,
            "left_out": self.left_out,
        }
        with whole(self.folder / "validation.json") as partial:
            partial.write_text(json.dumps(content, indent=1))

    def logs(self, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """A run's forwards, live (with measured_s and fitted_s) and simulated."""
        place = self.folder / "runs" / run
        try:
            return tuple(pd.read_parquet(place / f"{n}.parquet") for n in ("live", "simulated"))  # type: ignore[return-value]
        except (OSError, pa.ArrowException) as error:
            raise TraceError(
                f"a log of the validation is missing ({error})",
                file=place,
                remedy="validate the runs again",
            ) from None

    def draw(self, folder: Path) -> list[Path]:
        """Its pictures, as PNG and SVG; the paths written."""
        if not self.checks:
            return []
        firsts: dict[tuple[str, str, int, str], Check] = {}
        for check in self.checks:
            firsts.setdefault(check.cell, check)
        shown = list(firsts.values())
        caption = f"{self.engine['hardware']}, {self.engine['engine']}; live and simulated seconds"
        firsts_of = f"{caption}; the first run of each policy"
        logs = {check.run: self.logs(check.run) for check in shown}
        drawn = {
            "active_requests": lambda: active_requests(shown, logs, firsts_of),
            "makespans": lambda: makespans(self.rankings, self.checks, caption),
            "residuals": lambda: residuals(
                {n: live for n, (live, _) in logs.items()}, [c.policy for c in shown], firsts_of
            ),
        }
        return [p for name, draw in drawn.items() for p in write_figure(draw, folder, name)]


def validate_runs(
    paths: Sequence[str | Path],
    folder: Path,
    *,
    calibration: str | None = None,
    trace: str | None = None,
) -> Validation:
    """Predict live runs, one policy after the other, and keep what came of it in `folder`.

    calibration: a file for all of them; by default each policy is predicted by what is calibrated
    on the others. trace: where the replayed trace is, should it have moved. Raises TraceError.
    """
    runs = read_runs(paths)
    left_out = tuple(run.name for run in runs if run.drafter.startswith("vllm:"))
    runs = [_moved(run, trace) for run in runs if run.name not in left_out]
    if not runs:
        raise TraceError("only runs of vLLM's own methods", remedy="name runs of our policies")
    if len({run.name for run in runs}) < len(runs):
        raise TraceError("two runs of the same name", remedy="name one folder of runs at a time")
    make_folder(folder)
    part = folder / ".validation.part"
    shutil.rmtree(part, ignore_errors=True)
    (part / "calibrations").mkdir(parents=True)
    try:
        contents = _calibrations(runs, calibration, part / "calibrations")
        checks, forecasts = [], []
        ruler = Clock(Calibrated(file=str(contents[ALL].absolute())).content)
        for run in runs:
            name, latency = calibration_for(contents, run)
            seen = [r["digest"] for r in latency.content["runs"]]
            if run.job is not None and isinstance(run.job.work, Generate):
                found, simulated = forecast_run(run, latency, run.digest not in seen)
                forecasts += found
            else:
                checked = check_run(run, latency, seen, name, ruler)
                simulated = checked.simulated
                checks.append(checked.check)
            _keep(run, Clock(latency.content), simulated, part / "runs" / run.name)
        limits = known_limitations(runs, checks, left_out)
        for name in ("calibrations", "runs"):
            shutil.rmtree(folder / name, ignore_errors=True)
            if (part / name).exists():
                (part / name).rename(folder / name)
        made = Validation(
            tuple(checks), tuple(forecasts), tuple(limits), runs[0].identity, left_out, folder
        )
        made.write()
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy="choose another folder"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # nothing came of it
    return made


def _moved(run: LiveRun, trace: str | None) -> LiveRun:
    """The run, its trace where the user says it is, if it is not where the run was made."""
    if trace is None or run.job is None or not isinstance(run.job.work, Replay):
        return run
    if Path(run.job.work.trace).exists():
        return run
    work = replace(run.job.work, trace=str(find_trace(trace).absolute()))
    return replace(run, job=replace(run.job, work=work))


def _calibrations(
    runs: Sequence[LiveRun], calibration: str | None, folder: Path
) -> dict[str, Path]:
    """Files by policy, or one for all."""
    if calibration is not None:
        place = folder / f"{ALL}.json"
        try:
            Calibrated(file=str(Path(calibration).absolute()))  # refused by the user's own name
            shutil.copyfile(calibration, place)
        except OSError as error:
            raise TraceError(
                f"cannot be read ({error.strerror})",
                file=calibration,
                remedy="write it with `longtail calibrate`",
            ) from None
        return {ALL: place}
    paths = {}
    for number, (policy, content) in enumerate(leave_one_out(runs).items()):
        paths[policy] = folder / (f"{ALL}.json" if policy == ALL else f"without-{number}.json")
        paths[policy].write_text(json.dumps(content))
    return paths


def _keep(run: LiveRun, clock: Clock, simulated: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True)
    assert run.job is not None
    (folder / "job.json").write_text(run.job.to_json())
    (folder / "engine.json").write_text(json.dumps(run.run, indent=1, sort_keys=True))
    live = run.forwards[[*LIVE]].assign(measured_s=clock.measured(run), fitted_s=clock.seconds(run))
    live.attrs = {}
    live.to_parquet(folder / "live.parquet", index=False)
    simulated.reset_index(drop=True).to_parquet(folder / "simulated.parquet", index=False)
