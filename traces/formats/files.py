"""Which files of the paths that were named belong to a dump."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..schema import TraceError
from ..steps import natural_key
from .format import Format

#: Folders deeper or fuller than any trainer writes are not walked to their end.
MAX_FILES = 1_000_000


@dataclass(frozen=True)
class Found:
    """Files to read, in natural order, and how many were left out as evaluations."""

    files: tuple[str, ...]
    skipped: int = 0


def find_files(form: Format, paths: Sequence[str]) -> Found:
    """The files of a format: named ones as they are, those of folders by the format's `path`.

    Links to folders are not followed, and what is no regular file is passed over. Raises TraceError
    for a path that is not there and a folder without any.
    """
    files: list[str] = []
    skipped = 0
    for path in paths:
        if path == "-" or not os.path.isdir(path):
            files.append(path)
            continue
        here = [file for file in walk(path) if re.search(form.path, file)]
        kept = [file for file in here if not form.skips(file, path)]
        skipped += len(here) - len(kept)
        if not kept:
            left = f" ({len(here)} of evaluations are left out)" if here else ""
            raise TraceError(
                f"no files of a {form.name} dump in this folder{left}",
                file=path,
                remedy=f"they look like {form.looks}",
            )
        files += kept
    return Found(tuple(dict.fromkeys(files)), skipped)


def walk(folder: str) -> list[str]:
    """Absolute paths of the regular files anywhere in a folder, in natural order."""
    found = []
    for file in _regular_files(os.path.abspath(folder)):
        found.append(file)
        if len(found) > MAX_FILES:
            raise TraceError(
                f"over {MAX_FILES:,} files in this folder", file=folder, remedy="name a smaller one"
            )
    return sorted(found, key=natural_key)


def _regular_files(folder: str) -> Iterator[str]:
    waiting = [folder]  # os.walk calls itself, and folders may be deeper than that can go
    while waiting:
        parent = waiting.pop()
        try:
            entries = list(os.scandir(parent))
        except OSError as error:
            raise TraceError(
                f"cannot be listed ({error.strerror})", file=parent, remedy="check the path"
            ) from None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif not entry.name.startswith(".") and os.path.isfile(entry.path):
                yield entry.path
