"""A page with its tables and pictures as files: all of them, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..sim.sweep import write_table
from ..traces.schema import TraceError
from .page import Page
from .plots import write_figure

REMEDY = "choose another folder with -o"


def check_folder(folder: Path) -> None:
    """Refuse what cannot be written before the work, not after it. Raises TraceError."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problem = "cannot be written" if there.is_dir() else "is not a folder"
        raise TraceError(problem, file=there, remedy=REMEDY)


def write_page(page: Page, folder: Path) -> list[Path]:
    """Write `folder`/NAME.md and the files it names, the page last; their paths, the page first.

    Everything is made in a temporary folder beside them and moved when it is complete. Raises
    TraceError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{page.name}.", dir=folder))
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy=REMEDY
        ) from None
    try:
        made = []
        for table in page.tables:
            made.append(partial / page.file(table.name, "csv"))
            write_table(table.frame, made[-1])
        for picture in page.pictures:
            made += write_figure(picture.draw, partial, page.file(picture.name, "")[:-1])
        made.append(partial / f"{page.name}.md")
        made[-1].write_text(page.markdown(), encoding="utf-8")
        return [path.replace(folder / path.name) for path in made][::-1]
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=folder, remedy=REMEDY
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
