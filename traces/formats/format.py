"""`Format`: one kind of dump, mostly as data; `Raw`: one of its records; `Reading`: one import.

A format says which files of a folder are its, how records are read from them, how to recognise
them, and which of their columns are which of our fields. Where a record is not a rollout, `unfold`
turns it into some.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..schema import TraceError
    from ..sources import Source

#: One line of a step's dump may hold the whole step.
WIDE_LINE = 1 << 29

#: How a dump's file may be packed by whoever kept it.
PACKED = r"(?:\.gz|\.zst)?$"
#: What text that its writer stripped of special tokens does not tell.
STRIPPED_TEXT = (
    *("token ids", "end tokens", "finish reasons", "lengths", "times"),
    "special tokens (stripped from text)",
)
FAILED = "{n} requests failed and are left out"

Rows = Iterable[dict[str, Any]]


@dataclass(frozen=True)
class Format:
    """One kind of dump.

    `marks` are alternatives: a record is of this format if it has all fields of one of them. `path`
    is searched in the absolute path of each file of a folder; its group `step` is the RL step where
    records do not say. `skip` tells files to leave out, by their path below the folder that was
    named. `fields` maps our fields to the columns of (unfolded) records. `ends_shown`: text keeps
    its end token, so that one without it was cut. `unknown` says what such a dump never tells.
    """

    name: str
    about: str
    source: str
    looks: str
    kind: str
    marks: tuple[frozenset[str], ...]
    path: str
    fields: Mapping[str, str]
    skip: str | None = None
    unfold: Callable[[Raw, Reading], Rows] | None = None
    lengths_only: bool = False
    ends_shown: bool = False
    wide_lines: bool = False
    unknown: tuple[str, ...] = ()

    def mark(self, record: Mapping[str, Any]) -> frozenset[str] | None:
        """The fields by which the record is of this format; None if it is not."""
        return next((mark for mark in self.marks if mark <= record.keys()), None)

    def skips(self, path: str, folder: str) -> bool:
        """Whether a file (absolute path) is to be left out of what the folder holds."""
        below = path.removeprefix(os.path.abspath(folder).rstrip("/"))
        return self.skip is not None and re.search(self.skip, below) is not None

    def step_of(self, path: str) -> str | None:
        """The RL step that a file's path tells."""
        found = re.search(self.path, path)
        return found["step"] if found and "step" in found.groupdict() else None


@dataclass
class Reading:
    """A format as used in one import: what was counted, and what later records need of earlier."""

    format: Format
    told: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as its writer left it; `step` is the RL step that its file's path tells."""

    source: Source
    number: int
    values: Mapping[str, Any]
    step: str | None = None

    def error(self, problem: str, remedy: str = "correct or drop the record") -> TraceError:
        """A TraceError at this record."""
        return self.source.error(problem, self.number, remedy)

    def get(self, path: str, kind: type | tuple[type, ...] = object) -> Any:
        """What stands at `a.b.c`, None where it is null or not there.

        Raises TraceError where it is of another type than `kind`.
        """
        value: Any = self.values
        for name in path.split("."):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise self.error(f"{path}: {name} is looked for in what is no object")
            value = value.get(name)
        if value is not None and not isinstance(value, kind):
            raise self.error(f"{path} is {type(value).__name__}, not as documented")
        return value

    def plain(self) -> dict[str, Any]:
        """The record's text and numbers, for `--where` and `--map` to use."""
        return {
            k: v for k, v in self.values.items() if v is None or isinstance(v, str | int | float)
        }

    def real(self, path: str) -> float | None:
        """The finite number at `path`, also if it is written as text; None where absent."""
        value = self.get(path)
        return None if value is None or value == "" else self.finite(value, path)

    def finite(self, value: Any, what: str) -> float:
        """A value as a finite number; TraceError where it is none."""
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"{what} holds what is no finite number")
        return number

    def within(self, value: Any, what: str) -> Raw:
        """A part of this record, as a record."""
        if not isinstance(value, Mapping):
            raise self.error(f"{what} is {type(value).__name__}, not an object")
        return Raw(self.source, self.number, value, self.step)

    def parts(self, path: str) -> Iterator[Raw]:
        """The objects of a list at `path`."""
        for value in self.get(path, list) or ():
            yield self.within(value, f"an item of {path}")


def first(value: Any) -> Any:
    """The item of a list of one, as microbatches of one write it; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def same(*names: str) -> dict[str, str]:
    """`fields` that unfolded records call by our names."""
    return {name: name for name in names}
