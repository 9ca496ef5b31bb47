"""Results in an experiment tracker (wandb, MLflow, TensorBoard), imported when it is asked for.

Nothing leaves the machine unless the tracker's own settings say so: runs of wandb are offline where
WANDB_MODE is not set, MLflow's go to its local store where MLFLOW_TRACKING_URI is not, and those of
TensorBoard are files.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.job import Job
    from ..sim.simulate import Result

PROJECT = "longtail"  # or WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME
FOLDER = "longtail-tensorboard"
QUIET = {  # unless set otherwise: the trackers' own reports, home and on the screen
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a run. Seconds and tokens; None in a configuration is no limit."""

    name: str
    config: Mapping[str, Any]
    steps: Sequence[Mapping[str, float]] = ()  # a row for each RL step, with its `rl_step`
    summary: Mapping[str, float] = field(default_factory=dict)  # of all RL steps together
    table: pd.DataFrame | None = None  # of a sweep: a row for each point and RL step


Track: TypeAlias = Callable[[Tracked], None]


def tracked_result(result: Result) -> Tracked:
    """One configuration: what `simulate --json` prints."""
    from ..policies.registry import brief

    told = result.to_json()
    totals = {f"total_{key}": value for key, value in _numbers(told).items()}
    config = {**result.provenance, **told["configuration"]}
    name = f"{brief(result.setup.drafter)}/{brief(result.setup.budget)}"
    return Tracked(name, config, told["rl_steps"], totals)


def tracked_sweep(table: pd.DataFrame) -> Tracked:
    """A sweep's table, and its shortest makespan (RL steps run one after the other)."""
    config = {**dict(table[["trace", "origin"]].iloc[0]), "points": len(list(_points(table)))}
    shortest = min(rows.makespan_s.sum() for _, rows in _points(table))
    name = f"sweep of {config['trace']}"
    return Tracked(name, config, summary={"shortest_makespan_s": float(shortest)}, table=table)


def tracked_job(job: Job, summary: Mapping[str, Any], forwards: pd.DataFrame) -> Tracked:
    """A live run: its summary's RL steps, and what its step log says of them."""
    config = {"model": job.model, **job.policy, **job.engine, "work": type(job.work).__name__}
    counted = forwards.groupby("rl_step")[["drafted", "accepted"]].sum()
    counted["forwards"] = forwards.groupby("rl_step").size()
    counted = counted.reindex([step["rl_step"] for step in summary["steps"]], fill_value=0)
    steps = [
        {
            **{key: value for key, value in step.items() if isinstance(value, int | float)},
            **{key: int(value) for key, value in counted.loc[step["rl_step"]].items()},
        }
        for step in summary["steps"]
    ]
    return Tracked(job.name, config, steps)


def find_tracker(name: str) -> Track:
    """What writes a run to the tracker, and says on standard error where it is. Raises TraceError
    if it cannot be imported, or when called if the tracker fails.
    """
    from ..traces.schema import TraceError

    module, write = TRACKERS[name]
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    try:
        importlib.import_module(name)
        importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name
        problem = f"{name} is not installed" if absent else f"{name} cannot be imported ({error})"
        raise TraceError(problem, remedy=f"install it with: pip install {name}") from None

    def track(run: Tracked) -> None:
        try:
            where = write(run)
        except Exception as error:  # of any kind: trackers have networks, databases and disks
            raise TraceError(
                f"everything is computed, but {name} could not keep it ({error})",
                remedy=f"see {name}'s own settings",
            ) from None
        print(f"{name}: {where}", file=sys.stderr)

    return track


def _wandb(run: Tracked) -> str:
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    kept = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.name,
        config=dict(run.config),
        mode=mode,
        settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
    )
    try:
        for step in run.steps:
            kept.log(_numbers(step), step=int(step["rl_step"]))
        if run.table is not None:
            rows = run.table.astype(object).where(run.table.notna(), None)
            kept.log({"sweep": wandb.Table(dataframe=rows)})
        kept.summary.update(run.summary)
        where = str(kept.url or Path(kept.dir).parent)
    except BaseException:  # no `with kept`: that prints a traceback, too
        kept.finish(exit_code=1)
        raise
    kept.finish()
    return where if kept.url else f"{where} (offline; to send it: wandb sync {where})"


def _mlflow(run: Tracked) -> str:
    import mlflow

    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    with mlflow.start_run(run_name=run.name) as kept:
        mlflow.log_params(_words(run.config))
        for step in run.steps:
            mlflow.log_metrics(_numbers(step), step=int(step["rl_step"]))
        mlflow.log_metrics(run.summary)
        if run.table is not None:
            mlflow.log_text(run.table.to_csv(index=False), "sweep.csv")
    return f"{mlflow.get_tracking_uri()}, run {kept.info.run_id}"


def _tensorboard(run: Tracked) -> str:
    """A folder a configuration: of a sweep one for each point, to be compared by hyperparameter."""
    folder = Path(FOLDER) / f"{time.strftime('%Y%m%d-%H%M%S')}-{_file_name(run.name)}"
    if run.table is None:
        _write_events(folder, run)
    else:
        for number, (config, rows) in enumerate(_points(run.table)):
            steps: Any = rows.drop(columns=[*config]).to_dict("records")
            total = {"total_makespan_s": float(rows.makespan_s.sum())}
            name = f"{number:04}-{config['drafter']}-{config['budget']}"
            _write_events(folder / _file_name(name), Tracked(name, config, steps, total))
    return f"{folder} (tensorboard --logdir {FOLDER})"


def _write_events(folder: Path, run: Tracked) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))

    def write(summary: Any, step: int) -> None:
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    write(hparams_pb(_words(run.config)), 0)
    for row in run.steps:
        for key, value in _numbers(row).items():
            write(scalar_pb(key, value), int(row["rl_step"]))
    for key, value in run.summary.items():
        write(scalar_pb(key, value), 0)
    writer.close()


TRACKERS: dict[str, tuple[str, Callable[[Tracked], str]]] = {
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "tensorboard": ("tensorboard.summary.writer.event_file_writer", _tensorboard),
}
"""By name: what is imported, and what writes."""


def _words(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: "unlimited" if value is None else str(value) for key, value in config.items()}


def _numbers(step: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in step.items()
        if key != "rl_step" and isinstance(value, int | float)
    }


def _points(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """A sweep's configurations, in its order, each with its rows."""
    import pandas as pd

    from ..sim.simulate import Setup

    columns = [name for name in Setup().row if name in table.columns]
    for _, rows in table.groupby(columns, sort=False, dropna=False):
        first = rows.iloc[0]
        yield {name: None if pd.isna(first[name]) else first[name] for name in columns}, rows


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", text).strip("_")[:150]
