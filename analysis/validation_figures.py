"""The pictures of a validation: predicted beside measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .composition import active_curve
from .ranking import Cell, Ranking
from .style import COLOURS, MARKERS, look, new_figure
from .validate import Check

Logs = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
PANELS = 12  # runs that one picture has room for
BAND = 0.05
BINS = 24


def active_requests(checks: Sequence[Check], logs: Logs, caption: str) -> Figure:
    """Requests not yet finished over time, a panel per run: measured, and predicted at the speed
    that the machine had; the last RL step of each.
    """
    shown = checks[:PANELS]
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure, panels = new_figure(
        "Requests not yet finished, predicted and measured",
        caption if len(shown) == len(checks) else f"{caption}; {len(shown)} of {len(checks)} runs",
        width=max(3.4 * columns, 6.8),
        height=2.6 * rows + 1.0,
        panels=columns,
        rows=rows,
    )
    for check, axes in zip(shown, panels, strict=False):
        live, simulated = logs[check.run]
        step = live.rl_step.max()
        for log, stretch, label, style in (
            (live, 1.0, "measured", {"color": COLOURS[0], "linewidth": 2.4}),
            (simulated, check.slow, "predicted", {"color": COLOURS[4], "linestyle": "--"}),
        ):
            seconds, active = active_curve(log[log.rl_step == step], stretch)
            axes.plot(seconds, active, drawstyle="steps-post", label=label, **style)
        axes.set_title(f"{check.policy}\nRL step {step}, batch {check.batch}", fontsize=8)
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.tick_params(labelsize=8)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=8)
    _label(panels, columns, len(shown))
    return figure


def _label(panels: Sequence[Axes], columns: int, count: int) -> None:
    for i, axes in enumerate(panels[:count]):
        if i % columns == 0:
            axes.set_ylabel("requests", fontsize=8)
        if i + columns >= count:
            axes.set_xlabel("seconds since the RL step began", fontsize=8)


def makespans(rankings: Sequence[Ranking], checks: Sequence[Check], caption: str) -> Figure:
    """Predicted against measured makespan, a point per policy, repeats as a bar."""
    figure, (axes,) = new_figure("Makespans, predicted and measured", caption, width=8.5, height=6)
    cells = [cell for ranking in rankings for cell in ranking.cells]
    policies = list(dict.fromkeys(check.policy for check in checks))
    labelled: set[str] = set()
    for cell in cells:
        i = policies.index(cell.policy)
        key = (cell.policy, cell.workload, cell.batch)
        repeats = [check.quiet_s for check in checks if check.cell[:3] == key]
        axes.errorbar(
            cell.measured_s,
            cell.predicted_s,
            xerr=[[cell.measured_s - min(repeats)], [max(repeats) - cell.measured_s]],
            marker=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            markerfacecolor=COLOURS[i % len(COLOURS)] if cell.held_out else "white",
            linestyle="none",
            capsize=3,
            label=cell.policy if cell.policy not in labelled else None,
        )
        labelled.add(cell.policy)
    values = np.array([[cell.measured_s, cell.predicted_s] for cell in cells])
    low, high = 0.9 * values.min(), 1.1 * values.max()
    edge = np.array([low, high])
    axes.plot(edge, edge, color="#888888", linewidth=1, label="equal")
    axes.fill_between(edge, (1 - BAND) * edge, (1 + BAND) * edge, color="#888888", alpha=0.2,
                      linewidth=0, label=f"within {BAND:.0%}")  # fmt: skip
    axes.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel="measured makespan at the speed of the quiet machine [s] (bar: repeats)",
        ylabel="predicted makespan [s]" + _filled(cells),
    )
    axes.legend(fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left", borderaxespad=0)
    return figure


def _filled(cells: Sequence[Cell]) -> str:
    if len({cell.held_out for cell in cells}) > 1:
        return " (filled: held out of its calibration)"
    return ", held out of its calibration" if cells[0].held_out else ", calibrated on it"


def residuals(live: Mapping[str, pd.DataFrame], policies: Sequence[str], caption: str) -> Figure:
    """Errors of forwards, given the batch as it was, against tokens and against KV tokens: half of
    all forwards as a band, the median of each policy as a line. live: forwards by run; policies:
    those of the runs.
    """
    figure, panels = new_figure(
        "Errors of single forwards, given the true batch", caption, width=11, panels=2
    )
    logs = [log.assign(error=100 * (log.fitted_s / log.measured_s - 1)) for log in live.values()]
    every = pd.concat(logs, ignore_index=True)
    for axes, column, label in zip(
        panels, ("tokens", "kv_tokens"), ("tokens in the forward", "KV tokens"), strict=True
    ):
        x, quantiles = _binned(every, column, BINS)
        axes.fill_between(
            x, quantiles[0.25], quantiles[0.75], color="#888888", alpha=0.25, linewidth=0,
            label="half of all forwards",
        )  # fmt: skip
        for i, (policy, log) in enumerate(zip(policies, logs, strict=True)):
            x, quantiles = _binned(log, column, BINS // 2)
            axes.plot(x, quantiles[0.5], label=policy, markevery=3, **look(i + 1, markers=True))
        axes.axhline(0, color=COLOURS[0], linewidth=1)
        axes.set(xlabel=label, ylabel="predicted over measured, minus 1 [%]")
    panels[0].set(xscale="log", xlabel="tokens in the forward (log scale)")
    panels[1].legend(fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left", borderaxespad=0)
    return figure


def _binned(log: pd.DataFrame, column: str, bins: int) -> tuple[pd.Series, pd.DataFrame]:
    """Medians of a column in bins of as many forwards each, and quantiles of the error there."""
    x = log[column].astype(float)
    place = pd.qcut(x, bins, labels=False, duplicates="drop")
    quantiles = log.error.groupby(place).quantile(np.array([0.25, 0.5, 0.75])).unstack()
    return x.groupby(place).median(), quantiles
