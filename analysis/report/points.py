"""Simulated points, a row per configuration and RL step: ranked, drawn and checked.

Tables of `sweep` and objects of `simulate --json` both come to this form (sim/sweep.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...sim.sweep import STEP_FIELDS
from .. import configurations, figures
from ..configurations import CONFIGURATION, best_setting, digest
from ..show import table_caption, times
from .page import Facts, Figure, Table, Text
from .picture import draw
from .words import policy, short

GIVEN = ["trace", *CONFIGURATION]
KEYS = ["rl_steps", *GIVEN]
COUNTS = ["max_num_seqs", "max_num_batched_tokens", "kv_tokens", "block_size", "replicas"]
LIMITS = COUNTS[:3]
COLUMNS = {*GIVEN, "origin", "rl_step", "clairvoyant_s", *STEP_FIELDS}
FORMS = {
    "makespan_s": "{:,.2f}", "tail_s": "{:,.2f}", "clairvoyant_s": "{:,.2f}", "wasted": "{:.1%}",
    "perfect_s": "{:,.2f}", "speed_up": "{:.2f}x", "regret": "{:.1%}",
}  # fmt: skip
DRAWN = 6  # policies, and no speculation, RL step by RL step


def settle(points: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, and which RL steps a configuration was simulated on, which decides with
    what it may be compared. Raises ValueError or KeyError for another table.
    """
    numbers = [*STEP_FIELDS, "rl_step", "clairvoyant_s"]
    made = {name: pd.to_numeric(points[name]) for name in numbers}
    if not all(np.isfinite(column.to_numpy(float)).all() for column in made.values()):
        raise ValueError("a result that is no finite number")
    made |= {name: pd.to_numeric(points[name]).astype("Int64") for name in COUNTS}
    made |= {name: points[name].astype(str) for name in ("origin", *GIVEN) if name not in COUNTS}
    points = points.assign(**made)
    steps = points.rl_step.groupby(digest(points, GIVEN)).transform(lambda each: _ranges(each))
    return points.assign(rl_steps=steps)


def _ranges(steps: pd.Series) -> str:
    """Whole numbers in few words: 0, 2–5."""
    told: list[list[int]] = []
    for step in sorted({int(step) for step in steps}):
        if told and step == told[-1][-1] + 1:
            told[-1][1:] = [step]
        else:
            told.append([step])
    return ", ".join("–".join(map(str, run)) for run in told)


def rank(points: pd.DataFrame) -> pd.DataFrame:
    """Configurations with the most requests' RL steps first, of these the shortest makespan."""
    ranked = configurations.rank(points, KEYS)
    fewer = -ranked.groupby("rl_steps").requests.transform("max")
    ranked = ranked.assign(fewer=fewer).sort_values(["fewer", "rl_steps"], kind="stable")
    return ranked.drop(columns="fewer").reset_index(drop=True)


def named(ranked: pd.DataFrame) -> pd.DataFrame:
    """With components in brief, and limits that are the same for all as words."""
    kinds = [kind for kind in ("drafter", "budget", "placement", "latency") if kind in ranked]
    known = {(k, s): short(k, s) for k in kinds for s in set(map(str, ranked[k]))}
    made = ranked.assign(**{k: [known[k, str(s)] for s in ranked[k]] for k in kinds})
    if {"drafter", "budget"} <= set(made):
        made["budget"] = made.budget.where(made.drafter != "none", "")  # it means nothing there
    for name in COUNTS:
        if name in made and made[name].nunique(dropna=False) == 1:  # a setting, and no result
            value: Any = made[name].iat[0]
            made[name] = "unlimited" if pd.isna(value) else str(value)
    return made


def ranking(ranked: pd.DataFrame, title: str, source: str) -> Table:
    """The table of what was compared."""
    shown = [*KEYS, "makespan_s", "speed_up", "tail_s", "forwards", "wasted", "regret"]
    shown += ["clairvoyant_s"]
    return Table(title, named(ranked)[shown], FORMS, source=source)


def by_step(points: pd.DataFrame, name: str) -> Figure:
    """Makespans of the best policies, and of none, RL step by RL step; one setting, the best."""
    mine, key = best_setting(rank(points), KEYS), digest(points, KEYS)
    chosen = pd.concat([mine[mine.drafter == "none"].head(1), mine[mine.drafter != "none"]])
    chosen = chosen.head(DRAWN + 1)
    drawn = pd.concat(
        points[key == each].assign(policy=policy(row.drafter, row.budget))
        for each, row in zip(digest(chosen, KEYS), chosen.itertuples(), strict=True)
    )
    bound = drawn.clairvoyant_s.where(drawn.drafter != "none")
    drawn = drawn.assign(rl_step=drawn.rl_step.astype(int), clairvoyant_s=bound)
    drawn = drawn.drop_duplicates(["policy", "rl_step"]).sort_values("rl_step", kind="stable")
    table = drawn[["policy", "rl_step", "makespan_s", "clairvoyant_s"]]
    words = f"{table_caption(drawn)}; latency {short('latency', drawn.latency.iloc[0])}"
    return Figure(
        "Makespan by RL step",
        draw(lambda: figures.makespan_by_step(table, words), name),
        [Table("Makespans", table, FORMS)],
    )


def headline(ranked: pd.DataFrame, source: str) -> str:
    """What was fastest, in one sentence."""
    best = ranked.iloc[0]
    count = int((ranked.rl_steps == best.rl_steps).sum())
    words = f"{source}: the shortest makespan of {count:,} simulated, {best.makespan_s:,.1f} s"
    if best.drafter == "none":
        return f"{words}, is without speculation, by {short('latency', best.latency)}."
    gain = ""
    if best.speed_up == best.speed_up:
        gain = f", {times(best.speed_up, 1.0)} against no speculation"
    return (
        f"{words}, is that of {policy(best.drafter, best.budget)}{gain}, by "
        f"{short('latency', best.latency)}."
    )


def conserved(points: pd.DataFrame) -> Text:
    """Whether everything that went in came out, the same for all."""
    requests, finished = int(points.requests.sum()), int(points.finished.sum())
    if requests != finished:
        problem = f"{requests - finished:,} of {requests:,} requests did not finish"
    elif (points.groupby(["trace", "rl_step"]).output_tokens.nunique() > 1).any():
        problem = "output tokens of the same RL step differ (was --cap another?)"
    else:
        each = points.drop_duplicates(["trace", "rl_step"])
        return Text(
            f"In every configuration all {int(each.requests.sum()):,} requests finished, with "
            f"{int(each.output_tokens.sum()):,} output tokens."
        )
    return Text(f"NOT CONSERVED: {problem}. Do not compare these makespans.", "loud")


def limitations(points: pd.DataFrame, source: str) -> list[str]:
    """What these points do not show."""
    told = []
    if points[LIMITS].isna().all(axis=None):
        told.append(
            f"{source}: all requests of an RL step run at once; no limit of an engine was simulated"
        )
    share = float((points.outside / points.forwards.clip(lower=1)).max())
    if share > 0:
        told.append(
            f"{source}: up to {share:.1%} of a point's forwards lie outside of what its latency "
            "was calibrated for"
        )
    if "notes" in points:
        notes = {n for note in points.notes.dropna() for n in str(note).split("; ") if n}
        told += [f"{source}: {note}" for note in sorted(notes)]
    return told


def origins(points: pd.DataFrame) -> dict[str, str]:
    """Of the traces, by name; of two of one name the synthetic one's."""
    found = points[["trace", "origin"]].astype(str).drop_duplicates()
    found = found.sort_values("origin", key=lambda column: column == "synthetic", kind="stable")
    return dict(found.itertuples(index=False, name=None))


def sources(points: pd.DataFrame) -> Facts:
    """Where acceptance comes from."""
    known = points.get("acceptance_source", pd.Series(dtype=object)).dropna().unique()
    return Facts({"acceptance": "; ".join(map(str, known))})
