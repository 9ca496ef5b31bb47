"""A table's frame as what the page shows: headings, and cells with the value that sorts them.

Numbers keep all their digits in `value`; what is shown has six. Missing ones are dashes. Columns
that are the same in every row are said once, above the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .page import Table

COLUMNS = 40  # shown at most
LONGEST = 300  # characters of a cell
FOLDED_FROM = 6  # columns from which those that never change are told apart
DASH = "–"


@dataclass(frozen=True)
class Cell:
    """One value: what is shown, and, where that is not the number itself, the number."""

    shown: str
    value: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table to be shown: heading and whether it is of numbers, for each column; rows of cells."""

    heads: list[tuple[str, bool]]
    rows: list[list[Cell]]
    same: dict[str, str]  # columns that are equal in every row
    notes: list[str]


def grid(table: Table, most: int) -> Grid:
    """The table's first `most` rows, and in words what is left out."""
    frame, notes = table.frame, []
    same = _constant(frame) if len(frame) > 1 and frame.shape[1] >= FOLDED_FROM else []
    values = {str(frame.columns[i]): _cell(frame.iat[0, i], "").shown for i in same}
    values = {name: text for name, text in values.items() if text}
    keep = [i for i in range(frame.shape[1]) if i not in same]
    shown = frame.iloc[:most, keep]
    if len(shown) < table.rows:
        where = f"; all of them are in {table.source}" if table.source else ""
        notes.append(f"The first {len(shown):,} of {table.rows:,} rows{where}.")
    if len(keep) > COLUMNS:
        notes.append(f"The first {COLUMNS} of {len(keep):,} columns.")
        shown = shown.iloc[:, :COLUMNS]
    names = [str(name)[:LONGEST] for name in shown.columns]
    numeric = [_is_number(shown.iloc[:, i]) for i in range(shown.shape[1])]
    columns = [
        [_cell(value, table.forms.get(name, "")) for value in shown.iloc[:, i].tolist()]
        for i, name in enumerate(names)
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Grid(list(zip(names, numeric, strict=True)), rows, values, notes)


def number(value: float) -> str:
    """A number for people: six digits, thousands apart."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1e5:
        return f"{value:,.1f}" if abs(value) < 1e15 else f"{value:.6g}"
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.2f}"


def facts(pairs: Mapping[str, object]) -> dict[str, str]:
    """Names and values for people, those without a value left out."""
    shown = {name: _cell(value, "").shown for name, value in pairs.items()}
    return {name: text for name, text in shown.items() if text not in (DASH, "")}


def _constant(frame: pd.DataFrame) -> list[int]:
    """Columns that hold one value only, numbers left where they are results."""
    found = []
    for i in range(frame.shape[1]):
        column = frame.iloc[:, i]
        first: Any = column.iat[0]
        if isinstance(first, (list, dict, np.ndarray)) or (
            _is_number(column) and not _missing(first)
        ):
            continue
        values = column.tolist()
        if _missing(first):
            same = all(map(_missing, values))
        else:
            same = all(type(value) is type(first) and value == first for value in values)
        if same:
            found.append(i)
    return found


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (
        isinstance(value, float) and math.isnan(value)
    )  # fmt: skip


def _cell(value: Any, form: str) -> Cell:
    if _missing(value):
        return Cell(DASH, "")
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float, np.integer, np.floating)):
        try:
            plain = value.item() if isinstance(value, (np.integer, np.floating)) else value
            text = form.format(plain) if form else number(plain)
        except (ValueError, OverflowError):
            text = str(value)
        exact = repr(plain) if not (isinstance(plain, float) and math.isinf(plain)) else (
            "Infinity" if plain > 0 else "-Infinity"
        )  # fmt: skip
        return Cell(text[:LONGEST], None if text == exact else exact[:LONGEST])
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text):,} characters)"
    return Cell(text)
