"""README and docs as blocks, and where each of their figures comes from.

A fence of the kind `console` shows a command behind `$ ` and below it what that printed. Words
after `console` say how it can be repeated:

    console             the same bytes each time, in seconds: tests hold it
    console slow        the same bytes each time, in minutes
    console timed       measures a machine, so it is printed anew and never compared; bare where no
                        machine was quiet enough yet
    console live        needs vLLM

Commands with `$TRACES` need recorded traces that are not part of the project, in the folder of that
name. A paragraph, list or table with figures in it has a comment before it that names the project's
files in which they all stand, perhaps with more digits (of a page of docs: in its consoles). Tables
of data have all numbers somewhere, and vouch for none: a console prints them.

    <!-- figures of: analysis/advice/search.py, docs/drafters.md -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "policies.md"  # whole, by `longtail budgets`
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(GENERATED)

DATA = {".csv", ".json", ".jsonl", ".parquet"}
SOURCES = re.compile(r"<!-- figures of: (.+) -->")
NUMBER = re.compile(r"(?<![\w.:§/-])\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?(?![\w.+-]*\d)")
UNIT = re.compile(
    r"(?:,? (?:to|and|or|of the|of) \d+(?:\.\d+)?)*[ -]?"
    r"(?:%|x\b|fold\b|times\b|[munµ]?s\b|(?:milli|micro)?seconds?\b|minutes?\b|hours?\b|[kMG]i?B\b|"
    r"bytes?\b|M\b|points?\b|(?:[a-z]+ )?tokens?\b|of (?:the )?\d)"
)
CITED = re.compile(
    r"(?:arXiv|Fig\.|Figs\.|Table|eq\.|Python|vLLM) ?\d[\d.]*(?:(?: to |, | and )\d+)*"
)
SCALES = {"%": 0.01, "k": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "MiB": 2.0**20}


@dataclass(frozen=True)
class Block:
    """Where something stands that can have figures."""

    page: Path
    line: int  # its first, from 1

    @property
    def place(self) -> str:
        """For messages and tests' names."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Console(Block):
    """A command and what it printed."""

    words: frozenset[str]
    command: str
    output: str


@dataclass(frozen=True)
class Prose(Block):
    """A paragraph, list or table: its figures as (value, decimals, unit), and who vouches."""

    figures: tuple[tuple[float, int, str], ...]
    sources: tuple[str, ...]

    def unfounded(self) -> list[str]:
        """The figures that stand in no source."""
        known = [number for source in self.sources for number in numbers_in(ROOT / source)]
        return [f"{v:.{d}f} {u}".strip() for v, d, u in self.figures if not _stands(v, d, u, known)]


def blocks(page: Path) -> Iterator[Console | Prose]:
    """All blocks that can have figures, top to bottom; indented code is commands to copy."""
    tokens = _tokens(page)
    sources: tuple[str, ...] = ()
    at = 0
    while at < len(tokens):
        top = tokens[at]
        inside = [top]
        while top.nesting and (tokens[at].nesting, tokens[at].level) != (-1, top.level):
            at += 1
            inside.append(tokens[at])
        at += 1
        line = top.map[0] + 1 if top.map else 0
        if top.type == "html_block" and (named := SOURCES.match(top.content)):
            sources = tuple(named[1].split(", "))
            continue
        kind, *words = top.info.split() if top.type == "fence" else ("",)
        if kind == "console":
            command, output = _command_of(top.content)
            yield Console(page, line, frozenset(words), command, output)
        elif top.type not in {"heading_open", "html_block", "fence", "code_block", "hr"}:
            figures = [f for text, cell in _texts(inside) for f in _figures(text, cell)]
            yield Prose(page, line, tuple(figures), sources)
        sources = ()


def commands(page: Path) -> list[str]:
    """The calls of longtail that a page shows, continuations joined, without what they pipe to."""
    shown = [block.command for block in blocks(page) if isinstance(block, Console)]
    shown += [t.content for t in _tokens(page) if t.type == "code_block"]
    lines = "\n".join(shown).replace("\\\n", " ").splitlines()
    calls = (line.split(" | ")[0] for line in lines)
    return [call for call in calls if call.startswith("longtail ")]


def consoles() -> list[Console]:
    """Those of all pages."""
    return [block for page in PAGES for block in blocks(page) if isinstance(block, Console)]


@cache
def numbers_in(path: Path) -> list[float]:
    """The numbers of a source: of a page of docs those that its commands printed.

    Raises ValueError for data.
    """
    if path.suffix in DATA:
        raise ValueError(f"{path.name} vouches for nothing: let a console print it")
    if path in PAGES:
        text = "\n".join(block.output for block in blocks(path) if isinstance(block, Console))
    else:
        text = path.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w.])\d[\d,_]*(?:\.\d+)?(?:[eE]-?\d+)?", text)
    return [float(number.replace(",", "").replace("_", "").rstrip(".")) for number in found]


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def _command_of(content: str) -> tuple[str, str]:
    lines = content.removeprefix("$ ").split("\n")
    ends = next(at for at, line in enumerate(lines) if not line.endswith("\\"))
    return "\n".join(lines[: ends + 1]), "\n".join(lines[ends + 1 :])


def _texts(tokens: list[Token]) -> Iterator[tuple[str, bool]]:
    """The words of a block, without code and addresses; whether they are a cell of a table."""
    cell = False
    for token in tokens:
        cell = token.type == "td_open" or (cell and token.type != "td_close")
        if token.type == "inline":
            parts = token.children or []
            yield "".join(p.content if p.type == "text" else " " for p in parts), cell


def _figures(text: str, cell: bool) -> Iterator[tuple[float, int, str]]:
    text = CITED.sub(" ", text)
    for match in NUMBER.finditer(text):
        after = text[match.end() :]
        if cell or "." in match[0] or UNIT.match(after):
            digits = match[0].replace(",", "").replace("_", "")
            unit = re.match(r"(?: (?:to|and) [\d.]+)* ?(%|[kM]i?B|[kM]\b)?", after)
            yield float(digits), len(digits.partition(".")[2]), (unit and unit[1]) or ""


def _stands(value: float, decimals: int, unit: str, known: list[float]) -> bool:
    scale = SCALES.get(unit, 1.0)
    near = 0.5000001 * 10.0**-decimals
    return any(
        abs(number - value) <= near or abs(number / scale - value) <= near for number in known
    )
