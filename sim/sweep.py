"""Many configurations over one trace, on every core; one tidy table.

Profiles are computed once per drafter, bounds once per drafter, latency, placement and limits.
Workers are forked, so they share the profiles' memory. The table depends on the inputs only: no
clock, no order of completion.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..traces.schema import TraceError
from ..traces.whole import whole
from .simulate import Bounds, Setup, simulate_bounds, simulate_steps
from .workload import Workload, cores

logger = logging.getLogger(__name__)

STEP_FIELDS = (
    "makespan_s",
    "tail_s",
    "forwards",
    "requests",
    "finished",
    "output_tokens",
    "processed_tokens",
    "draft_tokens",
    "accepted_tokens",
    "preemptions",
    "acceptance_length",
    "outside",
)

_shared: tuple[Workload, Sequence[int]] | None = None  # what forked workers inherit


def sweep(
    workload: Workload,
    setups: Sequence[Setup],
    *,
    rl_steps: Sequence[int] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """One row per setup and RL step: the full configuration, the result, its bounds.

    jobs: processes, all cores by default. progress(done, all) is called as points finish. Raises
    what `simulate` raises.
    """
    global _shared
    steps = workload.choose(rl_steps)
    for setup in setups:
        workload.prepare(setup.drafter, setup.budget)
    keys = [bounds_key(setup) for setup in setups]
    firsts = {key: setup for setup, key in reversed(list(zip(setups, keys, strict=True)))}
    tasks: list[tuple[str, Setup]] = [("bounds", setup) for setup in firsts.values()]
    tasks += [("point", setup) for setup in setups]
    _shared = (workload, steps)
    jobs = jobs or cores()
    logger.info(
        "simulating %d points and %d bounds on %d cores",
        len(setups),
        len(firsts),
        jobs,
    )
    try:
        done = []
        for answer in _each(tasks, jobs):
            done.append(answer)
            if progress:
                progress(len(done), len(tasks))
    finally:
        _shared = None
    bounds: dict[str, Bounds] = dict(zip(firsts, done[: len(firsts)], strict=True))
    rows = []
    for setup, key, points in zip(setups, keys, done[len(firsts) :], strict=True):
        for point in points:
            step = point["rl_step"]
            rows.append(
                {
                    **workload.provenance,
                    **setup.row,
                    **point,
                    "clairvoyant_s": bounds[key].clairvoyant_s[step],
                    "perfect_s": bounds[key].perfect_s[step],
                    "acceptance_source": setup.drafter.acceptance,
                    "notes": "; ".join(setup.notes),
                }
            )
    table = pd.DataFrame(rows)
    for name in ("max_num_seqs", "max_num_batched_tokens", "kv_tokens"):
        table[name] = table[name].astype("Int64")  # empty: unlimited
    return table


def bounds_key(setup: Setup) -> str:
    """The same for setups that have the same bounds."""
    return repr({k: v for k, v in setup.row.items() if k not in ("budget", "told", "skew")})


def _each(tasks: list[tuple[str, Setup]], jobs: int) -> Iterator[Any]:
    """The tasks' answers in their order."""
    if jobs == 1 or len(tasks) == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(_work, tasks)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(_work, tasks, chunksize=max(1, len(tasks) // (16 * jobs)))


def _work(task: tuple[str, Setup]) -> Any:
    kind, setup = task
    assert _shared is not None
    workload, steps = _shared
    logger.debug("%s of %s", kind, " ".join(f"{k}={v}" for k, v in setup.row.items()))
    if kind == "bounds":
        return simulate_bounds(workload, setup, rl_steps=steps)
    return [
        {"rl_step": s.rl_step, **{name: getattr(s, name) for name in STEP_FIELDS}}
        for s in simulate_steps(workload, setup, steps)
    ]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV by the name's ending; the file appears whole or not at all.

    Raises TraceError for another ending or an unwritable folder.
    """
    if path.suffix not in {".parquet", ".csv"}:
        raise TraceError(
            "unknown kind of table", file=path, remedy="end the name in .parquet or .csv"
        )
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with whole(path, remedy="choose another place with -o") as partial:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(arrow, partial)
        else:
            pyarrow.parquet.write_table(arrow, partial, compression="zstd")


def is_table(path: Path) -> bool:
    """Whether a file can only be a table: a CSV, or Parquet with a column of makespans."""
    if path.suffix == ".csv":
        return True
    try:
        return "makespan_s" in pyarrow.parquet.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False


def read_frame(path: Path, remedy: str) -> pd.DataFrame:
    """A .csv, or else Parquet. Raises TraceError."""
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise TraceError("no such file", file=path, remedy=remedy) from None
    except (OSError, ValueError) as error:
        raise TraceError(f"not a table ({error})", file=path, remedy=remedy) from None


def read_table(path: Path) -> pd.DataFrame:
    """A table that `sweep` wrote. Raises TraceError for anything else."""
    remedy = "make one with longtail sweep"
    table = read_frame(path, remedy)
    missing = {"trace", "origin", *Setup().row, "rl_step", *STEP_FIELDS, "clairvoyant_s"} - set(
        table.columns
    )
    if missing:
        raise TraceError(f"not a sweep's table: no column {min(missing)}", file=path, remedy=remedy)
    if table.empty:
        raise TraceError("a sweep without points", file=path, remedy=remedy)
    return table
