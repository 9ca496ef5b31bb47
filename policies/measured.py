"""Files of measurements that a component's options name: their digest, and the rows of tables.

A file's digest is an option beside its path, so that equal specifications mean equal behaviour.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .registry import ComponentError

SEPARATORS = ",;|()"  # of options, and of the drafters that `best_of` takes

Row: TypeAlias = dict[str, str]


def digest_of(path: str, remedy: str) -> str:
    """Of the file's content. Raises ComponentError for one that cannot be read."""
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=6).hexdigest()
    except OSError as error:
        raise ComponentError(f"{path} cannot be read ({error.strerror}); {remedy}") from None


def checked_digest(path: str, digest: str, remedy: str, reserved: str = SEPARATORS) -> str:
    """The file's digest. Raises ComponentError if `digest` is given and is another, and for a path
    that cannot be written into a specification.
    """
    bad = [character for character in reserved if character in path]
    if bad:
        raise ComponentError(f"{path} has '{bad[0]}' in its path, which separates options; move it")
    found = digest_of(path, remedy)
    if digest and digest != found:
        raise ComponentError(
            f"{path} is another file than the one of {digest}; leave out digest= to take it as it "
            "is now"
        )
    return found


def read_rows(path: str, *needed: Collection[str]) -> tuple[list[tuple[str, Row]], set[str]]:
    """A CSV file's rows, each with where it stands (file and line, for messages), and its columns.

    needed: columns, all of at least one of these. Raises ComponentError if they are not there, or
    no rows are.
    """
    try:
        with Path(path).open(newline="") as file:
            reader = csv.DictReader(file)
            columns = {*(reader.fieldnames or ())}
            rows = [(f"{path}, row {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ComponentError(f"{path} cannot be read ({error}); name a CSV file") from None
    if not any(columns >= {*names} for names in needed):
        wanted = "; or ".join(_listed(names) for names in needed)
        raise ComponentError(f"{path}, row 1: name the columns {wanted}")
    if not rows:
        raise ComponentError(f"{path}: there are no rows below the names of the columns")
    return rows, columns


def _listed(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def number_in(row: Row, column: str, where: str, low: float, high: float = np.inf) -> float:
    """A finite number of a row. Raises ComponentError naming the row (`where`)."""
    value = _number(row.get(column))
    if not low <= value <= high or value == np.inf:
        raise _refused(row, column, where, "number", low, high)
    return value


def integer_in(row: Row, column: str, where: str, low: int, high: float = np.inf) -> int:
    """As number_in(), of an integer."""
    value = _number(row.get(column))
    if not low <= value <= high or not value.is_integer():
        raise _refused(row, column, where, "whole number", low, high)
    return int(value)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return np.nan


def _refused(
    row: Row, column: str, where: str, kind: str, low: float, high: float
) -> ComponentError:
    most = f" and at most {high:g}" if np.isfinite(high) else ""
    text = row.get(column)
    return ComponentError(f"{where}: {column} is '{text}'; give a {kind} of at least {low:g}{most}")
