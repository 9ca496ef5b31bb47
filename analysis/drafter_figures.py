"""The pictures of a comparison of drafters: their calibration, and how history ages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .drafters import Comparison
from .plots import write_figure
from .reliability import BINS
from .show_drafters import KINDS
from .staleness import PROBE, RL_STEP, by_age, versions_per_step
from .style import COLOURS, look, new_figure

FEW = 50  # draft tokens below which a bin is not drawn
ACROSS = 4  # panels side by side
SHARE = 0.25  # of a panel's height: the tallest bar of its histogram


def draw_drafters(found: Comparison, caption: str, folder: Path) -> list[Path]:
    """reliability and, where history of several ages was measured, staleness, as PNG and SVG; the
    paths written. Raises TraceError.
    """
    paths = write_figure(lambda: reliability(found, caption), folder, "reliability")
    if len(by_age(found.pairs)) > 1:
        paths += write_figure(lambda: staleness(found, caption), folder, "staleness")
    return paths


def reliability(found: Comparison, caption: str) -> Figure:
    """Share of draft tokens accepted against their predicted chance, one panel per drafter, and
    how many there are of each chance.
    """
    rows = [row for row in found.rows if row.reliability.total] or list(found.rows)
    across = min(ACROSS, len(rows))
    down = -(-len(rows) // across)
    figure, panels = new_figure(
        "Draft tokens accepted, against their predicted chance",
        f"{caption}; bars: how many draft tokens have that chance; circles of fewer than {FEW} are "
        "left out",
        width=max(3.2 * across, 5), height=1.1 + 3.1 * down, panels=across, rows=down,
    )  # fmt: skip
    width = 1 / BINS
    for i, axes in enumerate(panels):
        if i >= len(rows):
            axes.set_visible(False)
            continue
        score = rows[i].reliability
        height = SHARE * score.tokens / max(score.tokens.max(), 1)
        left = np.arange(BINS) * width
        axes.bar(left, height, width, align="edge", color="#cccccc", edgecolor="white", zorder=1)
        axes.plot([0, 1], [0, 1], color="#555555", linewidth=1, zorder=2)
        some = score.tokens >= FEW
        axes.plot(
            score.predicted[some], score.observed[some], "o-", color=COLOURS[1], linewidth=1,
            markersize=4.5, zorder=3,
        )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_title(
            f"{rows[i].name}\nBrier {score.brier:.3f}, calibration error {score.error:.3f}",
            fontsize=8,
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
            axis.set_tick_params(labelsize=8)
        if i % across == 0:
            axes.set_ylabel("accepted", fontsize=9)
        if i + across >= len(rows):
            axes.set_xlabel("predicted chance", fontsize=9)
    return figure


def staleness(found: Comparison, caption: str) -> Figure:
    """Tokens per forward, and forwards with an accepted draft token, by how old the history is."""
    each = versions_per_step(found.pairs)
    kinds = [RL_STEP] if each else [by for by in KINDS if by_age(found.pairs, by)]
    figure, panels = new_figure(
        "What history of one RL step is worth as it grows old",
        f"{caption}; {PROBE}; only rollouts whose prompt the history has",
        width=10, height=0.9 + 3.7 * len(kinds), panels=2, rows=len(kinds),
    )  # fmt: skip
    for kind, by in enumerate(kinds):
        together = by_age(found.pairs, by)
        mine = [pair for pair in found.pairs if pair.by == by]
        for axes, value, label in (
            (panels[2 * kind], lambda done: done.gain, "tokens per forward"),
            (panels[2 * kind + 1], lambda done: done.hit_rate, "forwards with one accepted"),
        ):
            dots: dict[str, Any] = {"color": "#999999", "s": 14, "linewidths": 0}
            axes.scatter(
                [p.age for p in mine], [value(p.done) for p in mine], label="each pair", **dots
            )
            axes.plot(
                list(together), [value(done) for done in together.values()], label="all together",
                **look(1, markers=True),
            )  # fmt: skip
            unit = KINDS[by] + (f" of {each:g} policy versions" if each else "")
            axes.set(xlabel=f"age of the history [{unit}]", ylabel=label)
            axes.set_ylim(0, 1.1 * max(value(p.done) for p in mine) or 1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panels[2 * kind + 1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if by == RL_STEP:
            panels[2 * kind].legend(fontsize=8, loc="lower left")
    return figure
