"""Tables of `longtail sweep`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..configurations import best_setting
from ..show import LEGEND, table_caption
from ..sweep_figure import makespan_by_budget
from . import points
from .folder import UNREADABLE, Folder
from .page import Block, Figure, Part, Table, Text
from .picture import draw
from .words import can_be_made

NOT_DRAWN = "Not drawn: a component is not known here, or a file that it names is missing."


def read_sweeps(folder: Folder) -> Iterator[Part]:
    """A part for each table."""
    for item in folder.find("parquet", "csv", where=lambda item: item.columns >= points.COLUMNS):
        try:
            table = points.settle(item.frame())
            if table.empty:
                raise ValueError("a sweep without points")
            part = _part(table, item.name, f"sweep{item.number}")
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "table of `longtail sweep`")
        yield part


def _part(table: pd.DataFrame, source: str, name: str) -> Part:
    ranked = points.rank(table)
    whole = table[table.rl_steps == ranked.rl_steps.iloc[0]]  # what is left out was not finished
    shown = points.ranking(ranked, "Configurations, the shortest makespan first", source)
    blocks: list[Block] = [
        points.conserved(table),
        points.sources(table),
        shown,
        Text(LEGEND.replace("\n", " ").partition("output token; ")[2], "note"),
        *_figure(
            whole, points.ranking(best_setting(ranked, points.KEYS), "Those drawn", source), name
        ),
        points.by_step(whole, f"{name}-steps"),
        Table("All points, RL step by RL step", _all(table), folded=True, source=source),
    ]
    return Part(
        f"Sweep: {source}",
        blocks,
        headlines=[points.headline(ranked, source)],
        limitations=points.limitations(table, source),
        traces=points.origins(table),
        latencies=list(table.latency.unique()),
    )


def _all(table: pd.DataFrame) -> pd.DataFrame:
    """Every point, without what stands above."""
    return points.named(table).drop(columns="acceptance_source", errors="ignore")


def _figure(table: pd.DataFrame, numbers: Table, name: str) -> Iterator[Block]:
    """Makespan against the budget, if its components can be made here."""
    specs = {*table.drafter.unique(), *table.budget.unique()}
    try:
        if not all(can_be_made(str(spec)) for spec in specs):
            raise ValueError
        picture = draw(lambda: makespan_by_budget(table, table_caption(table)), name)
    except UNREADABLE:
        yield Text(NOT_DRAWN)
        return
    yield Figure("Makespan against the draft budget", picture, [numbers])
