"""Figures as files: PNG and SVG, whole or not at all, the same bytes for the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..policies.latency.presets import name_latency
from ..traces.rollouts import Lengths
from ..traces.schema import TraceError
from ..traces.whole import whole
from . import figures
from .figures import Results
from .style import RC
from .sweep_figure import makespan_by_budget


def draw_all(results: Results, lengths: Lengths, caption: str, folder: Path) -> list[Path]:
    """Every picture of a comparison, in `folder`; the paths written. Raises TraceError."""
    supposed = next(iter(results.values())).setup
    trace = caption
    caption += f"; latency {name_latency(supposed.latency)}"
    drawn: dict[str, Callable[[], Figure]] = {
        "active_requests": lambda: figures.active_requests(results, caption),
        "makespan_by_step": lambda: figures.makespan_by_step(results, caption),
        "acceptance": lambda: figures.acceptance(results, caption),
        "survival": lambda: figures.survival(lengths, trace),
        "wasted": lambda: figures.wasted(results, caption),
    }
    if not any(result.total("draft_tokens") for result in results.values()):
        del drawn["wasted"]  # nothing was drafted
    return [path for name, draw in drawn.items() for path in write_figure(draw, folder, name)]


def draw_sweep(table: pd.DataFrame, caption: str, folder: Path) -> list[Path]:
    """Makespan against budget, in `folder`; the paths written. Raises TraceError."""
    return write_figure(lambda: makespan_by_budget(table, caption), folder, "makespan_by_budget")


def write_figure(draw: Callable[[], Figure], folder: Path, name: str) -> list[Path]:
    """The figure as PNG and SVG, whole or not at all; their paths. Raises TraceError."""
    elsewhere = "choose another folder with -o"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy=elsewhere
        ) from None
    paths = []
    with matplotlib.rc_context(RC):
        figure = draw()
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = folder / f"{name}.{kind}"
            with whole(path, remedy=elsewhere) as partial:
                figure.savefig(partial, format=kind, metadata=metadata)
            figure.set_layout_engine("none")  # laid out once is enough
            paths.append(path)
    return paths
