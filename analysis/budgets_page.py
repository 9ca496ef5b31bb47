"""A study of budgets as a page: tables of regret, claims, and how ours bears being misled."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .budgets import NONE, OURS, PLACE, Study, hindsight
from .claim import Claim, Rule, at_least, at_most
from .page import Page, Picture, Section, Table
from .style import COLOURS, new_figure

TIE = 0.005  # makespans as good as equal
SMALL = ["latency", "at_once"]


def budgets_page(found: Study, command: str, captions: list[str]) -> Page:
    """The page `policies`."""
    cells = found.cells[found.cells.budget != NONE]
    first = found.drafters[0]
    sections = [_main(found, trace) for trace in found.captions]
    sections += [_summary(cells, "regret", 100.0, "Regret by drafter, %"),
                 _summary(cells, "wasted", 100.0, "Draft tokens in vain by drafter, %"),
                 _summary(cells, "speed_up", 1.0, "Speed-up by drafter")]  # fmt: skip
    if OURS in found.budgets:
        sections.append(_ours(cells))
    if len(found.misled):
        sections.append(_misled(found.misled))
    return Page(
        name="policies",
        title="Draft budgets compared",
        paper="Every budget with every drafter, simulated",
        command=command,
        setup="\n\n".join(
            [
                *(f"- {caption}" for caption in captions),
                f"Drafters: {', '.join(found.drafters)}. All requests of an RL step start together "
                "on one replica without limits; of each RL step but the first, as many are taken "
                "as the column says, in whole groups drawn at random, with all earlier RL steps as "
                "history. Drafters whose drafts depend on timing: the last RL step alone. Regret: "
                "makespan over that of the same drafter with no token drafted in vain, or without "
                "drafts if that is shorter. Where the latency has a knee that is no strict bound: "
                "draft tokens are free up to it. `best fixed` is the best length of each column "
                f"in hindsight. Tables of one drafter: {first}.",
            ]
        ),
        claims=_claims(found),
        sections=sections,
    )


def ranked(found: Study, trace: str, drafter: str) -> pd.DataFrame:
    """Regret by budget (rows, best median first) and latency and batch (columns)."""
    cells = pd.concat([found.cells, hindsight(found.cells)], ignore_index=True)
    mine = cells[(cells.trace == trace) & (cells.drafter == drafter)]
    columns = pd.MultiIndex.from_frame(mine[SMALL].drop_duplicates())
    table = mine.pivot(index="budget", columns=SMALL, values="regret")[columns]
    return table.loc[table.median(axis=1).sort_values(kind="stable").index]


def place_names(table: pd.DataFrame) -> list[str]:
    """Columns by latency and requests at once, for people."""
    return [f"{latency} x{count}" for latency, count in map(tuple, table.columns)]


def _main(found: Study, trace: str) -> Section:
    table = ranked(found, trace, found.drafters[0])
    shown = 100 * table
    shown.columns = place_names(shown)
    shown = shown.rename_axis("budget").reset_index()
    forms = dict.fromkeys(shown.columns[1:], "{:.1f}")
    name = f"regret-{trace.rpartition('.')[0] or trace}"
    return Section(
        f"Regret, {trace}",
        "By budget, the best median first; `x16` is 16 requests at once.",
        [Table(name, "Regret, %", shown, forms=forms)],
        [Picture(name, f"Regret by budget, {trace}", lambda: regrets(found, trace))],
    )


def regrets(found: Study, trace: str) -> Figure:
    """Each budget's regret at every latency and batch, budgets by their median."""
    table = 100 * ranked(found, trace, found.drafters[0]).drop(index=NONE)
    caption = f"{trace}; {found.drafters[0]}; a dot is a latency and a batch"
    height = 1.6 + 0.24 * len(table)
    figure, (axes,) = new_figure("Regret by budget", caption, width=8, height=height)
    latencies = list(dict.fromkeys(table.columns.get_level_values(0)))
    for i, latency in enumerate(latencies):
        part = table[latency]
        for j, count in enumerate(part.columns):
            axes.scatter(
                part[count].clip(lower=0.1), range(len(table)), s=14 + 16 * j, alpha=0.75,
                color=COLOURS[1 + i], label=latency if j == 0 else None, linewidths=0,
            )  # fmt: skip
    axes.plot(table.median(axis=1).clip(lower=0.1), range(len(table)), "k|", markersize=12)
    axes.set_yticks(range(len(table)), table.index, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("regret, % (larger dots: more requests; line: median)")
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="upper right", fontsize=8, ncols=len(latencies))
    return figure


def _summary(cells: pd.DataFrame, value: str, unit: float, title: str) -> Section:
    """Medians over traces, latencies and batches."""
    table = unit * cells.pivot_table(index="budget", columns="drafter", values=value, sort=False,
                                     aggfunc="median")  # fmt: skip
    order = table.median(axis=1).sort_values(kind="stable", ascending=value != "speed_up").index
    shown = table.loc[order]
    shown = shown.rename_axis("budget").reset_index()
    form = "{:.2f}" if unit == 1.0 else "{:.1f}"
    return Section(
        title,
        "Medians over traces, latencies and batches.",
        [
            Table(
                value.replace("_", "-"), title, shown, forms=dict.fromkeys(shown.columns[1:], form)
            )
        ],
    )


def against_published(cells: pd.DataFrame) -> pd.DataFrame:
    """OURS beside the best of all others, by place: regrets, and the ratio of makespans."""
    theirs = cells[cells.budget != OURS]
    best = theirs.loc[theirs.groupby(PLACE).makespan_s.idxmin()].set_index(PLACE)
    ours = cells[cells.budget == OURS].set_index(PLACE)
    table = pd.DataFrame(
        {
            "best_other": best.budget,
            "their_regret": best.regret,
            "our_regret": ours.regret,
            "ratio": ours.makespan_s / best.makespan_s,
        }
    )
    return table.dropna().reset_index()


def _ours(cells: pd.DataFrame) -> Section:
    table = against_published(cells)
    worse = table[table.ratio > 1 + TIE].sort_values("ratio", ascending=False)
    words = []
    for drafter, mine in table.groupby("drafter", sort=False):
        half = mine.our_regret <= mine.their_regret / 2
        words.append(
            f"- {drafter}: as short as the best other one's or shorter "
            f"(within {TIE:.1%}) in {int((mine.ratio <= 1 + TIE).sum())} of {len(mine)} cells, at "
            f"most half its regret in {int(half.sum())}; regret {mine.our_regret.median():.1%} in "
            f"the median and {mine.our_regret.max():.1%} at worst, where the best other one of "
            f"each cell has {mine.their_regret.median():.1%} and {mine.their_regret.max():.1%}."
        )
    shown = worse.head(20)[[*PLACE, "best_other", "their_regret", "our_regret", "ratio"]]
    forms = {"their_regret": "{:.1%}", "our_regret": "{:.1%}", "ratio": "{:.3f}"}
    return Section(
        "`tail` beside the best of all others",
        "Every cell's best other budget is picked in hindsight, fixed lengths included.\n\n"
        + "\n".join(words),
        [Table("tail", "Where it is more than a tie longer (the 20 worst)", worse, shown, forms)],
    )


def _misled(misled: pd.DataFrame) -> Section:
    table = misled.assign(over_none=misled.makespan_s / misled.none_s - 1)
    grouped = table.groupby("about", sort=False)
    shown = pd.DataFrame(
        {
            "told wrongly": list(grouped.groups),
            "median regret": grouped.regret.median().to_numpy(),
            "worst regret": grouped.regret.max().to_numpy(),
            "worst over no drafts": grouped.over_none.max().to_numpy(),
        }
    )
    forms = dict.fromkeys(shown.columns[1:], "{:.1%}")
    return Section(
        "`tail` misled",
        "What it is told of chances, lengths or latency is wrong; all cells of the first drafter. "
        "The last column is its makespan over that without drafts, in the worst cell.",
        [Table("misled", "Regret where it is misled", table, shown, forms)],
    )


def _claims(found: Study) -> list[Claim]:
    cells = found.cells
    claims = []

    def shares(budget: str, other: str) -> pd.Series | None:
        """Makespans of `budget` over `other`'s, by place, all drafters."""
        both = cells.pivot(index=PLACE, columns="budget", values="makespan_s")
        if budget not in both or other not in both:
            return None
        return both[budget] / both[other]

    against = shares("das", "unlimited")
    if against is not None:
        claims += [
            Claim("DAS's budgets beat unlimited drafts by up to 15 %", "DAS, Fig. 12",
                  at_least(0.15, "{:.0%}"), 0.18, 1 - against.min(), "{:.0%}"),
            Claim("and in most cells", "DAS, §5.3 (its one setting)", at_least(0.5, "{:.0%}"),
                  None, (against < 1).mean(), "{:.0%}",
                  "its plan fixes lifetime totals for lengths known in advance"),
        ]  # fmt: skip
    gated = shares("classes:active=32", "classes")
    if gated is not None:
        claims.append(
            Claim("gating DAS on occupancy is a net loss", "independent replication",
                  at_least(1.0, "{:.2f}"), None, gated.median(), "{:.2f}",
                  "the median of makespans with the gate over those without; drafts in large "
                  "batches cost more here than they save"),
        )  # fmt: skip
    switched = shares("threshold", "threshold:switch=free")
    if switched is not None:
        claims.append(
            Claim("switching speculation on late costs next to nothing", "TLT (re-prefill)",
                  at_most(1.02, "{:.3f}"), None, switched.median(), "{:.3f}",
                  "every live request is prefilled once more"),
        )  # fmt: skip
    learned = cells[
        cells.drafter.str.startswith("learned:table=nemo") & (cells.budget == "unlimited")
    ]
    if len(learned):
        large = learned[learned.at_once == learned.at_once.max()]
        claims.append(
            Claim("EAGLE-3 with 5 tokens accepted can be slower than none", "NeMo-RL, 2604.26779",
                  Rule("below 1", high=1.0), 0.75, float(large.speed_up.min()), "{:.2f}",
                  "what a draft model's step takes is assumed here"),
        )  # fmt: skip
    if OURS in found.budgets:
        table = against_published(cells[cells.budget != NONE])
        mine = table[table.drafter == found.drafters[0]]
        claims += [
            Claim("`tail` is as short as the best other one, or shorter", "here, first drafter",
                  at_least(1.0, "{:.0%}"), None, (mine.ratio <= 1 + TIE).mean(), "{:.0%}",
                  "share of cells; where it is not: below"),
            Claim("`tail` has at most half the regret of the best other one", "here, first drafter",
                  at_least(1.0, "{:.0%}"), None,
                  (mine.our_regret <= mine.their_regret / 2).mean(), "{:.0%}",
                  "share of cells; the best other one is picked in hindsight in each cell"),
        ]  # fmt: skip
    return claims
