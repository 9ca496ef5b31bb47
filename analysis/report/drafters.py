"""Folders of `longtail drafters -o`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..show import times
from .folder import UNREADABLE, Folder, Item
from .leftovers import full_table, origins_of, picture_of
from .page import Block, Figure, Part, Table
from .points import FORMS
from .words import short

COLUMNS = {"drafter", "latency", "tokens_per_forward", "draft_us", "extend_us", "makespan_s", "k",
           "no_speculation_s", "wasted", "brier", "error", "trace", "origin"}  # fmt: skip
SHOWN = {
    "drafter": "drafter",
    "tokens_per_forward": "tokens per forward",
    "wasted": "wasted",
    "draft_us": "us per draft",
    "extend_us": "us per token",
    "brier": "Brier score",
    "error": "calibration error",
    "makespan_s": "makespan s (best fixed k)",
    "k": "k",
    "speed_up": "speed-up",
}
SHOWN_FORMS = {
    "tokens per forward": "{:.3f}", "wasted": "{:.0%}", "us per draft": "{:.2f}",
    "us per token": "{:.2f}", "Brier score": "{:.3f}", "calibration error": "{:.3f}",
    "makespan s (best fixed k)": "{:,.1f}", "speed-up": "{:.2f}x",
}  # fmt: skip
PICTURES = {
    "reliability": "Draft tokens accepted, against their predicted chance",
    "staleness": "What history is worth as it ages",
}


def read_drafters(folder: Folder) -> Iterator[Part]:
    """A part for each comparison."""
    for item in folder.find("csv", where=lambda item: item.columns >= COLUMNS):
        try:
            table = item.frame()
            ranked = table.sort_values("makespan_s", kind="stable", ignore_index=True)
            ranked = ranked.assign(
                drafter=[short("drafter", spec) for spec in ranked.drafter],
                speed_up=ranked.no_speculation_s / ranked.makespan_s,
            )
            headline, traces = _headline(ranked, item.name), origins_of(table)
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "table of `longtail drafters`")
        compared = ranked[[*SHOWN]].rename(columns=SHOWN)
        blocks: list[Block] = [
            Table("Drafters, the shortest makespan first", compared, SHOWN_FORMS),
            *_pictures(folder, item),
            Table("All columns", table, FORMS, folded=True, source=item.name),
        ]
        yield Part(
            f"Drafters: {item.name}",
            blocks,
            headlines=[headline],
            traces=traces,
            latencies=list(table.latency.unique()),
        )


def _pictures(folder: Folder, item: Item) -> Iterator[Figure | Table]:
    """The pictures beside the table, with the tables of their names, or these alone."""
    for name, title in PICTURES.items():
        stem = item.beside(name)
        picture, numbers = picture_of(folder, stem, title), folder.at(f"{stem}.csv")
        if picture is None:
            yield from full_table(folder, numbers, folded=True)
        else:
            yield Figure(title, picture, list(full_table(folder, numbers)))


def _headline(ranked: pd.DataFrame, source: str) -> str:
    best = ranked.iloc[0]
    at = short("latency", best.latency)
    if best.makespan_s >= best.no_speculation_s:
        return f"{source}: no drafter compared is faster than no speculation, by {at}."
    return (
        f"{source}: the fastest drafter compared is {best.drafter} with a fixed budget of "
        f"{int(best.k)}, {times(best.no_speculation_s, best.makespan_s)} against no speculation, "
        f"by {at}."
    )
