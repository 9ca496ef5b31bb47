"""Pictures with the numbers beside them, other tables, policy files: what no other reader knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from markupsafe import Markup

from .folder import UNREADABLE, Folder, Item
from .page import Block, Figure, Part, Table, Verbatim
from .picture import inline, raster
from .points import origins

SHOWN = 1000  # rows read of a table that no reader knows
POLICY = ("drafter:", "budget:", "placement:")
NO_NUMBERS = "No table of the same name lies beside it, so its numbers are not known here."


def full_table(folder: Folder, item: Item | None, folded: bool = False) -> Iterator[Table]:
    """A file's table, its first rows, and taken; nothing for a file that is none."""
    if item is None or item.kind not in ("csv", "parquet"):
        return
    try:
        frame = item.frame(SHOWN)
        total = item.rows if len(frame) == SHOWN else len(frame)
    except UNREADABLE as error:
        folder.refuse(item, error)
        return
    folder.take(item, "table")
    if total:
        yield Table(item.base, frame, folded=folded, total=total, source=item.name)


def picture_of(folder: Folder, stem: str, title: str) -> Markup | None:
    """The picture of that name below the folder, as SVG if it is there, else PNG; taken."""
    found = None
    for ending in ("svg", "png"):
        item = folder.at(f"{stem}.{ending}")
        if item is None or item.kind != ending:
            continue
        if found is not None:
            folder.take(item, f"the picture that {stem}.svg is")
            continue
        try:
            item.check_size()
            name = f"file{item.number}"
            found = (
                inline(item.text, name)
                if ending == "svg"
                else raster(item.path.read_bytes(), title)
            )
            folder.take(item, "picture")
        except UNREADABLE as error:
            folder.refuse(item, error)
    return found


def read_pictures(folder: Folder) -> Iterator[Part]:
    """Pictures that no page names, a part for each folder of them, with tables of equal names."""
    parts: dict[str, list[Block]] = {}
    for item in folder.find("svg", "png", where=lambda item: True):
        if not folder.is_left(item):
            continue  # the same picture in another form
        title = item.base.rpartition(".")[0].replace("_", " ")
        found = picture_of(folder, item.stem, title)
        if found is None:
            continue
        numbers = [
            table
            for ending in ("csv", "parquet")
            for table in full_table(folder, folder.at(f"{item.stem}.{ending}"))
        ]
        figure = Figure(title, found, numbers, item.base, "" if numbers else NO_NUMBERS)
        parts.setdefault(item.folder, []).append(figure)
    for where, figures in parts.items():
        yield Part(f"Pictures: {where}" if where else "Pictures", figures)


def read_tables(folder: Folder) -> Iterator[Part]:
    """Tables that are left, in one part."""
    tables: list[Block] = []
    traces: dict[str, str] = {}
    for item in folder.find("csv", "parquet", where=lambda item: bool(item.columns)):
        for table in full_table(folder, item, folded=True):
            tables.append(replace(table, title=item.name))
            traces |= origins_of(table.frame)
    if tables:
        yield Part("Other tables", tables, traces=traces)


def origins_of(frame: pd.DataFrame) -> dict[str, str]:
    """Of the traces that a table rests on, by name, if it says so."""
    return origins(frame) if {"trace", "origin"} <= set(frame.columns) else {}


def read_policies(folder: Folder) -> Iterator[Part]:
    """Policy files, in one part."""
    found = []
    for item in folder.find("text", where=_is_policy):
        folder.take(item, "policy file")
        found.append(Verbatim(item.name, item.text))
    if found:
        yield Part("Policy files", found)


def _is_policy(item: Item) -> bool:
    yaml = item.path.suffix in (".yaml", ".yml")
    return yaml and any(line.startswith(POLICY) for line in item.text.splitlines())
