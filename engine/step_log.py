"""What the engine did, forward by forward: a folder of Parquet parts.

Each part is written under a temporary name and renamed, so that after a crash everything up to the
last flush can be read. Memory holds `ROWS` forwards, and `KEPT` where they cannot be written.
`forwards-*.parquet` has one row per forward, `requests-*.parquet` one per finished request; a
request is known by its number, in order of arrival.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..traces.schema import TraceError
from .folders import own_folder

ROWS = 4096
KEPT = 8 * ROWS
FLUSH_S = 10.0
METADATA_KEY = b"longtail.steps"

_INTS = pa.list_(pa.int32())
FORWARDS = pa.schema(
    [
        pa.field("forward", pa.int64()),  # from 0
        pa.field("rl_step", pa.int32()),
        pa.field("begin_s", pa.float64()),  # since the engine started
        pa.field("forward_s", pa.float64()),  # this forward's share of the engine's time
        pa.field("draft_s", pa.float64()),  # of it: policy, drafting and indexing
        pa.field("schedule_s", pa.float64()),  # of it: vLLM's scheduler
        pa.field("model_s", pa.float64()),  # of it: model and sampling
        pa.field("probe_s", pa.float64()),  # of fixed work after it (engine/probe.py), 0: none done
        pa.field("running", pa.int32()),
        pa.field("waiting", pa.int32()),
        pa.field("tokens", pa.int32()),
        pa.field("requests", pa.int32()),  # that took part
        pa.field("drafted", pa.int32()),
        pa.field("accepted", pa.int32()),
        pa.field("kv_tokens", pa.int64()),  # context of those that took part, this forward included
        pa.field("pairs", pa.int64()),  # of a query and a key: what attention computes
        pa.field("prefill_tokens", pa.int32()),
        pa.field("preempted", pa.int32()),
        # one entry per request that took part
        pa.field("request", _INTS),
        pa.field("request_tokens", _INTS),
        pa.field("request_drafted", pa.list_(pa.int16())),
        pa.field("request_accepted", pa.list_(pa.int16())),
    ]
)
REQUESTS = pa.schema(
    [
        pa.field("request", pa.int32()),
        pa.field("rl_step", pa.int32()),
        pa.field("prompt_id", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("prompt_len", pa.int32()),
        pa.field("output_len", pa.int32()),
        pa.field("finish_reason", pa.string()),
        pa.field("arrive_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("forwards", pa.int32()),  # that gave it tokens
        pa.field("drafted", pa.int32()),
        pa.field("accepted", pa.int32()),
    ]
)


class StepLog:
    """Writes a step log to a folder of its own in `base`; rows are in the order of the schemas.

    Raises TraceError where none can be made.
    """

    def __init__(self, base: Path, metadata: Mapping[str, Any]) -> None:
        self.folder = own_folder(base)
        about = {**metadata, "log_id": secrets.token_hex(8)}  # parts of two logs do not mix
        self._metadata = {METADATA_KEY: json.dumps(about, sort_keys=True).encode()}
        self._rows: dict[str, list[tuple]] = {"forwards": [], "requests": []}
        self._parts = {"forwards": 0, "requests": 0}
        self._due = ROWS  # forwards at which they are written
        self._flushed = time.monotonic()

    def forward(self, row: tuple) -> None:
        """One forward, in the order of `FORWARDS`."""
        rows = self._rows["forwards"]
        rows.append(row)
        if len(rows) >= self._due or self.age_s > FLUSH_S:
            self.flush()

    def request(self, row: tuple) -> None:
        """One finished request, in the order of `REQUESTS`."""
        self._rows["requests"].append(row)

    @property
    def age_s(self) -> float:
        """Seconds since the last attempt to write."""
        return time.monotonic() - self._flushed

    def flush(self) -> None:
        """Write what is pending as one part of each kind. Raises OSError where it cannot; it is
        kept then, the latest `KEPT` rows of it, and tried again after as many rows or seconds. A
        row that no part can hold is dropped, and an ArrowException or OverflowError says so.
        """
        self._flushed = time.monotonic()
        for rows in self._rows.values():
            del rows[:-KEPT]
        self._due = len(self._rows["forwards"]) + ROWS
        for kind, schema in (("forwards", FORWARDS), ("requests", REQUESTS)):
            rows = self._rows[kind]
            if not rows:
                continue
            try:
                table = _table(rows, schema)
            except Exception:
                sound = [row for row in rows if _fits(row, schema)]
                if len(sound) < len(rows):
                    rows[:] = sound
                    self.flush()
                raise
            path = self.folder / f"{kind}-{self._parts[kind]:06d}.parquet"
            hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            pq.write_table(
                table.replace_schema_metadata(self._metadata), hidden, compression="zstd"
            )
            os.replace(hidden, path)
            rows.clear()
            self._parts[kind] += 1
        self._due = ROWS


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fits(row: tuple, schema: pa.Schema) -> bool:
    try:
        _table([row], schema)
    except Exception:
        return False
    return True


def read_step_log(folder: str | Path, kind: str = "forwards") -> pd.DataFrame:
    """The whole log as it was written, `kind` forwards or requests; lists become numpy arrays.

    folder: an engine's, or one that holds one engine's. `attrs["run"]` holds the run's metadata.
    Raises TraceError where there is no step log, or more than one.
    """
    folder = Path(folder)
    parts = sorted(folder.glob(f"{kind}-*.parquet")) or sorted(folder.glob(f"*/{kind}-*.parquet"))
    engines = sorted({part.parent.name for part in parts})
    if len(engines) > 1:
        raise TraceError(
            f"the step logs of {len(engines)} engines",
            file=folder,
            remedy=f"name one of them, such as {folder / engines[-1]}",
        )
    if not parts:
        raise TraceError(
            "no step log", file=folder, remedy="name a folder that `longtail run` has written"
        )
    try:
        tables = [pq.read_table(part) for part in parts]
        runs = {(table.schema.metadata or {})[METADATA_KEY] for table in tables}
        frame = pa.concat_tables(tables).to_pandas()
        frame.attrs["run"] = json.loads(min(runs))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise TraceError(
            f"a part of the step log is damaged or something else ({error})",
            file=folder,
            remedy="run again",
        ) from None
    schema = FORWARDS if kind == "forwards" else REQUESTS
    missing = [name for name in schema.names if name not in frame]
    if missing:
        raise TraceError(
            f"written by an earlier version, without {', '.join(missing)}",
            file=folder,
            remedy="run again, in a new folder",
        )
    if len(runs) > 1:
        raise TraceError(
            f"parts of {len(runs)} engines' step logs in one folder",
            file=parts[0].parent,
            remedy="keep each engine's parts in a folder of their own, as they were written",
        )
    return frame
