"""The pictures of a comparison: one function each, results in, a matplotlib Figure out.

`results` maps a policy's label to its Result, all over the same RL steps; `caption` says which
trace and under what. Seconds are simulated seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..sim.simulate import Result
from ..sim.state import POSITION_BIN
from ..sim.step import StepResult
from ..traces.rollouts import Lengths
from .style import COLOURS, look, new_figure

Results = Mapping[str, Result]
FEW = 200  # decode forwards below which a bin of positions is not drawn
LONG_TAIL = 4  # longest over median from which lengths are drawn on a logarithmic axis
NUMBERS = FuncFormatter(lambda v, _: f"{v:,.0f}")


def active_requests(results: Results, caption: str, rl_step: int | None = None) -> Figure:
    """Requests running over time, one RL step (the last by default), one line per policy."""
    step = (
        max(s.rl_step for s in next(iter(results.values())).steps) if rl_step is None else rl_step
    )
    figure, (whole, tail) = new_figure(
        f"Requests not yet finished in RL step {step}", caption, width=11, panels=2
    )
    for i, (label, result) in enumerate(results.items()):
        chosen = next(s for s in result.steps if s.rl_step == step)
        seconds, running = active_curve(chosen)
        words = f"{label}  {seconds[-1]:.1f} s"
        for axes in (whole, tail):
            axes.plot(seconds, running, drawstyle="steps-post", label=words, **look(i))
        tail.plot(seconds[-1], running[-2], "o", color=look(i)["color"], markersize=5)
    count = chosen.requests
    for axes in (whole, tail):
        axes.axhline(0.1 * count, color="#888888", linewidth=0.8, label="90 % done: the tail")
        axes.set(
            xlabel="time since the RL step began [s]",
            ylabel="requests not yet finished",
            xlim=(0, None),
        )
    whole.set(ylim=(0, None), title="all of it")
    tail.set(yscale="log", ylim=(0.8, None), title="the tail (logarithmic)")
    for axes in (whole, tail):
        axes.yaxis.set_major_formatter(NUMBERS)
    _legend(whole, "policy, makespan")
    return figure


def active_curve(step: StepResult) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, requests not yet finished) as steps, from the finish times; ends at (makespan,
    0).
    """
    times, counts = np.unique(step.finish_s, return_counts=True)
    left = step.requests - np.cumsum(counts)
    return np.concatenate([[0.0], times]), np.concatenate([[step.requests], left])


def makespan_by_step(results: Results, caption: str) -> Figure:
    """Makespan of each RL step, one line per policy, and the clairvoyant bound of the best
    drafter.
    """
    if all(len(result.steps) == 1 for result in results.values()):
        return _makespan_bars(results, caption)
    figure, (axes,) = new_figure("Makespan per RL step", caption)
    for i, (label, result) in enumerate(results.items()):
        axes.plot(
            [s.rl_step for s in result.steps],
            [s.makespan_s for s in result.steps],
            label=f"{label}  {result.makespan_s:.1f} s",
            **look(i, markers=True),
        )
    label, best = min(results.items(), key=lambda item: item[1].clairvoyant_s)
    bound = best.bounds.clairvoyant_s
    axes.plot(
        list(bound),
        list(bound.values()),
        color="#888888",
        linewidth=1.2,
        linestyle=(0, (2, 2)),
        label=f"clairvoyant, {label.partition('/')[0]}  {best.clairvoyant_s:.1f} s",
    )
    axes.set(xlabel="RL step", ylabel="makespan [s]", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(axes, "policy, all RL steps")
    return figure


def _makespan_bars(results: Results, caption: str) -> Figure:
    """One RL step only: a bar per policy, and the bound that its drafter sets to any budget."""
    step = next(iter(results.values())).steps[0].rl_step
    height = 1.8 + 0.42 * max(len(results), 2)
    figure, (axes,) = new_figure(f"Makespan of RL step {step}", caption, width=9, height=height)
    seconds = [result.makespan_s for result in results.values()]
    bars = axes.barh(list(results), seconds, color=[look(i)["color"] for i in range(len(results))])
    axes.bar_label(bars, [f"{s:.1f} s" for s in seconds], padding=5, fontsize=9)
    drafting = {i: r for i, r in enumerate(results.values()) if r.setup.drafter.longest_draft}
    bounds = [result.clairvoyant_s for result in drafting.values()]
    style: dict[str, Any] = {"linestyle": "none", "marker": "|", "color": "white"}
    axes.plot(bounds, list(drafting), markersize=20, markeredgewidth=5, **style)
    style["color"] = "black"
    label = "clairvoyant: this drafter, no draft ever rejected"
    axes.plot(bounds, list(drafting), markersize=18, markeredgewidth=2, label=label, **style)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="makespan [s]", xlim=(0, 1.12 * max(seconds)))
    if drafting:
        place: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
        axes.legend(fontsize=8, markerscale=0.6, **place)
    return figure


def acceptance(results: Results, caption: str) -> Figure:
    """Tokens gained per request and decode forward: by RL step, and by position in the rollout."""
    figure, (by_step, by_position) = new_figure(
        "Acceptance length (accepted + 1 bonus token per forward)", caption, width=11, panels=2
    )
    for i, (label, result) in enumerate(results.items()):
        by_step.plot(
            [s.rl_step for s in result.steps],
            [s.acceptance_length for s in result.steps],
            label=label,
            **look(i, markers=True),
        )
        positions, length = acceptance_by_position(result)
        if len(positions):
            by_position.plot(positions, length, **look(i))
    by_step.set(xlabel="RL step", ylabel="tokens per request and forward", ylim=(0.95, None))
    by_step.set_title("by RL step")
    seen = [s.rl_step for result in results.values() for s in result.steps]
    by_step.set_xlim(min(seen) - 0.5, max(seen) + 0.5)
    by_position.set_title("by position in the rollout")
    by_step.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    by_position.set(
        xlabel="position in the rollout [output tokens]",
        ylabel="tokens per request and forward",
        ylim=(0.95, None),
        xlim=(0, None),
    )
    by_position.xaxis.set_major_formatter(NUMBERS)
    if not by_position.lines:
        words = "no drafts, or simulated without a log"
        by_position.text(0.5, 0.5, words, ha="center", transform=by_position.transAxes)
    for axes in (by_step, by_position):
        axes.set_ylim(0.95, max(1.5, axes.get_ylim()[1]))
    handles, labels = by_step.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return figure


def acceptance_by_position(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """(middle of the bin in output tokens, acceptance length); bins of fewer than FEW forwards left
    out, and nothing for a policy that never drafts.
    """
    width = max(len(s.positions) for s in result.steps)
    sums = np.zeros((width, 3), np.int64)
    for s in result.steps:
        sums[: len(s.positions)] += s.positions
    enough = sums[:, 0] >= FEW
    middle = (np.arange(width) + 0.5) * POSITION_BIN
    return middle[enough], 1 + sums[enough, 2] / sums[enough, 0]


def survival(lengths: Lengths, caption: str) -> Figure:
    """Share of rollouts at least x tokens long, all RL steps together and each alone."""
    figure, (axes,) = new_figure("How long the rollouts are", caption, width=9)
    for step in np.unique(lengths.rl_step):
        axes.plot(
            *survival_curve(lengths.output_len[lengths.rl_step == step]),
            color="#bbbbbb",
            linewidth=0.8,
            drawstyle="steps-pre",
        )
    x, share = survival_curve(lengths.output_len)
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
        style: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 10}
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
    _legend(axes, None)
    return figure


def survival_curve(output_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, P(length >= x)) at every length that occurs, ascending."""
    values, counts = np.unique(output_len, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    return values, at_least / len(output_len)


def wasted(results: Results, caption: str) -> Figure:
    """Share of drafted tokens that were rejected, and how many were drafted per output token."""
    drafting = {k: r for k, r in results.items() if r.total("draft_tokens")}
    figure, (share, volume) = new_figure(
        "Drafted for nothing",
        caption,
        width=10,
        height=1.8 + 0.42 * max(len(drafting), 2),
        panels=2,
    )
    names = list(drafting)
    rejected = [1 - r.total("accepted_tokens") / r.total("draft_tokens") for r in drafting.values()]
    per_token = [r.total("draft_tokens") / r.total("output_tokens") for r in drafting.values()]
    for axes, values, text in ((share, rejected, "{:.0%}"), (volume, per_token, "{:.2f}")):
        bars = axes.barh(
            names, values, color=[look(list(results).index(n))["color"] for n in names]
        )
        axes.bar_label(bars, [text.format(v) for v in values], padding=3, fontsize=9)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    share.set(xlabel="share of drafted tokens rejected", xlim=(0, 1.1))
    share.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
    volume.set(xlabel="draft tokens per output token", xlim=(0, 1.2 * max(per_token, default=1)))
    volume.set_yticklabels([])
    return figure


def _legend(axes: Axes, title: str | None) -> None:
    """Beside the data, never on it."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        title=title,
        loc="outside right upper",
        fontsize=8,
        title_fontsize=8,
        alignment="left",
    )
