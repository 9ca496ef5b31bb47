"""Makespan against the budget, from a sweep's table."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..policies.components import BUDGETS, DRAFTERS
from ..policies.registry import brief
from .configurations import CONFIGURATION, POLICY, best_setting, rank
from .figures import legend
from .report.words import short
from .style import look, new_figure

FIXED = re.compile(r"fixed:k=(\d+)$")


def makespan_by_budget(table: pd.DataFrame, caption: str) -> Figure:
    """Makespan over draft tokens per request and forward, one line per drafter; other budgets and
    the bounds as levels on the right. Of several settings (latency, placement, limits) the best.
    """
    latencies = table.latency.unique()
    if len(latencies) == 1:
        caption += f"; latency {short('latency', latencies[0])}"
    ranked = rank(table)
    settings = ranked.drop_duplicates([key for key in CONFIGURATION if key not in POLICY])
    if len(settings) > 1:
        varied = [c for c in CONFIGURATION if c not in POLICY and settings[c].nunique(False) > 1]
        chosen = ", ".join(f"{c}={_named(c, ranked.iloc[0][c])}" for c in varied)
        caption += f"; the best of {len(settings)} settings: {chosen}"
    points = best_setting(ranked).sort_index()
    points["k"] = [int(m[1]) if (m := FIXED.match(b)) else None for b in points.budget]
    figure, (axes,) = new_figure("Makespan against the draft budget", caption, width=9)
    plain = points[points.drafter == "none"]
    ticks = sorted({int(k) for k in points.k.dropna()} | {0})
    others = [b for b in points.budget.unique() if not FIXED.match(b)]
    place: dict[Any, int] = {k: i for i, k in enumerate(ticks)}
    names = [str(k) for k in ticks]
    for budget in [*others, "clairvoyant"]:
        place[budget] = len(place)
        names.append(
            "clair-\nvoyant"
            if budget == "clairvoyant"
            else brief(BUDGETS.make(budget)).replace(":", ":\n").replace(",", ",\n")
        )
    for i, (drafter, mine) in enumerate(
        points[points.drafter != "none"].groupby("drafter", sort=False)
    ):
        fixed = mine.dropna(subset="k").sort_values("k")
        x = [place[int(k)] for k in fixed.k]
        y = list(fixed.makespan_s)
        if len(plain) and 0 not in set(fixed.k.astype(int)):
            x, y = [place[0], *x], [plain.makespan_s.iloc[0], *y]
        style = look(i + 1, markers=True)
        axes.plot(x, y, label=brief(DRAFTERS.make(str(drafter))), **style)
        style["linestyle"] = "none"
        single = mine[mine.k.isna()]
        axes.plot([place[b] for b in single.budget], single.makespan_s, **style)
        axes.plot(place["clairvoyant"], mine.clairvoyant_s.iloc[0], fillstyle="none", **style)
    if len(plain):
        axes.axhline(plain.makespan_s.iloc[0], color="#000000", linewidth=1, label="no speculation")
    if others:
        axes.axvline(len(ticks) - 0.5, color="#dddddd", linewidth=1)
    axes.set_xticks(list(place.values()), names, fontsize=9 if len(place) < 12 else 8)
    axes.set(
        xlabel="draft tokens per request and forward (fixed budgets), then other budgets",
        ylabel="makespan of all RL steps [s]",
        ylim=(0, None),
    )
    legend(axes, "drafter")
    return figure


def _named(key: str, value: Any) -> str:
    """A setting's value for people."""
    return "unlimited" if pd.isna(value) else short(key, value)
