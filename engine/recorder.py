"""Finished rollouts as traces: a folder of Parquet files, each of them whole.

A file is written when an RL step ends and whenever enough has come together, so memory is bounded
and a crash costs at most what was not written yet. `longtail trace join FOLDER -o T.parquet` makes
one trace of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..traces.schema import TraceError, TraceMeta
from ..traces.writer import TraceWriter

TOKENS = 1 << 22  # output tokens that are held at most


class Recorder:
    """Rows by column name in, traces out. Raises TraceError if the folder cannot be used."""

    def __init__(self, folder: Path, meta: TraceMeta) -> None:
        self.folder, self.meta = folder, meta
        self._rows: list[dict[str, Any]] = []
        self._tokens = self._files = 0
        self._sampling: dict[str, set] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(folder.iterdir())
        except OSError as error:
            raise TraceError(
                f"cannot record here ({error.strerror})",
                file=folder,
                remedy="name a folder that you may write to",
            ) from None
        if occupied:
            raise TraceError(
                "the folder to record to is not empty", file=folder, remedy="name a new folder"
            )

    def add(self, row: dict[str, Any], sampling: dict[str, Any]) -> None:
        """A finished rollout, and the sampling parameters it had."""
        self._rows.append(row)
        for name, value in sampling.items():
            self._sampling.setdefault(name, set()).add(value)
        self._tokens += len(row["output_tokens"])
        if self._tokens >= TOKENS:
            self.write()

    def write(self) -> None:
        """Write what is held as the next file."""
        rows, self._rows, self._tokens = self._rows, [], 0
        if not rows:
            return
        sampling = {
            name: values.copy().pop() if len(values) == 1 else sorted(values)
            for name, values in sorted(self._sampling.items())
        }
        meta = TraceMeta(**{**vars(self.meta), "sampling": sampling})
        path = self.folder / f"rollouts-{self._files:06d}.parquet"
        with TraceWriter(path, meta) as writer:
            writer.write(rows)
        self._files += 1


class Samples:
    """Numbers the rollouts of a prompt within an RL step, so that keys are unique."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, Any], set[int]] = {}

    def take(self, rl_step: int, prompt_id: Any, wanted: int | None = None) -> int:
        """`wanted` if it is free, else the smallest free number."""
        taken = self._taken.setdefault((rl_step, prompt_id), set())
        number = len(taken) if wanted is None or wanted < 0 else wanted
        while number in taken:
            number += 1
        taken.add(number)
        return number

    def forget(self, before: int) -> None:
        """RL steps below `before` take no more rollouts."""
        self._taken = {key: value for key, value in self._taken.items() if key[0] >= before}
