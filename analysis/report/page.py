"""What a report is made of, before it is HTML: sections of blocks, and what has to be said of them.

All words are plain text, which the template escapes; only `Prose.html` and `Figure.picture` are
markup, made by `markdown.py` and `picture.py` of what they have checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup


class Block:
    """What a section consists of."""

    @property
    def kind(self) -> str:
        """By which the template tells how to show it."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Table(Block):
    """Rows and columns, sortable; `folded` ones are one click away."""

    title: str
    frame: pd.DataFrame
    forms: Mapping[str, str] = field(default_factory=dict)  # by column, as in `format`
    folded: bool = False
    total: int | None = None  # rows there are, where the frame has only the first of them
    source: str = ""  # the file that has all of it

    @property
    def rows(self) -> int:
        """That there are."""
        return len(self.frame) if self.total is None else self.total


@dataclass(frozen=True)
class Figure(Block):
    """A picture and its numbers."""

    title: str
    picture: Markup
    numbers: Sequence[Table] = ()
    caption: str = ""
    note: str = ""  # where there are no numbers: why


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    words: str
    tone: str = ""  # "lead" comes first, "loud" is not to be missed, "note" may be


@dataclass(frozen=True)
class Items(Block):
    """A list of sentences."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Facts(Block):
    """Names and what they are."""

    pairs: Mapping[str, object]


@dataclass(frozen=True)
class Verbatim(Block):
    """Text to be taken letter by letter: commands, files, what a model wrote."""

    title: str
    words: str


@dataclass(frozen=True)
class Fold(Block):
    """Blocks that are one click away."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Prose(Block):
    """HTML that was rendered of Markdown, whose own HTML is not obeyed."""

    html: Markup


@dataclass(frozen=True)
class Part:
    """One section, and what the summary, the limitations and the provenance say of it.

    headlines: sentences for the summary, the weightiest first; first: they open it. traces:
    their origin by name; latencies: what seconds rest on, as in a table's column.
    """

    title: str
    blocks: Sequence[Block]
    headlines: Sequence[str] = ()
    limitations: Sequence[str] = ()
    traces: Mapping[str, str] = field(default_factory=dict)
    latencies: Sequence[str] = ()
    first: bool = False

    @property
    def synthetic(self) -> list[str]:
        """Names of what was made up."""
        return [name for name, origin in self.traces.items() if origin == "synthetic"]


@dataclass(frozen=True)
class File:
    """A file of the folder, and what became of it."""

    name: str  # below the folder
    size: int  # bytes
    digest: str  # SHA-256, the first 16 digits; empty where it was not read
    what: str  # recognised as
    skipped: str = ""  # why


@dataclass(frozen=True)
class Report:
    """A folder, told."""

    name: str  # of the folder
    parts: Sequence[Part]
    files: Sequence[File]
    limitations: Sequence[str]
    latencies: Mapping[str, str]  # specifications, and what they are called

    @property
    def traces(self) -> list[tuple[str, str]]:
        """Names and origins."""
        return list(dict.fromkeys(pair for part in self.parts for pair in part.traces.items()))

    @property
    def synthetic(self) -> list[str]:
        """Names of what was made up."""
        return list(dict.fromkeys(name for part in self.parts for name in part.synthetic))
