"""Reading stored traces: `open_trace(path)` gives a `Trace`, which reads only what it is asked for.

Whatever order the file has, rollouts come out in ascending RL step and, within one, in file order.
Memory holds the key columns once asked for (about 40 bytes per rollout), the arrays handed out, and
one row group. A `Trace` keeps no file open and can be sent to other processes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .lists import ListReader
from .rollouts import Lengths, Rollouts, Tokens, offsets_of
from .schema import FINISH_REASONS, METADATA_KEY, SCHEMA, TraceError, TraceMeta
from .writer import TraceWriter, rollout_table

__all__ = ["Trace", "TraceWriter", "open_trace", "rollout_table"]

logger = logging.getLogger(__name__)

IMPORT_HINT = "make a trace with `longtail trace import` or `longtail record`"


def open_trace(path: str | Path) -> Trace:
    """Open a trace for reading; raises TraceError unless it is a whole longtail trace."""
    trace = Trace(Path(path))
    logger.info("opened %s: %s, %d rollouts", path, trace.meta.origin, trace.n_rollouts)
    return trace


class Trace:
    """A stored trace: its metadata at once, its columns when asked for."""

    path: Path
    meta: TraceMeta

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            problem = "is a folder, not a trace" if path.is_dir() else "no such file"
            raise TraceError(problem, file=path, remedy=IMPORT_HINT)
        try:
            with pq.ParquetFile(path) as file:
                self._footer, schema = file.metadata, file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise TraceError(
                f"not a Parquet file, or a truncated one ({error})",
                file=path,
                remedy=f"fetch it again, or {IMPORT_HINT}",
            ) from None
        if self._footer.num_rows == 0:
            raise TraceError("no rollouts", file=path, remedy=IMPORT_HINT)
        raw = (self._footer.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise TraceError("a Parquet file, but not a trace", file=path, remedy=IMPORT_HINT)
        self.meta = TraceMeta.from_json(raw, file=path)
        for column in SCHEMA:
            found = schema.field(column.name).type if column.name in schema.names else None
            if not _same_type(found, column.type):
                raise TraceError(
                    f"column {column.name} is {found or 'missing'}, not {column.type}",
                    file=path,
                    remedy=IMPORT_HINT,
                )

    def __repr__(self) -> str:
        return f"Trace({str(self.path)!r}, {self.meta.origin}, {self.n_rollouts} rollouts)"

    @property
    def n_rollouts(self) -> int:
        """Rows in the file."""
        return int(self._footer.num_rows)

    @property
    def rl_steps(self) -> list[int]:
        """The RL steps that have rollouts, ascending."""
        return [int(step) for step in np.unique(self._lengths.rl_step)]

    @property
    def prompt_ids(self) -> list[str]:
        """The prompts by first appearance in the file; other arrays index into this list."""
        return self._lengths.prompt_ids

    @cached_property
    def has_tokens(self) -> bool:
        """Whether the rollouts have tokens; False for a lengths-only trace."""
        _, first = next(self.groups(["output_tokens"]))
        return bool(first.column(0).is_valid()[0].as_py())

    def lengths(self, rl_steps: Collection[int] | None = None) -> Lengths:
        """Everything but the tokens, of all RL steps or of those given."""
        if rl_steps is None:
            return self._lengths
        return self._lengths.select(self._wanted(rl_steps))

    def iter_steps(
        self, tokens: bool = True, rl_steps: Collection[int] | None = None
    ) -> Iterator[Rollouts]:
        """One RL step after the other; memory holds one of them (and one row group)."""
        with_tokens = tokens and self.has_tokens
        reader = ListReader(self)
        everything = self._lengths
        for rl_step in self.rl_steps if rl_steps is None else sorted(set(rl_steps)):
            wanted = self._wanted([rl_step])
            step = everything.select(wanted)
            lists: dict[str, np.ndarray] = {}
            if with_tokens:
                rows = self._order[wanted]
                for side, sizes in (("prompt", step.prompt_len), ("output", step.output_len)):
                    offsets = offsets_of(sizes)
                    lists[f"{side}_offsets"] = offsets
                    lists[f"{side}_tokens"] = reader.gather(f"{side}_tokens", rows, offsets)
            yield Rollouts(
                rl_step,
                step.prompt,
                step.sample,
                step.prompt_len,
                step.output_len,
                step.capped,
                step.reward,
                **lists,
            )

    def require_tokens(self) -> None:
        """Raise TraceError for a lengths-only trace."""
        if not self.has_tokens:
            raise TraceError(
                "a lengths-only trace has no tokens",
                file=self.path,
                remedy="import the rollouts with their text or token ids",
            )

    def tokens(self, rl_steps: Collection[int] | None = None) -> Tokens:
        """All tokens at once, aligned with `lengths(rl_steps)`: 4 bytes per output token.

        Raises TraceError for a lengths-only trace.
        """
        self.require_tokens()
        lengths = self.lengths(rl_steps)
        rows = self._order if rl_steps is None else self._order[self._wanted(rl_steps)]
        offsets = offsets_of(lengths.output_len)
        logger.info("reading %d output tokens of %s", offsets[-1], self.path)
        reader = ListReader(self)
        output = reader.gather("output_tokens", rows, offsets)
        texts, text_of = reader.distinct_prompts(rows, lengths.prompt, len(self.prompt_ids))
        prompt_offsets = offsets_of(np.array([len(text) for text in texts], dtype=np.int64))
        return Tokens(output, offsets, np.concatenate(texts), prompt_offsets, text_of)

    def column(self, name: str, rl_steps: Collection[int] | None = None) -> np.ndarray:
        """One more number per rollout (policy_version, start_s, end_s): float64, NaN where null."""
        values = pa.concat_tables(table for _, table in self.groups([name])).column(0)
        numbers = pc.cast(values, pa.float64()).to_numpy().astype(np.float64)[self._order]
        return numbers if rl_steps is None else numbers[self._wanted(rl_steps)]

    def groups(self, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """The file as it lies: (first row from 0, Arrow table) per row group."""
        first = 0
        for index in range(self._footer.num_row_groups):
            table = self.read_group(index, columns or SCHEMA.names)
            yield first, table
            first += table.num_rows

    def read_group(self, index: int, columns: list[str]) -> pa.Table:
        """Some columns of one row group; raises TraceError where the file is damaged."""
        try:
            with pq.ParquetFile(
                self.path, metadata=self._footer, page_checksum_verification=True
            ) as file:
                return file.read_row_group(index, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise TraceError(
                f"the file is damaged ({error})", file=self.path, remedy="fetch or import it again"
            ) from None

    @cached_property
    def group_bounds(self) -> np.ndarray:
        """int64[row groups + 1]: the first row of each row group, then the number of rows."""
        groups = range(self._footer.num_row_groups)
        return offsets_of(np.array([self._footer.row_group(g).num_rows for g in groups], dtype=int))

    def _wanted(self, rl_steps: Collection[int]) -> np.ndarray:
        """Indices into `_lengths` of the given RL steps; raises TraceError for one without rows."""
        steps = np.unique(np.asarray(list(rl_steps), dtype=np.int64))
        column = self._lengths.rl_step  # ascending
        starts = np.searchsorted(column, steps)
        stops = np.searchsorted(column, steps, side="right")
        if (starts == stops).any():
            absent = int(steps[(starts == stops).argmax()])
            present = self.rl_steps
            raise TraceError(
                f"no rollouts in RL step {absent}",
                file=self.path,
                remedy=f"the trace has {len(present)} RL steps from {present[0]} to {present[-1]}",
            )
        ranges = [np.arange(a, b) for a, b in zip(starts, stops, strict=True)]
        return np.concatenate(ranges) if ranges else np.zeros(0, dtype=np.int64)

    @cached_property
    def _order(self) -> np.ndarray:
        """File rows in the order in which rollouts are handed out."""
        steps = pa.concat_tables(table for _, table in self.groups(["rl_step"])).column(0)
        return np.argsort(steps.to_numpy(), kind="stable")

    @cached_property
    def _lengths(self) -> Lengths:
        names = [f.name for f in SCHEMA if not pa.types.is_list(f.type)]
        names = [n for n in names if n not in ("policy_version", "start_s", "end_s")]
        table = pa.concat_tables(table for _, table in self.groups(names))
        ids = table.column("prompt_id").combine_chunks().dictionary_encode()
        finish = pc.index_in(table.column("finish_reason"), pa.array(FINISH_REASONS))
        order = self._order

        def numbers(column: Any, dtype: type) -> np.ndarray:
            values: np.ndarray = column.to_numpy(zero_copy_only=False).astype(dtype)[order]
            return values

        plain = ("rl_step", "sample", "prompt_len", "output_len")
        return Lengths(
            **{name: numbers(table.column(name).combine_chunks(), np.int32) for name in plain},
            prompt=numbers(ids.indices, np.int32),
            finish=numbers(finish.combine_chunks(), np.int8),
            reward=numbers(table.column("reward").combine_chunks(), np.float32),
            prompt_ids=ids.dictionary.to_pylist(),
        )


def _same_type(found: Any, wanted: Any) -> bool:
    """Equal types, whatever the list's element is called."""
    if found is None or not pa.types.is_list(wanted):
        return bool(found == wanted)
    return bool(pa.types.is_list(found) and found.value_type == wanted.value_type)
