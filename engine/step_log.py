"""What the engine did, forward by forward: a folder of Parquet parts.

Each part is written under a temporary name and renamed, so that after a crash everything up to the
last flush can be read. Memory holds at most `ROWS` forwards. `forwards-*.parquet` has one row per
forward, `requests-*.parquet` one per finished request; a request is known by its number, in order
of arrival.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..traces.schema import TraceError

ROWS = 4096
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
        pa.field("running", pa.int32()),
        pa.field("waiting", pa.int32()),
        pa.field("tokens", pa.int32()),
        pa.field("requests", pa.int32()),  # that took part
        pa.field("drafted", pa.int32()),
        pa.field("accepted", pa.int32()),
        pa.field("kv_tokens", pa.int64()),  # context of those that took part, this forward included
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
    """Writes a step log to a new or empty folder; `append` and `finish` take rows by column name.

    Raises TraceError where the folder cannot be used.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self.folder = folder
        self._metadata = {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
        self._rows: dict[str, list[tuple]] = {"forwards": [], "requests": []}
        self._parts = 0
        self._flushed = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(folder.iterdir())
        except OSError as error:
            raise TraceError(
                f"cannot keep a step log here ({error.strerror})",
                file=folder,
                remedy="name a folder that you may write to",
            ) from None
        if occupied:
            raise TraceError(
                "the step log's folder is not empty", file=folder, remedy="name a new folder"
            )

    def forward(self, row: tuple) -> None:
        """One forward, in the order of `FORWARDS`."""
        rows = self._rows["forwards"]
        rows.append(row)
        if len(rows) >= ROWS or time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def request(self, row: tuple) -> None:
        """One finished request, in the order of `REQUESTS`."""
        self._rows["requests"].append(row)

    def flush(self) -> None:
        """Write what is pending as one part of each kind."""
        for kind, schema in (("forwards", FORWARDS), ("requests", REQUESTS)):
            rows, self._rows[kind] = self._rows[kind], []
            if rows:
                columns = list(zip(*rows, strict=True))
                arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
                table = pa.Table.from_arrays(arrays, schema=schema)
                path = self.folder / f"{kind}-{self._parts:06d}.parquet"
                hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
                pq.write_table(
                    table.replace_schema_metadata(self._metadata), hidden, compression="zstd"
                )
                os.replace(hidden, path)
        self._parts += 1
        self._flushed = time.monotonic()


def read_step_log(folder: Path, kind: str = "forwards") -> pd.DataFrame:
    """The whole log as it was written, `kind` forwards or requests; lists become numpy arrays.

    `attrs["run"]` holds the run's metadata. Raises TraceError where there is no step log.
    """
    parts = sorted(folder.glob(f"{kind}-*.parquet")) if folder.is_dir() else []
    if not parts:
        raise TraceError(
            "no step log", file=folder, remedy="name a folder that `longtail run` has written"
        )
    try:
        tables = [pq.read_table(part) for part in parts]
    except (pa.ArrowException, OSError) as error:
        raise TraceError(
            f"a part of the step log is damaged ({error})", file=folder, remedy="run again"
        ) from None
    frame = pa.concat_tables(tables).to_pandas()
    frame.attrs["run"] = json.loads(tables[0].schema.metadata[METADATA_KEY])
    return frame
