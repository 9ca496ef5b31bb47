"""Finished rollouts as traces: a folder of Parquet files, each of them whole.

A file is written when an RL step begins, when the engine has nothing left to do, and whenever
enough has come together: memory is bounded, and a crash costs what was not written yet.
`longtail trace join FOLDER -o T.parquet` makes one trace of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ..traces.schema import SCHEMA, TraceMeta, check_rows
from ..traces.select import in_order
from ..traces.writer import TraceWriter
from .folders import own_folder

TOKENS = 1 << 22  # output tokens that are held; four times as many where they cannot be written


class Recorder:
    """Rows by column name in, traces out, in a folder of its own in `base`.

    Raises TraceError where none can be made.
    """

    def __init__(self, base: Path, meta: TraceMeta) -> None:
        self.folder, self.meta = own_folder(base), meta
        self._rows: list[dict[str, Any]] = []
        self._tokens = self._files = 0
        self._due = TOKENS
        self._sampling: dict[str, set] = {}

    def add(self, row: dict[str, Any], sampling: dict[str, Any]) -> None:
        """A finished rollout, and the sampling parameters it had."""
        self._rows.append(row)
        for name, value in sampling.items():
            self._sampling.setdefault(name, set()).add(value)
        self._tokens += len(row["output_tokens"])
        if self._tokens >= self._due:
            self.write()

    def write(self) -> None:
        """Write what is held as the next file. Raises OSError or TraceError where it cannot; it is
        kept then, but for the oldest and what no trace can hold, and tried again when a quarter
        more has come together.
        """
        if not self._rows:
            return
        self._due = self._tokens + TOKENS // 4
        sampling = {
            name: next(iter(values)) if len(values) == 1 else in_order(values)
            for name, values in sorted(self._sampling.items())
        }
        meta = TraceMeta(**{**vars(self.meta), "sampling": sampling})
        try:
            with TraceWriter(self.folder / f"rollouts-{self._files:06d}.parquet", meta) as writer:
                writer.write(self._rows)
        except Exception:
            sound = [row for row in self._rows if self._fits(row)]
            retry = len(sound) < len(self._rows)
            self._rows, self._tokens = sound, sum(len(row["output_tokens"]) for row in sound)
            if retry:
                self.write()
            while self._tokens > 4 * TOKENS:
                self._tokens -= len(self._rows.pop(0)["output_tokens"])
            raise
        self._rows, self._tokens, self._due, self._sampling = [], 0, TOKENS, {}
        self._files += 1

    def _fits(self, row: dict[str, Any]) -> bool:
        """Whether a trace can hold the row."""
        try:
            table = pa.Table.from_pylist([row], schema=SCHEMA)
            check_rows(table, vocab_size=self.meta.vocab_size, file=self.folder, first_row=1)
        except Exception:
            return False
        return True


class Samples:
    """Numbers the rollouts of a prompt within an RL step, so that keys are unique."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, Any], set[int]] = {}

    def take(self, rl_step: int, prompt_id: Any, wanted: int | None = None) -> int:
        """`wanted` if it is free, else the next number that is."""
        taken = self._taken.setdefault((rl_step, prompt_id), set())
        number = len(taken) if wanted is None else wanted
        while number in taken:
            number += 1
        taken.add(number)
        return number

    def forget(self, before: int) -> None:
        """RL steps below `before` take no more rollouts."""
        self._taken = {key: value for key, value in self._taken.items() if key[0] >= before}
