"""Figures as files: PNG and SVG, whole or not at all, the same bytes for the same inputs; beside
those of `demo`, `plot` and `sweep` a CSV of the numbers drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..policies.latency.presets import name_latency
from ..sim.sweep import write_table
from ..traces.rollouts import Lengths
from ..traces.schema import TraceError
from ..traces.whole import whole
from . import curves, figures
from .configurations import best_setting, rank
from .curves import Results
from .style import RC
from .sweep_figure import makespan_by_budget

ELSEWHERE = "choose another folder"


def draw_all(results: Results, lengths: Lengths, caption: str, folder: Path) -> list[Path]:
    """Every picture of a comparison with its numbers, in `folder`; the paths written. Raises
    TraceError.
    """
    words = f"{caption}; latency {name_latency(next(iter(results.values())).setup.latency)}"
    drawn: dict[str, tuple[Callable[[pd.DataFrame, str], Figure], pd.DataFrame]] = {
        "active_requests": (figures.active_requests, curves.active_requests(results)),
        "makespan_by_step": (figures.makespan_by_step, curves.makespans(results)),
        "acceptance": (figures.acceptance, curves.acceptance(results)),
        "wasted": (figures.wasted, curves.waste(results)),
    }
    if drawn["wasted"][1].wasted.isna().all():
        del drawn["wasted"]  # nothing was drafted
    paths = []
    for name, (draw, numbers) in drawn.items():
        paths += _write_both(partial(draw, numbers, words), numbers, folder, name)
    lasting = partial(figures.survival, lengths, caption)
    return paths + _write_both(lasting, curves.survival(lengths), folder, "survival")


def draw_sweep(table: pd.DataFrame, caption: str, folder: Path) -> list[Path]:
    """Makespan against budget with its numbers, in `folder`; the paths written. Raises
    TraceError.
    """
    numbers = best_setting(rank(table))
    draw = partial(makespan_by_budget, table, caption)
    return _write_both(draw, numbers, folder, "makespan_by_budget")


def _write_both(
    draw: Callable[[], Figure], numbers: pd.DataFrame, folder: Path, name: str
) -> list[Path]:
    path = folder / f"{name}.csv"
    paths = write_figure(draw, folder, name)
    write_table(numbers, path)
    return [*paths, path]


def write_figure(draw: Callable[[], Figure], folder: Path, name: str) -> list[Path]:
    """The figure as PNG and SVG, whole or not at all; their paths. Raises TraceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy=ELSEWHERE
        ) from None
    paths = []
    with matplotlib.rc_context(RC):
        figure = draw()
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = folder / f"{name}.{kind}"
            with whole(path, remedy=ELSEWHERE) as partial:
                figure.savefig(partial, format=kind, metadata=metadata)
            figure.set_layout_engine("none")  # laid out once is enough
            paths.append(path)
    return paths
