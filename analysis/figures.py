"""The pictures of a comparison: one function each, a table of `curves` in, a matplotlib Figure out.

`caption` says which trace and under what. Seconds are simulated seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..traces.rollouts import Lengths
from . import curves
from .style import COLOURS, look, new_figure

LONG_TAIL = 4  # longest over median from which lengths are drawn on a logarithmic axis
NUMBERS = FuncFormatter(lambda v, _: f"{v:,.0f}")


def active_requests(table: pd.DataFrame, caption: str) -> Figure:
    """Requests running over time in one RL step, one line per policy."""
    figure, (whole, tail) = new_figure(
        f"Requests not yet finished in RL step {table.rl_step.iloc[0]}", caption, width=11, panels=2
    )
    for i, (label, mine) in enumerate(table.groupby("policy", sort=False)):
        seconds, running = mine.seconds.to_numpy(), mine.requests.to_numpy()
        words = f"{label}  {seconds[-1]:.1f} s"
        for axes in (whole, tail):
            axes.plot(seconds, running, drawstyle="steps-post", label=words, **look(i))
        tail.plot(seconds[-1], running[-2], "o", color=look(i)["color"], markersize=5)
    for axes in (whole, tail):
        axes.axhline(
            0.1 * table.requests.max(), color="#888888", linewidth=0.8, label="90 % done: the tail"
        )
        axes.set(
            xlabel="time since the RL step began [s]",
            ylabel="requests not yet finished",
            xlim=(0, None),
        )
    whole.set(ylim=(0, None), title="all of it")
    tail.set(yscale="log", ylim=(0.8, None), title="the tail (logarithmic)")
    for axes in (whole, tail):
        axes.yaxis.set_major_formatter(NUMBERS)
    legend(whole, "policy, makespan")
    return figure


def makespan_by_step(table: pd.DataFrame, caption: str) -> Figure:
    """Makespan of each RL step, one line per policy, and the clairvoyant bound of the best
    drafter.
    """
    if table.rl_step.nunique() == 1:
        return _makespan_bars(table, caption)
    figure, (axes,) = new_figure("Makespan per RL step", caption)
    policies = table.groupby("policy", sort=False)
    for i, (label, mine) in enumerate(policies):
        words = f"{label}  {mine.makespan_s.sum():.1f} s"
        axes.plot(mine.rl_step, mine.makespan_s, label=words, **look(i, markers=True))
    bounds = policies.clairvoyant_s.sum(min_count=1).dropna()
    if len(bounds):
        label = str(bounds.idxmin())
        best = table[table.policy == label]
        words = f"clairvoyant, {label.partition('/')[0]}  {bounds.min():.1f} s"
        style: dict[str, Any] = {"color": "#888888", "linewidth": 1.2, "linestyle": (0, (2, 2))}
        axes.plot(best.rl_step, best.clairvoyant_s, label=words, **style)
    axes.set(xlabel="RL step", ylabel="makespan [s]", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(axes, "policy, all RL steps")
    return figure


def _makespan_bars(table: pd.DataFrame, caption: str) -> Figure:
    """One RL step only: a bar per policy, and the bound that its drafter sets to any budget."""
    height = 1.8 + 0.42 * max(len(table), 2)
    title = f"Makespan of RL step {table.rl_step.iloc[0]}"
    figure, (axes,) = new_figure(title, caption, width=9, height=height)
    colours = [look(i)["color"] for i in range(len(table))]
    bars = axes.barh(table.policy, table.makespan_s, color=colours)
    axes.bar_label(bars, [f"{s:.1f} s" for s in table.makespan_s], padding=5, fontsize=9)
    bounds = table.clairvoyant_s.reset_index(drop=True).dropna()
    style: dict[str, Any] = {"linestyle": "none", "marker": "|", "color": "white"}
    axes.plot(bounds, bounds.index, markersize=20, markeredgewidth=5, **style)
    style["color"] = "black"
    label = "clairvoyant: this drafter, no draft ever rejected"
    axes.plot(bounds, bounds.index, markersize=18, markeredgewidth=2, label=label, **style)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="makespan [s]", xlim=(0, 1.12 * table.makespan_s.max()))
    if len(bounds):
        place: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
        axes.legend(fontsize=8, markerscale=0.6, **place)
    return figure


def acceptance(table: pd.DataFrame, caption: str) -> Figure:
    """Tokens gained per request and decode forward: by RL step, and by position in the rollout."""
    figure, (by_step, by_position) = new_figure(
        "Acceptance length (accepted + 1 bonus token per forward)", caption, width=11, panels=2
    )
    for i, (label, mine) in enumerate(table.groupby("policy", sort=False)):
        steps, positions = (mine[mine["by"] == by] for by in ("rl_step", "position"))
        style = look(i, markers=True)
        by_step.plot(steps["at"], steps.acceptance_length, label=label, **style)
        if len(positions):
            by_position.plot(positions["at"], positions.acceptance_length, **look(i))
    seen = table["at"][table["by"] == "rl_step"]
    by_step.set(xlabel="RL step", xlim=(seen.min() - 0.5, seen.max() + 0.5), title="by RL step")
    by_step.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    by_position.set(
        xlabel="position in the rollout [output tokens]",
        xlim=(0, None),
        title="by position in the rollout",
    )
    by_position.xaxis.set_major_formatter(NUMBERS)
    if not by_position.lines:
        words = "no drafts, or simulated without a log"
        by_position.text(0.5, 0.5, words, ha="center", transform=by_position.transAxes)
    for axes in (by_step, by_position):
        top = max(1.5, axes.get_ylim()[1])
        axes.set(ylabel="tokens per request and forward", ylim=(0.95, top))
    legend(by_step, None)
    return figure


def survival(lengths: Lengths, caption: str) -> Figure:
    """Share of rollouts at least x tokens long, all RL steps together and each alone."""
    figure, (axes,) = new_figure("How long the rollouts are", caption, width=9)
    table = curves.survival(lengths)
    for _, mine in table.groupby("rl_step"):
        style: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 0.8, "drawstyle": "steps-pre"}
        axes.plot(mine.output_tokens, mine.share, **style)
    x, share = table[["output_tokens", "share"]][table.rl_step.isna()].to_numpy().T
    axes.plot(x, share, color=COLOURS[1], drawstyle="steps-pre", label="all RL steps")
    axes.plot([], [], color="#bbbbbb", linewidth=0.8, label="each RL step")
    longest = int(x[-1])
    marks = [("median", 0.5, "o"), ("p90", 0.9, "s"), ("p99", 0.99, "^"), ("longest", 1.0, "D")]
    for name, q, marker in marks:
        at = int(np.searchsorted(x, np.quantile(lengths.output_len, q)))
        words = f"{name} {np.quantile(lengths.output_len, q):,.0f} tokens"
        axes.plot(x[at], share[at], marker, color=COLOURS[4], markersize=6, label=words)
    cut = int(lengths.capped.sum())
    if cut:
        where = np.unique(lengths.output_len[lengths.capped])
        rug: Any = axes.get_xaxis_transform()
        words = f"{cut:,} cut by length ({cut / len(lengths):.1%})"
        style = {"linestyle": "none", "marker": "|", "markersize": 10}
        axes.plot(where, [0.02] * len(where), transform=rug, color="#000000", label=words, **style)
    axes.set(
        yscale="log",
        xlabel="output length x [tokens]",
        ylabel="share of rollouts at least x long",
        ylim=(0.4 * share[-1], 1.3),
    )
    if longest > LONG_TAIL * np.median(lengths.output_len):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, None)
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    legend(axes, None)
    return figure


def wasted(table: pd.DataFrame, caption: str) -> Figure:
    """Share of drafted tokens that were rejected, and how many were drafted per output token."""
    shown = table.dropna(subset="wasted")
    figure, (share, volume) = new_figure(
        "Drafted for nothing",
        caption,
        width=10,
        height=1.8 + 0.42 * max(len(shown), 2),
        panels=2,
    )
    colours = [look(i)["color"] for i in shown.index]
    for axes, values, text in ((share, shown.wasted, "{:.0%}"), (volume, shown.drafted, "{:.2f}")):
        bars = axes.barh(shown.policy, values, color=colours)
        axes.bar_label(bars, [text.format(v) for v in values], padding=3, fontsize=9)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    share.set(xlabel="share of drafted tokens rejected", xlim=(0, 1.1))
    share.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
    volume.set(xlabel="draft tokens per output token", xlim=(0, 1.2 * shown.drafted.max()))
    volume.set_yticklabels([])
    return figure


def legend(axes: Axes, title: str | None) -> None:
    """Beside the data, never on it."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        title=title,
        loc="outside right upper",
        fontsize=8,
        title_fontsize=8,
        alignment="left",
    )
