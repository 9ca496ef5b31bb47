"""longtail: which drafter, draft budget and scheduling would have shortened your rollouts' tail.

    import longtail
    result = longtail.simulate("T.parquet", drafter="suffix:scope=both", budget="das")
    print(result.makespan_s, result.regret)

Names are loaded when first used; neither torch nor vLLM is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from .sim.simulate import Result
    from .traces.store import Trace

__all__ = ["read_step_log", "read_trace", "sample_path", "simulate", "sweep"]


def read_trace(path: str | Path) -> Trace:
    """Open a stored trace, or the bundled one by the name `sample`; raises TraceError."""
    from .traces import find_trace, open_trace

    return open_trace(find_trace(path))


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
    trace: str | Path | Trace,
    *,
    rl_steps: list[int] | None = None,
    cap: int | None = None,
    log: bool = False,
    **setup: Any,
) -> Result:
    """Simulate a trace under one configuration.

    setup: drafter, budget, latency, placement as inline specifications, and limits
    (sim.limits.Limits).
    Raises TraceError or ComponentError for unusable input.
    """
    from .sim.simulate import Setup
    from .sim.simulate import simulate as run
    from .sim.workload import Workload

    opened = read_trace(trace) if isinstance(trace, (str, Path)) else trace
    load = Workload.from_trace(opened, cap=cap, rl_steps=rl_steps)
    return run(load, Setup.of(**setup), rl_steps=rl_steps, log=log)


def sweep(
    trace: str | Path | Trace,
    *,
    rl_steps: list[int] | None = None,
    cap: int | None = None,
    jobs: int | None = None,
    **grid: Any,
) -> Any:
    """Simulate every combination; lists of specifications in, one tidy pandas DataFrame out."""
    from .sim.grid import Grid
    from .sim.sweep import sweep as run
    from .sim.workload import Workload

    opened = read_trace(trace) if isinstance(trace, (str, Path)) else trace
    load = Workload.from_trace(opened, cap=cap, rl_steps=rl_steps)
    grid = {k: [v] if isinstance(v, (str, int, dict)) else v for k, v in grid.items()}
    return run(load, Grid(**grid).setups(), rl_steps=rl_steps, jobs=jobs)
