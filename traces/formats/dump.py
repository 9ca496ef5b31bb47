"""`Dump`: a file of a known format as a source of rows.

Its records are read as the format's kind of file, have to be of the format, and are unfolded into
rows, one per rollout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..sources import MAX_LINE, Source
from .format import WIDE_LINE, Raw, Reading
from .parquet import parquet_records
from .torch_file import torch_records

Records = Iterator[tuple[int, Mapping[str, Any]]]

#: First bytes of a file; whatever begins otherwise is text, perhaps packed.
MAGIC = {b"PAR1": "parquet", b"PK\x03\x04": "pt"}

READERS: dict[str, Callable[[Source], Records]] = {
    "jsonl": Source.json_rows,
    "csv": Source.csv_rows,
    "parquet": parquet_records,
    "pt": torch_records,
}


class Dump(Source):
    """One file of a dump; `rows` are rollouts under the names of the format's `fields`."""

    def __init__(self, path: str, reading: Reading) -> None:
        super().__init__(path, WIDE_LINE if reading.format.wide_lines else MAX_LINE)
        self._reading = reading

    def rows(self, otherwise: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of every record, numbered as the record; `otherwise` is not needed."""
        form = self._reading.format
        self._refuse_kind()
        step, step_column = form.step_of(self.path), form.fields.get("rl_step", "rl_step")
        for number, values in READERS[form.kind](self):
            raw = Raw(self, number, values, step)
            if form.mark(values) is None:
                raise raw.error(*_not_of(self._reading, values))
            for row in form.unfold(raw, self._reading) if form.unfold else (dict(values),):
                if row.get(step_column) is None:
                    row.pop(step_column, None)
                    if step is not None:
                        row[step_column] = step
                yield number, row

    def _refuse_kind(self) -> None:
        """Parquet and .pt files say what they are; say so before a reader stumbles over them."""
        if not os.path.isfile(self.path):  # a pipe gives its first bytes only once
            return
        form, head = self._reading.format, self.head()
        found = MAGIC.get(head[:4], "text")
        wanted = form.kind if form.kind in MAGIC.values() else "text"
        if found != wanted:
            problem = f"not a {form.name} dump: a {wanted} file is wanted, this is {found}"
            raise self.error(problem, remedy=f"it looks like {form.looks}")


def _not_of(reading: Reading, values: Mapping[str, Any]) -> tuple[str, str]:
    """Problem and remedy for a record of another format."""
    form = reading.format
    names = [str(name) for name in values]
    lacks = [sorted(mark - values.keys()) for mark in form.marks]
    shown = " or ".join(", ".join(missing) for missing in sorted(lacks, key=len)[:2])
    found = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return (
        f"not a {form.name} record: it has {found or 'no fields'} and lacks {shown}",
        f"one looks like {form.looks}; or use `trace import text --map`",
    )
