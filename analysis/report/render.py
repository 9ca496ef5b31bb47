"""A report as one HTML file that loads nothing and stays below a size that can be mailed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...traces.schema import TraceError
from ...traces.whole import whole
from .cells import facts, grid
from .page import Block, Facts, Figure, Report, Table
from .picture import label
from .words import is_prior

LARGEST = 5_000_000  # bytes
ROWS = (1000, 300, 100, 30)  # of a table, tried in turn until the page is small enough
PRINT_ROWS = 40
WIDE = 12  # columns from which a table is set smaller on paper
TOO_LARGE = "The picture was left out, so that this file stays small."


def write_report(report: Report, path: Path) -> int:
    """Write the page, whole or not at all; its bytes. Raises TraceError where that cannot be."""
    page = render(report)
    with whole(path, remedy="choose another file with -o") as partial_path:
        partial_path.write_bytes(page)
    return len(page)


def render(report: Report, largest: int = LARGEST) -> bytes:
    """The page, UTF-8, below `largest` bytes. Raises TraceError where its smallest form is not."""
    for shown in (report, _without_pictures(report)):
        for rows in ROWS:
            page = _render(shown, rows)
            if len(page) < largest:
                return page
    raise TraceError(
        f"the report would be larger than {largest / 10**6:g} MB",
        file=report.name,
        remedy="name a folder with less in it",
    )


def _render(report: Report, rows: int) -> bytes:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["count"] = _count
    style, script = (_asset(environment, f"report.{kind}") for kind in ("css", "js"))
    digest = hashlib.sha256(script.encode()).digest()
    text = environment.get_template("report.html").render(
        report=report,
        provenance=_provenance(report),
        version=version("longtail"),
        style=Markup(style.replace("LAST_ON_PAPER", str(PRINT_ROWS + 1))),
        script=Markup(script),
        script_digest=Markup(base64.b64encode(digest).decode()),
        print_rows=PRINT_ROWS,
        wide=WIDE,
        grid=partial(grid, most=rows),
        facts=facts,
        label=label,
    )
    return text.encode("utf-8", errors="replace")


def _asset(environment: Environment, name: str) -> str:
    """A file of this package."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _count(table: Table) -> str:
    return f"{table.rows:,} row{'' if table.rows == 1 else 's'}"


def _provenance(report: Report) -> Sequence[Block]:
    taken = [file for file in report.files if file.what]
    skipped = [file for file in report.files if not file.what]
    found: list[Block] = [
        Facts({"folder": report.name, "files shown": len(taken), "files skipped": len(skipped)}),
        *_sources(report),
        Table(
            "Files that this report was made of",
            pd.DataFrame(
                [(f.name, f.what, f.size, f.digest) for f in taken],
                columns=["file", "recognised as", "bytes", "SHA-256, first digits"],
            ),
        ),
    ]
    if skipped:
        rows = [(file.name, file.skipped, file.size) for file in skipped]
        frame = pd.DataFrame(rows, columns=["file", "why", "bytes"])
        found.append(Table("Files that were skipped", frame))
    return found


def _sources(report: Report) -> Iterator[Table]:
    """Traces and latencies that the numbers rest on."""
    rows = [("trace", name, origin) for name, origin in report.traces]
    rows += [
        ("latency", name, f"prior: {spec}" if is_prior(name) else spec)
        for spec, name in report.latencies.items()
    ]
    if rows:
        frame = pd.DataFrame(rows, columns=["what", "name", "origin"])
        yield Table("What the numbers rest on", frame)


def _without_pictures(report: Report) -> Report:
    """Where they make it too large."""
    parts = []
    for part in report.parts:
        blocks = [
            replace(block, picture=Markup(), note=TOO_LARGE) if isinstance(block, Figure) else block
            for block in part.blocks
        ]
        parts.append(replace(part, blocks=blocks))
    return replace(report, parts=parts)
