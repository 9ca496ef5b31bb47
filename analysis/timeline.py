"""What ran when: forwards, and requests where they are known, of a simulation or a live engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..engine.step_check import explode
from ..engine.step_log import read_step_log
from ..sim.simulate import Result
from ..sim.state import LOG_COLUMNS
from ..sim.sweep import read_frame
from ..sim.workload import Workload
from ..traces.schema import TraceError

COLUMNS = ("rl_step", "replica", "begin_s", "forward_s", *LOG_COLUMNS)
LISTS = ["request", "request_tokens", "request_drafted", "request_accepted"]
REMEDY = "name a log of `simulate --log`, a folder that `longtail run` has written, or a trace"
NO_REQUESTS = "the log has forwards only: of when its requests came and went nothing is known"


@dataclass(frozen=True)
class Timeline:
    """Forwards and requests on one clock; seconds from its begin.

    forwards: rl_step, replica, begin_s, forward_s, then counts; in order of time on each replica,
    where none begins before the last has ended. requests: rl_step, prompt_id, sample, begin_s (it
    arrived), end_s, then counts; None where not known. kind: simulated or live.
    """

    kind: str
    forwards: pd.DataFrame
    requests: pd.DataFrame | None = None
    about: dict[str, Any] = field(default_factory=dict)  # provenance
    warnings: tuple[str, ...] = ()


def timeline_of(result: Result, load: Workload) -> Timeline:
    """A simulation's, RL steps one after the other; `simulate` has to have been told to log."""
    lengths = load.lengths
    logs, requests, begin_s = [], [], 0.0
    for step in result.steps:
        if step.log is None:
            raise ValueError("simulated without a log")
        logs.append(step.log.assign(rl_step=step.rl_step, begin_s=step.log.begin_s + begin_s))
        rows = load.chosen(step.rl_step)
        requests.append(
            pd.DataFrame(
                {
                    "rl_step": step.rl_step,
                    "prompt_id": [lengths.prompt_ids[p] for p in lengths.prompt[rows]],
                    "sample": lengths.sample[rows],
                    "begin_s": begin_s,
                    "end_s": begin_s + step.finish_s,
                    "prompt_len": lengths.prompt_len[rows],
                    "output_len": lengths.output_len[rows],
                    "forwards": step.request_forwards,
                    "drafted": step.drafted,
                    "accepted": step.accepted,
                }
            )
        )
        begin_s += step.makespan_s
    about = {
        **result.provenance,
        "acceptance_source": result.setup.drafter.acceptance,
        **{name: value for name, value in result.setup.row.items() if value is not None},
    }
    forwards = pd.concat(logs, ignore_index=True)
    return Timeline("simulated", forwards, pd.concat(requests, ignore_index=True), about)


def is_log(path: Path) -> bool:
    """Whether a path can only be a log: a folder, a CSV, or Parquet of forwards."""
    if path.is_dir() or path.suffix == ".csv":
        return True
    try:
        return "forward_s" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False


def read_timeline(path: Path) -> Timeline:
    """A live engine's, from the folder of its step log; or a simulation's, from the table that
    `simulate --log` wrote. Raises TraceError for anything else.
    """
    if path.is_dir():
        log, requests = read_step_log(path), read_step_log(path, "requests")
        about = {name: _plain(value) for name, value in log.attrs["run"].items()}
        log.attrs.clear()
        forwards = log.assign(replica=0, begin_s=_begins(log))
        requests = requests.rename(columns={"arrive_s": "begin_s"})
        return Timeline("live", forwards, requests, about)
    table = _read_table(path)
    ends = (table.begin_s + table.forward_s).groupby(table.rl_step).max()
    shift = ends.cumsum().shift(fill_value=0.0)  # each RL step's clock begins at 0
    table["begin_s"] += table.rl_step.map(shift)
    return Timeline("simulated", table, None, {"log": path.name}, (NO_REQUESTS,))


def forward_table(path: Path, by_request: bool = False) -> pd.DataFrame:
    """A log as a tidy table: a row per forward; or, of a live one, per forward and request.

    Raises TraceError.
    """
    timeline = read_timeline(path)
    if not by_request:
        return timeline.forwards.drop(columns=LISTS, errors="ignore")
    if timeline.requests is None:
        raise TraceError("a simulation's log has no requests", file=path, remedy="leave that out")
    # `forward` of a part is its row: in a log that lacks some, the log's own numbers are others.
    when = timeline.forwards[["begin_s", "forward_s"]]
    parts = explode(timeline.forwards).join(when, on="forward")
    who = timeline.requests[["request", "rl_step", "prompt_id", "sample"]]
    who = who.astype({"rl_step": "Int32", "sample": "Int32"})  # unknown of those not finished
    return parts.merge(who, on="request", how="left")


def _begins(log: pd.DataFrame) -> np.ndarray:
    """float64[n]: when the engine turned to each forward: not before it had ended the last one.

    (With asynchronous scheduling a forward is scheduled, which is its begin_s, before that.)
    """
    begins, end_s = log.begin_s.to_numpy(copy=True), 0.0
    for i, seconds in enumerate(log.forward_s):
        begins[i] = max(begins[i], end_s)
        end_s = begins[i] + seconds
    return begins


def _read_table(path: Path) -> pd.DataFrame:
    table = read_frame(path, REMEDY)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise TraceError(f"no log: column {missing[0]} is missing", file=path, remedy=REMEDY)
    if table.empty:
        raise TraceError("no forwards", file=path, remedy="write the log again")
    numbers = table[list(COLUMNS)].apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(numbers.to_numpy(np.float64)) | (numbers < 0)
    bad = np.flatnonzero(wrong.any(axis=1))
    if len(bad):
        row = int(bad[0]) + 1
        raise TraceError("a count or time that is none", file=path, row=row, remedy=REMEDY)
    return numbers


def _plain(value: Any) -> Any:
    """Nested metadata as text."""
    return value if isinstance(value, str | int | float | None) else str(value)
