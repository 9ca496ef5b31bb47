"""A trace as CSV for other programs: one row per rollout, all but the tokens.

`trace import lengths` reads it back: keys, lengths, finish reasons, rewards, policy versions and
times are the same. An empty cell is not known; `forwards` are those that decoded, with what they
drafted and accepted in all, where that was recorded.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from .exporting import PLAIN, Exported, called, check_target, opened, tables
from .rollouts import offsets_of
from .schema import SCHEMA
from .store import Trace

COLUMNS = [field.name for field in SCHEMA if not pa.types.is_list(field.type)]


def export_csv(
    trace: Trace, output: str | Path, rl_steps: Collection[int] | None = None
) -> Exported:
    """Write the rollouts of the RL steps, or of all, in the file's order; memory holds one row
    group. Raises TraceError.
    """
    path = check_target(output, [trace.path])
    if rl_steps is not None:
        trace.lengths(rl_steps)  # refuses one that is not there
    same = {"origin": trace.meta.origin, "source": called(trace), "model": trace.meta.model}
    rows = 0
    with opened(path) as stream:
        writer: Any = None
        for table in tables(trace, [*COLUMNS, "drafted", "accepted"], rl_steps):
            part = _tidy(table, same)
            if writer is None:
                writer = pyarrow.csv.CSVWriter(stream, part.schema, write_options=PLAIN)
            writer.write_table(part)
            rows += len(part)
        writer.close()
    return Exported(rows)


def _tidy(table: pa.Table, same: dict[str, str | None]) -> pa.Table:
    """Rows without lists, and what is the same in all of them."""
    columns: dict[str, Any] = {name: table.column(name) for name in COLUMNS}
    columns["reward"] = pc.if_else(pc.is_nan(columns["reward"]), None, columns["reward"])
    drafted = table.column("drafted").combine_chunks()
    columns["forwards"] = pc.list_value_length(drafted)
    columns["draft_tokens"] = _sums(drafted)
    columns["accepted_tokens"] = _sums(table.column("accepted").combine_chunks())
    for name, value in same.items():
        columns[name] = pa.array([value] * len(table), pa.string())
    return pa.table(columns)


def _sums(lists: pa.ListArray) -> pa.Array:
    """The sum of each list, null for none."""
    offsets = offsets_of(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    running = offsets_of(lists.flatten().to_numpy())
    return pa.array(
        np.diff(running[offsets]), mask=pc.is_null(lists).to_numpy(zero_copy_only=False)
    )
