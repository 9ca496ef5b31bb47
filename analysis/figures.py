"""The pictures of a comparison: one function each, results in, a matplotlib Figure out.

`results` maps a policy's label to its Result, all over the same RL steps; `caption` says which
trace and under what. Seconds are simulated seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ..sim.simulate import Result
from ..sim.state import POSITION_BIN
from ..sim.step import StepResult
from ..traces.rollouts import Lengths
from .style import COLOURS, look, new_figure

Results = Mapping[str, Result]
FEW = 200  # decode forwards below which a bin of positions is not drawn


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
        axes.axhline(0.1 * count, color="#888888", linewidth=0.8)
        axes.set(
            xlabel="seconds since the RL step began",
            ylabel="requests not yet finished",
            xlim=(0, None),
        )
    whole.annotate(
        "90 % done: the tail begins",
        (0.01, 0.1 * count),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=8,
        color="#555555",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    )
    whole.set(ylim=(0, None), title="all of it")
    tail.set(yscale="log", ylim=(0.8, None), title="the tail (logarithmic)")
    tail.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, "policy, all RL steps")
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
    by_step.set(xlabel="RL step", ylabel="tokens per forward", ylim=(0.95, None))
    by_step.set_title("by RL step")
    by_position.set_title("by position in the rollout")
    by_step.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_position.set(
        xlabel="position in the rollout [output tokens]",
        ylabel="tokens per forward",
        ylim=(0.95, None),
        xlim=(0, None),
    )
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
    figure, (axes,) = new_figure("How long the rollouts are", caption)
    for step in np.unique(lengths.rl_step):
        axes.plot(
            *survival_curve(lengths.output_len[lengths.rl_step == step]),
            color="#bbbbbb",
            linewidth=0.8,
            drawstyle="steps-pre",
        )
    axes.plot([], [], color="#bbbbbb", linewidth=0.8, label="each RL step")
    axes.plot(
        *survival_curve(lengths.output_len),
        color=COLOURS[1],
        drawstyle="steps-pre",
        label="all RL steps",
    )
    for q, name in ((0.5, "median"), (0.9, "p90"), (0.99, "p99")):
        x = float(np.quantile(lengths.output_len, q))
        share = float((lengths.output_len >= x).mean())
        axes.plot(x, share, "o", color=COLOURS[4], markersize=5)
        if x < lengths.output_len.max():
            axes.annotate(
                f"{name} {x:,.0f}",
                (x, share),
                xytext=(-8, -4),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=9,
            )
    longest = int(lengths.output_len.max())
    axes.axvline(longest, color="#888888", linewidth=0.8)
    cut = int(lengths.capped.sum())
    words = f"longest {longest:,}" + (
        f"\n{cut:,} cut by length ({cut / len(lengths):.1%})" if cut else ""
    )
    axes.annotate(
        words,
        (longest, 1),
        xytext=(-6, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color="#555555",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="output length x [tokens]",
        ylabel="share of rollouts at least x long",
        ylim=(0.4 * float((lengths.output_len == longest).mean()), 1.3),
    )
    _plain_numbers(axes)
    axes.legend(loc="lower left", fontsize=9)
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


def _legend(axes: Axes, title: str) -> None:
    """Beside the data, never on it."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        title=title,
        loc="outside right upper",
        fontsize=8,
        title_fontsize=8,
        alignment="left",
    )


def _plain_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:.0%}" if v >= 0.01 else f"{v:.2%}")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
