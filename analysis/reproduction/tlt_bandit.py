"""TLT: which number of tokens to verify its static table and its bandit choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...policies.budgets.beg_mab import BegMab
from ..claim import Claim, exactly
from ..page import Part, Picture, Section, Table
from ..style import COLOURS, new_figure
from .lab import EQUAL, Lab, rate_of
from .tlt_grid import Grid

RELEASED = BegMab()
ARMS = (16, 32, 48, 64)  # tokens to verify: the rows of Table 4
BANDITS = {form: f"beg_mab:form={form},arms=1:{'-'.join(map(str, ARMS))}"
           for form in ("printed", "released")}  # fmt: skip
LEARN = 4096  # tokens of each request while the bandit learns at one batch size


def bandit_part(
    lab: Lab, setting: Mapping[str, Any], theirs: Grid, ours: Grid, context: int
) -> Part:
    """theirs, ours: Table 4; setting: latency, and drafter with trees of the most tokens."""
    static = static_choices(theirs, ours)
    learnt = learn(lab, theirs.batches, context, setting)
    return Part(bandit_claims(static, learnt), [static_section(static), bandit_section(learnt)])


def bandit_claims(static: pd.DataFrame, learnt: pd.DataFrame) -> list[Claim]:
    """What the static table and the bandit do."""
    return [
        Claim("At batches of 2 and 4 the released static table verifies fewer tokens than is best "
              "(how many of the two)", "released configuration", exactly(2),
              conservative(static, "their"), conservative(static, "our"), "{:.0f}"),
        Claim("The bandit settles on the fastest size (batch sizes, both forms)", "BEG-MAB",
              exactly(len(learnt)), None, float((learnt.most == learnt.best).sum()),
              "{:.0f}", "where it pulls another size most, that size is at most "
              f"{missed(learnt):.1%} slower than the fastest"),
    ]  # fmt: skip


def static_choices(theirs: Grid, ours: Grid) -> pd.DataFrame:
    """By batch size: what the released table picks, what is best, and what is lost by picking it.

    A size that Table 4 does not have loses an unknown amount.
    """
    rows = []
    for batch in theirs.batches:
        (picked,) = [arms for start, arms in RELEASED.buckets if start <= batch][-1]
        row: dict[str, float] = {"batch": batch, "static": picked}
        for who, grid in (("their", theirs), ("our", ours)):
            best, known = grid.best(batch), picked in grid.verify
            row[f"{who}_best"] = best
            row[f"{who}_loss"] = (
                1 - grid.at(picked, batch) / grid.at(best, batch) if known else np.nan
            )
        rows.append(row)
    return pd.DataFrame(rows)


def conservative(static: pd.DataFrame, who: str) -> int:
    """At how many of the batch sizes 2 and 4 the table's pick is below the best."""
    few = static[static.batch.isin([2, 4])]
    return int((few.static < few[f"{who}_best"]).sum())


def missed(learnt: pd.DataFrame) -> float:
    """How much slower the size that the bandit pulls most is than the fastest, at worst."""
    return float(max(1 - row[f"rate_{row['most']}"] / row[f"rate_{row['best']}"]
                     for row in learnt.to_dict("records")))  # fmt: skip


def static_section(static: pd.DataFrame) -> Section:
    """The released table beside the best of each."""
    shown = static.copy()
    shown.columns = pd.Index(
        ["batch", "released table", "best of theirs", "loses", "best of ours", "loses here"]
    )
    text = (
        "As released (BEG with one arm per bucket, `beg_mab` by default) the number to verify "
        f"depends on the batch size alone: {table_words(RELEASED.buckets)}. Beside it the best of "
        "Table 4, theirs and ours, and how much speed the table's pick loses against it, where "
        "Table 4 has that number."
    )
    forms = {"loses": "{:.1%}", "loses here": "{:.1%}"}
    return Section(
        "The static table", text, [Table("static", "Tokens to verify", static, shown, forms)]
    )


def table_words(buckets: Sequence[tuple[int, Sequence[int]]]) -> str:
    """`48 from 1 request on, …`: a static table for people."""
    return ", ".join(f"{arms[0]} from {start} on" for start, arms in buckets)


def learn(
    lab: Lab, batches: Sequence[int], context: int, setting: Mapping[str, Any]
) -> pd.DataFrame:
    """The bandit with all arms in one bucket, at each batch size alone: a row per form and batch.

    share_16 …: of the forwards in the second half, how many pulled that arm; rate_16 …: its tokens
    per second when pulled always; regret: the best of these over the bandit's, minus 1.
    """
    rows = []
    for batch in batches:
        fixed = {
            v: lab.rate(batch, context, LEARN, budget=f"fixed:k={v - 1}", **setting) for v in ARMS
        }
        for form, budget in BANDITS.items():
            log = lab.log(batch, context, LEARN, budget=budget, **setting)
            late = arms_pulled(log[log.begin_s > log.begin_s.max() / 2])
            shares = {f"share_{v}": float((late == v).mean()) for v in ARMS}
            rows.append(
                {"form": form, "batch": batch, **shares,
                 "most": max(ARMS, key=lambda v: shares[f"share_{v}"]),
                 "best": max(fixed, key=lambda v: fixed[v]),
                 "regret": max(fixed.values()) / rate_of(log) - 1,
                 **{f"rate_{v}": rate for v, rate in fixed.items()}}
            )  # fmt: skip
    return pd.DataFrame(rows)


def arms_pulled(log: pd.DataFrame) -> np.ndarray:
    """int64[forwards that drafted]: tokens to verify per request, the root included."""
    drafting = log[log.drafted > 0]
    drafted, requests = drafting.drafted.to_numpy(), drafting.requests.to_numpy()
    return 1 + np.rint(drafted / requests).astype(int)


def bandit_section(learnt: pd.DataFrame) -> Section:
    """What it chose at each batch size."""
    shown = learnt.drop(columns=[f"rate_{v}" for v in ARMS])
    columns = {"most": "pulled most", "best": "fastest arm", "regret": "regret"}
    columns |= {f"share_{v}": f"{v}" for v in ARMS}
    forms = {f"{v}": "{:.0%}" for v in ARMS} | {"regret": "{:.1%}"}
    return Section(
        "What the bandit learns",
        f"BEG with all of {', '.join(map(str, ARMS))} in one bucket, epsilon {RELEASED.epsilon:g} "
        f"and a window of {RELEASED.window}, as printed and as released, beginning with nothing at "
        f"each batch size: equal requests, {EQUAL} over the batch size engines of them, each with "
        "a bandit of its own. The columns of sizes: share of the forwards in the second half in "
        "which it was verified. Regret: against always using the fastest size. As printed, "
        "rewards are kept over all batch sizes together; here each batch size is alone, so that "
        "this does not show.",
        [Table("bandit", "Sizes chosen", learnt, shown.rename(columns=columns), forms)],
        [Picture("bandit", "Sizes that the bandit chose", lambda: draw_bandit(learnt))],
    )


def draw_bandit(learnt: pd.DataFrame) -> Figure:
    """Stacked shares by batch size, one panel per form."""
    figure, panels = new_figure(
        "Tokens to verify that TLT's bandit chose, second half of its forwards",
        f"simulated, equal requests; epsilon {RELEASED.epsilon:g}, so that each other size is "
        f"tried in {RELEASED.epsilon / len(ARMS):.1%} of the forwards; crosses: the fastest size",
        width=10, panels=2, height=4,
    )  # fmt: skip
    for axes, form in zip(panels, BANDITS, strict=True):
        rows = learnt[learnt.form == form]
        x, bottom = np.arange(len(rows)), np.zeros(len(rows))
        for i, verify in enumerate(ARMS):
            share = rows[f"share_{verify}"].to_numpy()
            axes.bar(x, share, bottom=bottom, color=COLOURS[i + 1], label=f"{verify} tokens")
            middle = bottom + share / 2
            right = (rows.best == verify).to_numpy()
            axes.plot(x[right], middle[right], "P", color="white", markersize=8)
            bottom += share
        axes.grid(axis="x", visible=False)
        axes.set_xticks(x, [str(b) for b in rows.batch])
        axes.set(title=f"as {form}", xlabel="requests at once", ylim=(0, 1))
    panels[0].set_ylabel("share of forwards")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
