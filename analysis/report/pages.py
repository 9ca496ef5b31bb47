"""Pages that `longtail reproduce` and `longtail budgets` wrote, with their pictures and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd
from markdown_it.token import Token

from ..budgets import NONE
from . import markdown
from .folder import UNREADABLE, Folder, Item
from .leftovers import full_table, picture_of
from .page import Block, Figure, Part, Text

SUM = re.compile(r"Of [\d,]+ claims, [^.]*\.")
MADE_BY = re.compile(r"longtail \w+")
CELLS = {"trace", "latency", "at_once", "drafter", "budget", "regret"}
CALIBRATED = re.compile(r"\bcalibration \S+\.json")


def read_pages(folder: Folder) -> Iterator[Part]:
    """A part for each page."""
    for item in folder.find("text", where=_is_page):
        try:
            tokens = markdown.parse(item.text)
            blocks = [b for c in markdown.chapters(tokens) for b in _chapter(folder, item, c)]
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "page of " + (_command(item.text) or "Markdown"))
        cells = [i for i in folder.left("parquet", "csv") if i.stem == item.stem]
        said = " ".join(filter(None, [_sum_up(item.text), *map(_least_regret, cells)]))
        blocks += [table for other in cells for table in full_table(folder, other, folded=True)]
        yield _part(item, tokens, blocks, said)


def _is_page(item: Item) -> bool:
    if item.path.suffix in (".yaml", ".yml"):
        return False
    return item.path.suffix == ".md" or bool(re.match(r"# \S", item.text))


def _command(text: str) -> str | None:
    found = MADE_BY.search(text[:4000])
    return f"`{found[0]}`" if found else None


def _part(item: Item, tokens: list[Token], blocks: list[Block], said: str) -> Part:
    title = markdown.heading(tokens) or item.name
    loud = "SYNTHETIC" in item.text
    limits = []
    if _command(item.text) and not CALIBRATED.search(item.text):
        limits.append(f"{item.name}: its seconds rest on priors; not measured on a GPU")
    return Part(
        title,
        blocks,
        headlines=[f"{title}. {said}" if said else f"{title} ({item.name})."],
        limitations=limits,
        traces={f"a trace of {item.name}": "synthetic"} if loud else {},
    )


def _sum_up(text: str) -> str:
    """How many claims hold, as the page says it."""
    found = SUM.search(text)
    return found[0] if found and not found[0].startswith("Of 0 ") else ""


def _least_regret(item: Item) -> str:
    """Of a table of all cells of a study of budgets, which was best; nothing of another table."""
    try:
        if not item.columns >= CELLS:
            return ""
        table = item.frame()
        cells = table[table.budget != NONE]
        regret = pd.to_numeric(cells.regret).groupby(cells.budget).median().sort_values()
    except UNREADABLE:
        return ""  # its table says so
    if regret.empty:
        return ""
    return (
        f"The least regret, {regret.iloc[0]:.1%} in the median of {len(cells) // len(regret):,} "
        f"cells, is that of {regret.index[0]}."
    )


def _chapter(folder: Folder, page: Item, chapter: Sequence[Token]) -> Iterator[Block]:
    """Its prose; each picture with the table of its name as numbers, or else with all the tables
    that the chapter links to. Those that no picture has come last.
    """
    tables = {
        link: table
        for link in markdown.links(chapter)
        for table in full_table(folder, folder.at(page.beside(link)), folded=True)
    }
    left = dict(tables)

    def figure(address: str, title: str) -> Figure | Text:
        base = address.rpartition(".")[0]
        found = picture_of(folder, page.beside(base), title)
        if found is None:
            return Text(f"[The picture {address} is not in the folder: {title}]")
        named = [link for link in (f"{base}-drawn.csv", f"{base}.csv") if link in tables]
        links = named[:1] or list(tables)
        for link in links:
            left.pop(link, None)
        return Figure(title, found, [tables[link] for link in links])

    yield from markdown.blocks(chapter, figure)
    yield from left.values()
