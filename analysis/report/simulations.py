"""What `longtail simulate --json` printed, all of it side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from . import points
from .folder import UNREADABLE, Folder, Item
from .page import Block, Part, Table

KEYS = {"makespan_s", "configuration", "rl_steps", "clairvoyant_s", "trace", "origin"}


def read_simulations(folder: Folder) -> Iterator[Part]:
    """One part, if there are any."""
    frames, items = [], []
    for item in folder.find("json", where=_is_simulation):
        try:
            frames.append(points.settle(_rows(item.content)).assign(file=item.name))
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        items.append(item)
    if not frames:
        return
    try:
        part = _part(pd.concat(frames, ignore_index=True), len(frames))
    except UNREADABLE as error:
        for item in items:
            folder.refuse(item, error)
        return
    for item in items:
        folder.take(item, "result of `longtail simulate --json`")
    yield part


def _is_simulation(item: Item) -> bool:
    return isinstance(item.content, dict) and item.content.keys() >= KEYS


def _rows(content: dict[str, Any]) -> pd.DataFrame:
    """A row per RL step, in the form of a sweep's table."""
    same = {key: content[key] for key in ("trace", "origin")} | content["configuration"]
    same |= {"acceptance_source": content.get("acceptance_source")}
    same |= {"notes": "; ".join(map(str, content.get("notes") or []))}
    rows = pd.DataFrame([{**same, **step} for step in content["rl_steps"]])
    seconds, total = rows.makespan_s.sum(), content["makespan_s"]
    if abs(seconds - total) > 1e-6 * max(abs(total), 1.0):
        raise ValueError(f"makespan_s is {total}, and that of its RL steps {seconds}")
    return rows


def _part(table: pd.DataFrame, count: int) -> Part:
    ranked = points.rank(table)
    source = f"{count} simulation{'' if count == 1 else 's'}"
    files = table.groupby(points.KEYS, dropna=False, sort=False).file.agg(
        lambda names: ", ".join(dict.fromkeys(names))
    )
    ranked = ranked.merge(files.reset_index(), on=points.KEYS, how="left")
    shown = points.ranking(ranked, "Configurations, the shortest makespan first", "")
    shown.frame.insert(0, "file", ranked.file.tolist())
    blocks: list[Block] = [points.conserved(table), points.sources(table), shown]
    for number, (_, mine) in enumerate(table.groupby(["trace", "origin"], sort=False)):
        blocks.append(points.by_step(mine, f"simulations{number}"))
    blocks.append(Table("All results, RL step by RL step", points.named(table), folded=True))
    return Part(
        "Simulations",
        blocks,
        headlines=[points.headline(ranked, source)],
        limitations=points.limitations(table, source),
        traces=points.origins(table),
        latencies=list(table.latency.unique()),
    )
