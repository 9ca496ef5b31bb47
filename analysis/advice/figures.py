"""The pictures of an advice: speed-ups with their intervals, and what else would change them."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

from ..plots import write_figure
from ..show import caption
from ..style import COLOURS, MARKERS, new_figure
from .advise import Advice
from .choices import VLLM, Choice
from .words import conditions

LONG = 48  # characters of a name


def draw_advice(advice: Advice, folder: Path) -> list[Path]:
    """speed_up and, where anything could be varied, sensitivity, as PNG and SVG; the paths.

    Raises TraceError.
    """
    paths = write_figure(lambda: speed_ups(advice), folder, "speed_up")
    if advice.sensitivity.cases:
        paths += write_figure(lambda: sensitivities(advice), folder, "sensitivity")
    return paths


def speed_ups(advice: Advice) -> Figure:
    """Each finalist's speed-up over no speculation with its interval, the fastest on top."""
    found = advice.measured
    order = sorted(range(len(found.choices)), key=lambda i: found.total_s[i])
    figure, (axes,) = new_figure(
        "Expected speed-up over no speculation",
        f"{_about(advice)}; bars: intervals of 95 % over prompts and RL steps",
        width=9, height=1.7 + 0.3 * len(order),
    )  # fmt: skip
    kinds: dict[str, int] = {"no speculation": 0, "vLLM by itself": 2, "longtail's plug-in": 1}
    shown = set()
    for y, i in enumerate(order):
        choice, ratio = found.choices[i], advice.speed_up(i)
        kind = _kind(choice)
        colour = COLOURS[kinds[kind]]
        if math.isfinite(ratio.high):
            axes.plot([ratio.low, ratio.high], [y, y], color=colour, linewidth=2)
        axes.plot(
            ratio.value, y, MARKERS[kinds[kind]], color=colour, markersize=7,
            label=None if kind in shown else kind,
        )  # fmt: skip
        shown.add(kind)
    axes.axvline(1, color="#555555", linewidth=1)
    axes.set_yticks(range(len(order)), [_short(found.choices[i].name) for i in order], fontsize=8)
    best = order.index(advice.verdict.recommended)
    axes.get_yticklabels()[best].set_fontweight("bold")
    axes.axhspan(best - 0.45, best + 0.45, color="#fff3cd", zorder=0)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlabel("times as fast as no speculation (bold: recommended)")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def sensitivities(advice: Advice) -> Figure:
    """The speed-up of a few choices with one thing otherwise; a ring where another is better."""
    tested = advice.sensitivity
    rows = [("as recorded and told", tested.seconds, tested.recommended)]
    rows += [(case.words, case.seconds, case.best) for case in tested.cases]
    figure, (axes,) = new_figure(
        "Speed-up over no speculation, with one thing otherwise",
        f"{_about(advice)}; on {len(tested.steps)} RL step{'s' * (len(tested.steps) > 1)} and "
        f"{tested.prompts:,} prompts; ring: what would then be recommended instead; between the "
        "ends of a range only where an end changes that",
        width=10, height=2.3 + 0.24 * len(rows),
    )  # fmt: skip
    ys = range(len(rows))
    names = ["", *(case.dial.name for case in tested.cases)]
    groups = [[y for y in ys if names[y] == name] for name in dict.fromkeys(names)]
    for j, choice in enumerate(tested.choices):
        values = [seconds[0] / seconds[j] for _, seconds, _ in rows]
        mine = j == tested.recommended
        axes.plot(
            values, ys, MARKERS[j], color=COLOURS[j], markersize=6 if mine else 4.5,
            zorder=3 if mine else 2, label=_short(choice.name) + (" (recommended)" if mine else ""),
        )  # fmt: skip
        for some in groups if mine else ():
            axes.plot([values[y] for y in some], some, color=COLOURS[j], linewidth=1.4)
        other = [y for y in ys if rows[y][2] == j and j != tested.recommended]
        axes.plot(
            [values[y] for y in other], other, "o", markersize=12, color=COLOURS[j],
            fillstyle="none", zorder=4,
        )  # fmt: skip
    axes.axvline(1, color="#555555", linewidth=1)
    axes.set_yticks(ys, [words.removeprefix("with ") for words, _, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    for some in groups[1:]:
        axes.axhline(some[0] - 0.5, color="#bbbbbb", linewidth=0.6)
    axes.set_xlabel("times as fast as no speculation")
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1), ncols=2, fontsize=8)
    return figure


def _about(advice: Advice) -> str:
    return f"{caption(advice.load)}; {conditions(advice)}"


def _kind(choice: Choice) -> str:
    if not choice.speculates:
        return "no speculation"
    return "vLLM by itself" if choice.engine == VLLM else "longtail's plug-in"


def _short(name: str) -> str:
    return name if len(name) <= LONG else f"{name[: LONG - 1]}…"
