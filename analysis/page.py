"""A page of Markdown: claims with their verdicts, then sections with tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from .claim import Claim, Verdict


@dataclass(frozen=True)
class Table:
    """A table: all of it as CSV, and what of it the page shows."""

    name: str  # of the file
    title: str
    frame: pd.DataFrame
    shown: pd.DataFrame | None = None  # by default the frame
    forms: Mapping[str, str] = field(default_factory=dict)  # by column; `{:g}` otherwise


@dataclass(frozen=True)
class Picture:
    """A picture, drawn when the page is written."""

    name: str
    title: str
    draw: Callable[[], Figure]
    numbers: pd.DataFrame | None = None  # what is drawn, where no table of the section has it


@dataclass(frozen=True)
class Section:
    """What was compared, in words, and its numbers."""

    title: str
    text: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Part:
    """What a topic gives to a page."""

    claims: Sequence[Claim]
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """One paper."""

    name: str  # of the file
    title: str
    paper: str
    command: str  # that makes it
    setup: str  # trace, latency, and what else everything here rests on
    claims: Sequence[Claim]
    sections: Sequence[Section]
    left_out: Sequence[str] = ()  # what was not compared, and why

    @property
    def tables(self) -> list[Table]:
        """All of them, the claims first, and those of pictures last."""
        claims = [Table("claims", "Claims", claims_frame(self.claims))] if self.claims else []
        shown = [table for section in self.sections for table in section.tables]
        drawn = [
            Table(f"{picture.name}-drawn", picture.title, picture.numbers)
            for picture in self.pictures
            if picture.numbers is not None
        ]
        return [*claims, *shown, *drawn]

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in order."""
        return [picture for section in self.sections for picture in section.pictures]

    def file(self, name: str, ending: str) -> str:
        """The name of a table's or picture's file."""
        return f"{self.name}-{name}.{ending}"

    def markdown(self) -> str:
        """The page, which names its files as lying beside it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"# {self.title}", "", f"{self.paper}. Made by `{self.command}`.", "")
        yield from (self.setup, "")
        if self.claims:
            yield from ("## Claims", "", *markdown_table(_shown_claims(self.claims)), "")
            yield from (f"[CSV]({self.file('claims', 'csv')}). {_sum_up(self.claims)}", "")
        reasons = [c for c in self.claims if c.why and c.verdict is not Verdict.HOLDS]
        if reasons:
            yield from ("Where ours does not bear it out:", "")
            yield from (f"- *{c.text}*: {c.why}" for c in reasons)
            yield ""
        for section in self.sections:
            yield from (f"## {section.title}", "", section.text, "")
            for picture in section.pictures:
                yield from (f"![{picture.title}]({self.file(picture.name, 'png')})", "")
                if picture.numbers is not None:
                    yield from (f"[Its numbers]({self.file(f'{picture.name}-drawn', 'csv')})", "")
            for table in section.tables:
                yield from (f"{table.title} ([CSV]({self.file(table.name, 'csv')})):", "")
                shown = table.frame if table.shown is None else table.shown
                yield from markdown_table(shown, table.forms)
                yield ""
        if self.left_out:
            yield from ("## Not compared", "")
            yield from (f"- {line}" for line in self.left_out)
            yield ""


def claims_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """One row per claim, numbers as numbers."""
    return pd.DataFrame(
        {
            "claim": [c.text for c in claims],
            "where": [c.where for c in claims],
            "needed": [c.rule.text for c in claims],
            "theirs": pd.Series([c.theirs for c in claims], dtype=float),
            "theirs_verdict": [str(c.theirs_verdict) for c in claims],
            "ours": pd.Series([c.ours for c in claims], dtype=float),
            "ours_verdict": [str(c.verdict) for c in claims],
            "why": [c.why for c in claims],
        }
    )


def _shown_claims(claims: Sequence[Claim]) -> pd.DataFrame:
    rows = [
        {
            "claim": c.text,
            "where": c.where,
            "needed": c.rule.text,
            "their figure": c.show(c.theirs),
            "so the claim": str(c.theirs_verdict),
            "ours": c.show(c.ours),
            "and here": f"**{c.verdict}**",
        }
        for c in claims
    ]
    return pd.DataFrame(rows)


def _sum_up(claims: Sequence[Claim]) -> str:
    counts = [f"{sum(c.verdict is v for c in claims)} {_PLURAL[v]}" for v in Verdict]
    return f"Of {len(claims)} claims, {', '.join(counts)}."


_PLURAL = {
    Verdict.HOLDS: "hold in our simulation",
    Verdict.FAILS: "do not",
    Verdict.UNKNOWN: "cannot be judged here",
}


def markdown_table(frame: pd.DataFrame, forms: Mapping[str, str] | None = None) -> list[str]:
    """Lines of a table; columns of numbers stand to the right, what is missing is a dash."""
    forms = forms or {}
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]
    lines = [
        f"| {' | '.join(map(str, frame.columns))} |",
        f"|{'|'.join('---:' if number else '---' for number in numeric)}|",
    ]
    for row in frame.itertuples(index=False):
        cells = [_cell(v, forms.get(str(c))) for c, v in zip(frame.columns, row, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(value: object, form: str | None) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|").replace("\n", " ")
    if value is None or value != value:
        return "-"
    return (form or "{:g}").format(value)
