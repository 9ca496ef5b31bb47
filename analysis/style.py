"""One look for every figure: Okabe-Ito colours, and line styles that tell them apart in grey."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

RC: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "longtail",  # the same picture, the same bytes
    "figure.dpi": 150,
}


def new_figure(
    title: str,
    caption: str,
    width: float = 8.0,
    height: float = 4.6,
    panels: int = 1,
    rows: int = 1,
) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` times `panels` axes, row by row; call inside `rc_context(RC)`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, panels, squeeze=False).ravel().tolist()
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    loud = {"color": "#D55E00", "fontweight": "bold"} if "SYNTHETIC" in caption else {}
    caption = textwrap.fill(caption, int(14 * width))
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, **({"color": "#555555"} | loud))
    return figure, axes


def look(index: int, markers: bool = False) -> dict[str, Any]:
    """Line properties of the index-th policy."""
    style: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
    }
    if markers:
        style |= {"marker": MARKERS[index % len(MARKERS)], "markersize": 5}
    return style
