"""longtail: which drafter, draft budget and scheduling would have shortened your rollouts' tail.

    import longtail
    result = longtail.simulate("T.parquet", drafter="suffix:scope=both", budget="das")
    print(result.makespan_s, result.regret)

`simulate`, `sweep`, `advise` and `drafters` are the commands of the same names, with the same
options. A trace is a file's path, `sample` for the bundled one, what `read_trace` gave, or, so that
profiles of drafters are computed once for many calls, what `read_workload` gave. All raise
TraceError or ComponentError for unusable input, in a line that names the file, the row and the
remedy.

Names are loaded when first used; neither torch nor vLLM is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .analysis.advice.advise import Advice
    from .analysis.drafters import Comparison
    from .sim.limits import Limits
    from .sim.simulate import Result
    from .sim.workload import Workload
    from .traces.store import Trace

__all__ = [
    "advise",
    "drafters",
    "read_step_log",
    "read_trace",
    "read_workload",
    "sample_path",
    "simulate",
    "sweep",
]

AnyTrace: TypeAlias = "str | Path | Trace | Workload"


def read_trace(path: str | Path) -> Trace:
    """Open a stored trace, or the bundled one by the name `sample`; raises TraceError."""
    from .traces import find_trace, open_trace

    return open_trace(find_trace(path))


def read_workload(
    trace: AnyTrace, *, cap: int | None = None, rl_steps: Sequence[int] | None = None
) -> Workload:
    """A trace made ready to be simulated, up to the last of `rl_steps` (all by default).

    cap: output tokens that every request is told; by default the trace's. Raises TraceError.
    """
    from .sim.workload import Workload

    if isinstance(trace, Workload):
        if cap is not None:
            from .traces import TraceError

            raise TraceError("a workload has its cap already", remedy="give it to read_workload")
        return trace
    opened = read_trace(trace) if isinstance(trace, str | Path) else trace
    return Workload.from_trace(opened, cap=cap, rl_steps=rl_steps)


def read_step_log(folder: str | Path, kind: str = "forwards") -> pd.DataFrame:
    """What a live engine did: a row per forward, or per finished request (kind="requests").

    Raises TraceError where there is no step log, or that of several engines.
    """
    from .engine.step_log import read_step_log as read

    return read(folder, kind)


def sample_path() -> Path:
    """The bundled recorded sample."""
    from .traces import sample_path as path

    return path()


def simulate(
    trace: AnyTrace,
    *,
    rl_steps: list[int] | None = None,
    cap: int | None = None,
    log: bool = False,
    **setup: Any,
) -> Result:
    """Simulate a trace under one configuration; `to_json()` is what the command prints.

    setup: drafter, budget, latency, placement as inline specifications, and limits by their names
    (max_num_seqs, max_num_batched_tokens, kv_tokens, block_size, replicas). log: keep a row per
    forward.
    """
    from .sim.simulate import Setup
    from .sim.simulate import simulate as run

    limits = _limits(setup)
    _check(setup, "drafter", "budget", "latency", "placement", "told", "skew")
    made = Setup.of(limits=limits, **setup)
    load = read_workload(trace, cap=cap, rl_steps=rl_steps)
    return run(load, made, rl_steps=rl_steps, log=log)


def sweep(
    trace: AnyTrace,
    *,
    rl_steps: list[int] | None = None,
    cap: int | None = None,
    jobs: int | None = None,
    **grid: Any,
) -> pd.DataFrame:
    """Simulate every combination: a tidy table, a row for each point and RL step.

    grid: as `simulate`'s setup, each a value or a list of them. jobs: processes, all cores by
    default.
    """
    from dataclasses import fields

    from .sim.grid import Grid
    from .sim.sweep import sweep as run

    _check(grid, *(f.name for f in fields(Grid)))
    setups = Grid(
        **{k: v if isinstance(v, list | tuple) else [v] for k, v in grid.items()}
    ).setups()
    load = read_workload(trace, cap=cap, rl_steps=rl_steps)
    return run(load, setups, rl_steps=rl_steps, jobs=jobs)


def advise(
    trace: AnyTrace,
    *,
    rl_steps: list[int] | None = None,
    cap: int | None = None,
    **options: Any,
) -> Advice:
    """What to turn on for rollouts like these, with its interval and what it rests on.

    options: engine (longtail or vllm), latency, drafters and budgets (lists; those tried by default
    are the command's), requests of an RL step, and limits as in `simulate`. `to_json()` is what
    the command prints.
    """
    from .analysis.advice.advise import advise as run

    limits = _limits(options)
    _check(options, "engine", "latency", "drafters", "budgets", "requests", "progress")
    load = read_workload(trace, cap=cap, rl_steps=rl_steps)
    return run(load, limits=limits, rl_steps=rl_steps, **options)


def drafters(
    trace: AnyTrace, specs: Sequence[str] = (), *, rl_steps: list[int] | None = None, **options: Any
) -> Comparison:
    """Compare drafters, all that the trace allows by default: `rows`, the fastest first.

    options: latency, and limits as in `simulate`.
    """
    from .analysis.drafters import compare_drafters

    limits = _limits(options)
    _check(options, "latency", "progress")
    load = read_workload(trace, rl_steps=rl_steps)
    return compare_drafters(load, specs, limits=limits, rl_steps=rl_steps, **options)


def _check(options: dict[str, Any], *known: str) -> None:
    """Raise ComponentError for a name that is none, with the one that was meant."""
    from .policies.registry import ComponentError, nearest

    for name in options:
        if name not in known:
            raise ComponentError(f"no option '{name}'{nearest(name, known)}")


def _limits(options: dict[str, Any]) -> Limits:
    """Taken out of the options, where they stand by name or as `limits`."""
    from dataclasses import fields

    from .sim.limits import Limits

    named = {f.name: options.pop(f.name) for f in fields(Limits) if f.name in options}
    return Limits(**named) if named else options.pop("limits", None) or Limits()
