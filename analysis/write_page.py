"""A page with its tables and pictures as files: all of them, or none."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ..sim.sweep import write_table
from ..traces.schema import TraceError
from .page import Page
from .plots import ELSEWHERE, write_figure


def check_folder(folder: Path) -> None:
    """Refuse what cannot be written before the work, not after it. Raises TraceError."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problem = "cannot be written" if there.is_dir() else "is not a folder"
        raise TraceError(problem, file=there, remedy=ELSEWHERE)


def write_page(page: Page, folder: Path) -> list[Path]:
    """Write `folder`/NAME.md and the files it names, the page last; their paths, the page first.

    Everything is made in a temporary folder beside them and moved when it is complete. Raises
    TraceError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{page.name}.", dir=folder) as scratch:
            made = _write(page, Path(scratch))
            return [path.replace(folder / path.name) for path in made][::-1]
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy=ELSEWHERE
        ) from None


def _write(page: Page, folder: Path) -> list[Path]:
    """All of its files, the page last."""
    made = []
    for table in page.tables:
        made.append(folder / page.file(table.name, "csv"))
        write_table(table.frame, made[-1])
    for picture in page.pictures:
        made += write_figure(picture.draw, folder, page.file(picture.name, "")[:-1])
    made.append(folder / f"{page.name}.md")
    made[-1].write_text(page.markdown(), encoding="utf-8")
    return made
