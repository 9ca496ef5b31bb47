"""DAS: how its savings and ours are shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..page import Picture, Section, Table
from ..style import look, new_figure
from .das_savings import (
    CODE,
    FIGURES,
    HALF,
    LATENCY,
    MATH,
    POLICIES,
    SIZES,
    VISIBLE,
    Savings,
    near_size,
    published_saving,
)
from .lab import Lab
from .published import published


def theirs_section(savings: Savings) -> Section:
    """What their own curves say."""
    theirs, unlimited = savings.theirs, savings.unlimited
    math = theirs[theirs.figure == "das_fig10"].iloc[0]
    pair = unlimited["mean_saving"]
    forms = {"VeRL s": "{:.1f}", "DAS s": "{:.1f}", "saving": "{:.1%}",
             "saving of all drawn": "{:.1%}"}  # fmt: skip
    return Section(
        "Fig. 10 to 13: claimed and plotted",
        f"Means over the RL steps that are drawn of both. In Fig. 10, {math['steps above 50 %']} "
        f"of {math['steps']} RL steps save more than half, and {math.saving:.1%} are saved on "
        f"average; the curves go on beyond the axis, and with these steps it is "
        f"{math['saving of all drawn']:.1%} (why the later ones are slower is not known). Fig. 12: "
        f"DAS saves {pair[('das', 'verl')]:.1%} and an unlimited budget "
        f"{pair[('unlimited', 'verl')]:.1%}.",
        [Table("published", "Seconds of an RL step's rollouts, theirs", theirs, None, forms)],
    )


def ours_section(lab: Lab, savings: Savings) -> Section:
    """Savings by number of requests and cap, and per RL step."""
    ours, steps, half = savings.ours, savings.steps, savings.half
    shown = ours.copy()
    shown["cap"] = [f"{cap:,}" if cap else "the trace's" for cap in ours["cap"]]
    columns = [
        "requests",
        "cap",
        *POLICIES,
        "clairvoyant",
        "das over unlimited",
        "steps above 50 %",
        "of",
    ]
    forms = dict.fromkeys([*POLICIES, "clairvoyant", "das over unlimited"], "{:.1%}")
    batch = near_size(MATH, ours.requests.tolist()) or int(ours.requests.max())
    count, drawn = len(lab.judged), steps_drawn(steps, batch)
    return Section(
        "Our savings",
        f"{count} RL steps of the trace, each with all earlier ones as history, against no "
        f"speculation; so many requests at once (the first prompts of each RL step), and with "
        f"rollouts cut at {half:,} tokens, half the cap. The columns of policies are time saved: "
        "`das`: drafter and budget; `unlimited`: the same drafter, as many tokens as it wants; "
        "`suffix, das`: drafter `suffix:scope=both`; `classes`: the independent replication's "
        "24/8/0; `clairvoyant`: the same drafter without a token drafted in vain. `das over "
        "unlimited`: time that the one saves over the other, negative where "
        "unlimited is faster.",
        [
            Table("savings", "Time saved over no speculation", ours, shown[columns], forms),
            Table("steps", "Seconds by RL step", steps,
                  steps[(steps.requests == batch) & (steps["cap"] == 0)][
                      ["requests", "rl_step", "none", *POLICIES]
                  ], dict.fromkeys(["none", *POLICIES], "{:.2f}")),
        ],
        [
            Picture("steps", "Seconds per RL step", lambda: draw_steps(lab, drawn, batch), drawn),
            Picture("savings", "Savings by batch size", lambda: draw_savings(lab, ours, half)),
        ],
    )  # fmt: skip


def steps_drawn(steps: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Columns setting, rl_step, policy, seconds: their Fig. 10 and 11, and ours at a batch size."""
    shown = steps[(steps.requests == batch) & (steps["cap"] == 0)]
    tables = {
        f"theirs: {FIGURES[name]}": published(name).frame.rename(
            columns={"verl_seconds": "VeRL", "das_seconds": "DAS"}
        )
        for name in ("das_fig10", "das_fig11")
    }
    names = {"das": "DAS", "unlimited": "unlimited budget"}
    tables[f"ours: {batch} requests"] = shown[["rl_step", "none", *names]].rename(columns=names)
    return pd.concat(
        table.melt("rl_step", var_name="policy", value_name="seconds").assign(setting=setting)
        for setting, table in tables.items()
    )[["setting", "rl_step", "policy", "seconds"]]


def draw_steps(lab: Lab, drawn: pd.DataFrame, batch: int) -> Figure:
    """Their Fig. 10 and 11 beside ours."""
    figure, panels = new_figure(
        "Seconds of an RL step's rollouts, without speculation and with DAS",
        f"DAS Fig. 10 and 11, digitized from vector paths; ours: {batch} requests at once, "
        f"{lab.caption}; {LATENCY} (prior)",
        width=12, panels=3, height=4.2,
    )  # fmt: skip
    for axes, (setting, mine) in zip(panels, drawn.groupby("setting", sort=False), strict=True):
        for i, (policy, line) in enumerate(mine.groupby("policy", sort=False)):
            style = look(i, markers=len(line) < 20)
            axes.plot(line.rl_step, line.seconds, label=policy, **style)
        axes.set(xlabel="RL step", ylim=(0, None), title=setting)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(fontsize=8, loc="lower left")
    panels[0].axvline(VISIBLE, color="#888888", linewidth=1)
    panels[0].annotate("their axis ends", (VISIBLE, 0), xytext=(-3, 4), textcoords="offset points",
                       fontsize=8, color="#555555", ha="right")  # fmt: skip
    panels[0].set_ylabel("seconds")
    return figure


def draw_savings(lab: Lab, ours: pd.DataFrame, half: int) -> Figure:
    """By number of requests, with the whole cap and half of it; theirs as marks."""
    figure, panels = new_figure(
        "Time saved over no speculation, by requests at once",
        f"lines: ours, {lab.caption}; {LATENCY} (prior); stars: DAS, by its figures",
        width=10, panels=2,
    )  # fmt: skip
    marks = {0: (("das_fig10", MATH), ("das_fig11", CODE), ("das_fig13_batch", HALF)),
             half: (("das_fig13_cap", CODE),)}  # fmt: skip
    for axes, cap in zip(panels, (0, half), strict=True):
        rows = ours[ours["cap"] == cap]
        for i, name in enumerate(("das", "unlimited", "classes 24/8/0")):
            axes.plot(rows.requests, rows[name], label=name, **look(i + 1, markers=True))
        theirs = [(n, published_saving(name)["saving"]) for name, n in marks[cap]]
        axes.plot(*np.array(theirs, float).T, "*", color="#000000", markersize=11, label="theirs")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(SIZES), [str(n) for n in SIZES], minor=False)
        axes.set(xlabel="requests at once", xlim=(13, 600),
                 title=f"rollouts cut at {cap:,} tokens" if cap else "whole rollouts")  # fmt: skip
        axes.axhline(0, color="#888888", linewidth=1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    low = min(0.0, float(ours[list(POLICIES)].min().min())) - 0.05
    for axes in panels:
        axes.set_ylim(low, 1)
    panels[0].set_ylabel("time saved")
    panels[0].legend(fontsize=8, loc="upper right")
    return figure
