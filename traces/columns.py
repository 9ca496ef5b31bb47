"""How a source's columns become ours: `--map field=column`, and typed access to one row.

`field=column` takes a column under another name; `field=a+b` joins text with "/" and adds numbers;
`field=` leaves a column that bears our name alone. Columns that bear our names need no mapping.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .schema import ABORT, LENGTH, STOP, UNKNOWN, TraceError
from .sources import Source

#: What inference engines call the ways in which a rollout ends.
FINISH_WORDS = {
    "stop": STOP,
    "eos": STOP,
    "eos_token": STOP,
    "end_turn": STOP,
    "stop_sequence": STOP,
    "tool_calls": STOP,
    "function_call": STOP,
    "length": LENGTH,
    "max_tokens": LENGTH,
    "max_length": LENGTH,
    "abort": ABORT,
    "aborted": ABORT,
    "cancelled": ABORT,
    "content_filter": ABORT,
}
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


def parse_map(entries: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """`["a=b,c=d", "e=f"]` as {field: column}; raises TraceError for fields not in `known`."""
    fields = list(known)
    mapping: dict[str, str] = {}
    for pair in (pair for entry in entries for pair in entry.split(",") if pair.strip()):
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not equals:
            raise TraceError(f"--map {pair!r} has no '='", remedy="write --map field=column")
        if name not in fields:
            raise TraceError(f"--map: no field {name!r}", remedy=_nearest(name, fields, "fields"))
        if name in mapping:
            raise TraceError(f"--map gives {name!r} twice", remedy="give it once")
        mapping[name] = column
    return mapping


def parse_where(entries: Iterable[str]) -> dict[str, str]:
    """`["column=glob"]` as {column: glob}."""
    where = {}
    for entry in entries:
        column, equals, glob = entry.partition("=")
        if not equals:
            raise TraceError(f"--where {entry!r} has no '='", remedy="write --where 'column=glob'")
        where[column.strip()] = glob
    return where


class Columns:
    """The mapping, bound to the columns that a source's first row has."""

    def __init__(
        self,
        known: Iterable[str],
        mapping: Mapping[str, str],
        where: Mapping[str, str],
        usual: Mapping[str, str] | None = None,
    ) -> None:
        """`usual`: the columns that a known format has for our fields; by default our own names."""
        self.mapping, self.where = mapping, where
        self.usual = {name: name for name in known} if usual is None else usual
        self._bound: dict[str, list[str]] = {}

    def bind(self, source: Source, number: int, row: Mapping[str, Any]) -> None:
        """Fix which columns every field takes; raises TraceError for one that is not there."""
        self._bound = {name: [column] for name, column in self.usual.items() if column in row}
        for name, column in self.mapping.items():
            if not column:
                self._bound.pop(name, None)
                continue
            self._bound[name] = [column] if column in row else column.split("+")
            for part in self._bound[name]:
                self._must_have(source, number, row, part, f"--map {name}={column}")
        for column in self.where:
            self._must_have(source, number, row, column, "--where")

    def wanted(self, row: Mapping[str, Any]) -> bool:
        """Whether the row passes every `--where column=glob`."""
        return all(fnmatchcase(str(row.get(c)), glob) for c, glob in self.where.items())

    def record(self, source: Source, number: int, row: Mapping[str, Any]) -> Record:
        """The row as seen through the mapping."""
        return Record(source, number, row, self._bound)

    @staticmethod
    def _must_have(
        source: Source, number: int, row: Mapping[str, Any], column: str, asked: str
    ) -> None:
        if column not in row:
            remedy = _nearest(column, list(row), "columns")
            raise source.error(f"no column {column!r} ({asked})", number, remedy)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source; each getter gives None for null, TraceError for the wrong type."""

    source: Source
    number: int
    row: Mapping[str, Any]
    bound: Mapping[str, list[str]]

    def error(self, problem: str, remedy: str) -> TraceError:
        """A TraceError at this row."""
        return self.source.error(problem, self.number, remedy)

    def missing(self, field: str) -> TraceError:
        """The error for a field that must be there and is not."""
        if field in self.bound:
            return self.error(f"{field} is null", "fill it in or drop the row")
        columns = ", ".join(self.row)
        return self.error(f"no column {field!r}", f"--map {field}=COLUMN, one of {columns}")

    def label(self, field: str) -> str | None:
        """Text or a whole number, as text."""
        parts = []
        for value in self._values(field):
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            huge = isinstance(value, int | float) and not -INT64_MAX <= value <= INT64_MAX
            if huge or isinstance(value, bool) or not isinstance(value, str | int | float):
                raise self._wrong(field, value, "text or a number")
            parts.append(self._utf8(field, str(value)))
        return "/".join(parts) if parts else None

    def text(self, field: str) -> str | None:
        """Text that UTF-8 can hold."""
        parts = self._values(field)
        for value in parts:
            if not isinstance(value, str):
                raise self._wrong(field, value, "text")
            self._utf8(field, value)
        return "".join(parts) if parts else None

    def integer(self, field: str) -> int | None:
        """A whole number that fits in 32 bits; several columns are added up."""
        values = self._values(field)
        if not values:
            return None
        total = 0
        for value in values:
            number = self._number(field, value, "a whole number")
            if not number.is_integer():
                raise self._wrong(field, value, "a whole number")
            total += int(number)
        if abs(total) > INT32_MAX:
            raise self.error(f"{field} {total} is too large", "at most 2147483647")
        return total

    def real(self, field: str) -> float:
        """A number; NaN for null."""
        values = self._values(field)
        return sum(self._number(field, v, "a number") for v in values) if values else math.nan

    def integers(self, field: str) -> np.ndarray | None:
        """A list of whole numbers, int64[n]."""
        values = self._values(field)
        if not values:
            return None
        if not isinstance(values[0], list):
            raise self._wrong(field, values[0], "a list of whole numbers")
        if not set(map(type, values[0])) <= {int}:
            raise self.error(f"{field} holds something that is no whole number", "write token ids")
        try:
            return np.array(values[0], dtype=np.int64)
        except OverflowError:
            raise self.error(f"{field} holds a number beyond 64 bits", "write token ids") from None

    def finish(self) -> int:
        """The code of `finish_reason` (schema.UNKNOWN for null)."""
        word = self.text("finish_reason")
        if word is None:
            return UNKNOWN
        code = FINISH_WORDS.get(word.lower())
        if code is None:
            raise self.error(
                f"unknown finish_reason {_shown(word)}", "use stop, length, abort or null"
            )
        return code

    def _values(self, field: str) -> list[Any]:
        """The mapped columns' values, or nothing where one of them is null."""
        values = [self.row.get(column) for column in self.bound.get(field, ())]
        absent = any(v is None or (isinstance(v, float) and math.isnan(v)) for v in values)
        return [] if absent else values

    def _utf8(self, field: str, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(f"{field} is not valid Unicode", "remove lone surrogates") from None
        return text

    def _number(self, field: str, value: Any, wanted: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._wrong(field, value, wanted)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self._wrong(field, value, wanted) from None
        if not math.isfinite(number):
            raise self._wrong(field, value, wanted)
        return number

    def _wrong(self, field: str, value: Any, wanted: str) -> TraceError:
        return self.error(
            f"{field} must be {wanted}, not {_shown(value)}",
            f"correct it, or choose with --map {field}=",
        )


def _shown(value: Any) -> str:
    """A value in at most 40 characters."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits; lists in lists
        return f"what cannot be shown ({type(value).__name__})"
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _nearest(name: str, known: list[str], kind: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}{kind}: {', '.join(known)}"
