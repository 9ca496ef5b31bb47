"""`TraceWriter`: rollouts in, one Parquet trace out, whole or not at all.

Rows stream to a temporary file in the target's folder, which takes the target's name when all of
them proved valid and their keys unique; after any error nothing is left behind. Rows keep the
order they arrive in (ascending RL step is the fastest to read). Memory holds one row group, plus
twelve bytes per row for the keys.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .schema import METADATA_KEY, SCHEMA, TraceError, TraceMeta, check_rows, first_repeat

GROUP_ROWS = 4096
GROUP_TOKENS = 1 << 22


class TraceWriter:
    """Context manager that writes one trace; `meta` may be replaced until the block ends.

    >>> with TraceWriter("run.parquet", TraceMeta(origin="recorded")) as writer:
    ...     writer.write([{"rl_step": 0, "prompt_id": "p", "sample": 0, ...}])

    Raises TraceError where the target cannot be written, a row is invalid or a key repeats.
    """

    def __init__(self, path: str | Path, meta: TraceMeta) -> None:
        self.path = Path(path)
        self.meta = meta
        self.n_rollouts = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_tokens = 0
        self._prompts: dict[str, int] = {}
        self._keys: list[np.ndarray] = []
        self._has_tokens: bool | None = None
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")

    def __enter__(self) -> TraceWriter:
        if self.path.exists() and not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "not a regular file"
            raise TraceError(f"the output is {kind}", file=self.path, remedy="name a file")
        try:
            self._sink = open(self._temporary, "xb")
        except OSError as error:
            raise TraceError(
                f"cannot write here ({error.strerror})",
                file=self.path,
                remedy="name a file in an existing folder that you may write to",
            ) from None
        self._parquet = pq.ParquetWriter(
            self._sink, SCHEMA, compression="zstd", write_page_checksum=True
        )
        return self

    def write(self, rows: pa.Table | Iterable[Mapping[str, Any]]) -> None:
        """Append rollouts: a table in SCHEMA (see `rollout_table`) or mappings by column name."""
        if not isinstance(rows, pa.Table):
            rows = self._table(rows)
        if rows.num_rows == 0:
            return
        check_rows(
            rows, vocab_size=self.meta.vocab_size, file=self.path, first_row=self.n_rollouts + 1
        )
        self._note_keys(rows)
        for piece in _pieces(rows):
            tokens = _tokens_in(piece)
            if (
                self._pending_rows + piece.num_rows > GROUP_ROWS
                or self._pending_tokens + tokens > GROUP_TOKENS
            ):
                self._flush()
            self._pending.append(piece)
            self._pending_rows += piece.num_rows
            self._pending_tokens += tokens
        self.n_rollouts += rows.num_rows

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._pending.clear()
            self._temporary.unlink(missing_ok=True)
            if not self._sink.closed:
                with suppress(OSError):  # a full disk has been reported already
                    self._parquet.close()
                    self._sink.close()

    def _finish(self) -> None:
        if self.n_rollouts == 0:
            raise TraceError("no rollouts to write", file=self.path, remedy="give at least one")
        self._refuse_repeats()
        self._flush()
        self._parquet.add_key_value_metadata({METADATA_KEY: self.meta.to_json()})
        try:
            self._parquet.close()
            self._sink.close()
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise self._unwritable(error) from None

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        try:
            self._parquet.write_table(table, row_group_size=table.num_rows)
        except OSError as error:
            raise self._unwritable(error) from None
        self._pending.clear()
        self._pending_rows = self._pending_tokens = 0

    def _unwritable(self, error: OSError) -> TraceError:
        return TraceError(
            f"writing failed ({error.strerror or error})",
            file=self.path,
            remedy="free some space or write elsewhere",
        )

    def _table(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        listed = list(rows)
        for i, row in enumerate(listed):
            if unknown := set(row) - set(SCHEMA.names):
                raise TraceError(
                    f"unknown column {min(unknown)!r}",
                    file=self.path,
                    row=self.n_rollouts + i + 1,
                    remedy=f"the columns are {', '.join(SCHEMA.names)}",
                )
        try:
            return pa.Table.from_pylist(listed, schema=SCHEMA)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise TraceError(
                f"a value has the wrong type ({error})",
                file=self.path,
                row=self.n_rollouts + 1 + _first_bad(listed),
                remedy="see the schema in traces/schema.py",
            ) from None

    def _note_keys(self, rows: pa.Table) -> None:
        absent = rows.column("output_tokens").null_count
        has_tokens = absent == 0
        if absent not in (0, rows.num_rows) or self._has_tokens not in (None, has_tokens):
            raise TraceError(
                "some rollouts have tokens and some have none",
                file=self.path,
                remedy="write two traces",
            )
        self._has_tokens = has_tokens
        known = self._prompts
        keys = np.empty((3, rows.num_rows), dtype=np.int32)
        keys[0] = rows.column("rl_step").to_numpy()
        keys[1] = [known.setdefault(p, len(known)) for p in rows.column("prompt_id").to_pylist()]
        keys[2] = rows.column("sample").to_numpy()
        self._keys.append(keys)

    def _refuse_repeats(self) -> None:
        rl_step, prompt, sample = np.concatenate(self._keys, axis=1)
        if repeat := first_repeat(rl_step, prompt, sample):
            first, second = repeat
            prompt_id = list(self._prompts)[prompt[second]]
            raise TraceError(
                f"same key as row {first + 1} (rl_step {rl_step[second]}, prompt_id "
                f"{prompt_id!r}, sample {sample[second]})",
                file=self.path,
                row=second + 1,
                remedy="number the samples of a prompt apart",
            )


def rollout_table(**columns: Any) -> pa.Table:
    """A table in SCHEMA from arrays or lists by column name; absent optional columns are null.

    List columns (`prompt_tokens`, `output_tokens`, `drafted`, `accepted`) are given as a flat array
    and its n + 1 offsets (at most 2**31 - 1 elements), and optionally a mask of the null rows.
    """
    n = len(columns["rl_step"])
    arrays = []
    for column in SCHEMA:
        values = columns.pop(column.name, None)
        if values is None:
            arrays.append(pa.nulls(n, column.type))
        elif pa.types.is_list(column.type):
            flat, offsets, *null = values
            items = pa.array(flat, type=column.type.value_type)
            mask = pa.array(null[0]) if null else None
            starts = pa.array(offsets, type=pa.int32())
            arrays.append(pa.ListArray.from_arrays(starts, items, mask=mask))
        else:
            arrays.append(pa.array(values, type=column.type))
    assert not columns, f"not in the schema: {', '.join(columns)}"
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _tokens_in(table: pa.Table) -> int:
    """Elements in the token columns."""
    return sum(
        len(chunk.flatten())
        for name in ("prompt_tokens", "output_tokens")
        for chunk in table.column(name).chunks
    )


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """Consecutive slices of at most GROUP_ROWS rows and, beyond one row, GROUP_TOKENS tokens."""
    if table.num_rows <= GROUP_ROWS and _tokens_in(table) <= GROUP_TOKENS:
        yield table
        return
    tokens = np.zeros(table.num_rows, dtype=np.int64)
    if table.column("output_tokens").null_count == 0:
        tokens += table.column("prompt_len").to_numpy()
        tokens += table.column("output_len").to_numpy()
    ends = np.cumsum(tokens)
    start = 0
    while start < table.num_rows:
        before = ends[start] - tokens[start]
        fits = int(np.searchsorted(ends, before + GROUP_TOKENS, side="right"))
        stop = min(max(fits, start + 1), start + GROUP_ROWS, table.num_rows)
        yield table.slice(start, stop - start)
        start = stop


def _first_bad(rows: list[Mapping[str, Any]]) -> int:
    """The first row that does not convert to SCHEMA."""
    for i, row in enumerate(rows):
        try:
            pa.Table.from_pylist([row], schema=SCHEMA)
        except (pa.ArrowException, TypeError, OverflowError):
            return i
    return 0
