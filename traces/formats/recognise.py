"""`trace import auto`: tells a dump's format by its records' fields."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..schema import TraceError, printable
from ..sources import Source
from . import FORMATS
from .dump import MAGIC, READERS
from .files import walk
from .format import WIDE_LINE, Format

#: Files of a folder that are looked into before giving up.
MAX_PEEKS = 64
SHOWN_FIELDS = 10


@dataclass(frozen=True)
class Recognised:
    """A format, and why it was taken."""

    format: Format
    why: str


def recognise(paths: Sequence[str]) -> Recognised:
    """The format of all paths. Raises TraceError where they differ, fit none, or fit several."""
    found: Recognised | None = None
    for path in paths:
        is_folder = os.path.isdir(path)
        if path == "-" or (os.path.exists(path) and not is_folder and not os.path.isfile(path)):
            raise TraceError(
                "a pipe cannot be read twice",
                file=path,
                remedy=f"name its format: trace import {'|'.join(FORMATS)}",
            )
        one = _of_folder(path) if is_folder else _of_file(path)
        if one is None:
            raise TraceError(
                "no file in it can be a dump", file=path, remedy=f"formats: {', '.join(FORMATS)}"
            )
        if found is not None and found.format is not one.format:
            raise TraceError(
                f"this is {one.format.name} ({one.why}), what came before {found.format.name}",
                file=path,
                remedy="import one format at a time",
            )
        found = found or one
    assert found is not None, "the command asks for a path"
    return found


def _of_folder(folder: str) -> Recognised | None:
    """The one format of the files in it that some format might have written."""
    likely = [(file, forms) for file in walk(folder) if (forms := _likely(file, folder))]
    found: dict[str, Recognised] = {}
    problem: TraceError | None = None
    for file, forms in likely[:: len(likely) // MAX_PEEKS + 1]:
        try:
            one = _of_file(file, forms)
        except TraceError as error:  # other files may do; if none does, the first problem is told
            problem = problem or error
            continue
        if one is not None:
            found.setdefault(one.format.name, one)
    if len(found) > 1:
        raise TraceError(
            f"it holds {' and '.join(f'{name} ({one.why})' for name, one in found.items())}",
            file=folder,
            remedy="name the format: trace import " + "|".join(found),
        )
    if not found and problem is not None:
        raise problem
    return next(iter(found.values()), None)


def _likely(file: str, folder: str) -> list[Format]:
    """The formats whose writers name files so."""
    return [
        form
        for form in FORMATS.values()
        if re.search(form.path, file) and not form.skips(file, folder)
    ]


def _of_file(path: str, likely: Sequence[Format] | None = None) -> Recognised | None:
    kind = kind_of(path)
    if kind == "pt":  # only one trainer writes them, and loading one takes its time
        return Recognised(FORMATS["slime"], f"{printable(path)} is a torch.save file")
    record = first_record(path, kind)
    if record is None:
        return None
    fits = [
        (form, mark)
        for form in likely or FORMATS.values()
        if form.kind == kind and (mark := form.mark(record)) is not None
    ]
    names = [str(name) for name in record]
    fields = ", ".join(names[:SHOWN_FIELDS]) + (", ..." if len(names) > SHOWN_FIELDS else "")
    if not fits:
        shown = "; ".join(f"{form.name}: {' or '.join(_marks(form))}" for form in FORMATS.values())
        raise TraceError(
            f"no format known here has a record of {fields}",
            file=path,
            remedy=f"use `trace import text --map`, or one of these fields ({shown})",
        )
    if len(fits) > 1:
        several = " and ".join(f"{form.name} ({', '.join(sorted(mark))})" for form, mark in fits)
        raise TraceError(
            f"its records of {fields} fit {several}",
            file=path,
            remedy="name the format: trace import " + "|".join(form.name for form, _ in fits),
        )
    form, mark = fits[0]
    return Recognised(form, f"{printable(path)} has the fields {', '.join(sorted(mark))}")


def _marks(form: Format) -> list[str]:
    return ["+".join(sorted(mark)) for mark in form.marks[:2]]


def kind_of(path: str) -> str:
    """How the file's records are read: by its first bytes, or "csv" where JSON begins otherwise."""
    if kind := MAGIC.get(Source(path).head()[:4]):
        return kind
    for _, line in Source(path, WIDE_LINE).lines():
        if text := line.strip():
            return "jsonl" if text[0] in "{[" else "csv"
    return "jsonl"


def first_record(path: str, kind: str) -> Mapping[str, Any] | None:
    """The first record of a file; None if it has none."""
    found = next(READERS[kind](Source(path, WIDE_LINE)), None)
    return None if found is None else found[1]
