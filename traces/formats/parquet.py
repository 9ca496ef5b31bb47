"""Records of a Parquet file, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..sources import TRUNCATED, Source

BATCH_ROWS = 64
SLOT = 8  # bytes of a value in memory at least


def parquet_records(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows, numbered from 1: numbers, text, and lists of objects (chat messages).

    Columns of other types are left out. Raises TraceError for a file that is damaged or unpacks to
    far more than its size.
    """
    number = unpacked = 0
    try:
        with open(source.path, "rb") as stream:
            size = stream.seek(0, 2)
            file = pq.ParquetFile(stream)
            source.refuse_expansion(_unpacked(file.metadata), size)
            columns = [field.name for field in file.schema_arrow if _is_read(field.type)]
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                unpacked += batch.nbytes
                source.refuse_expansion(unpacked, size, number + 1)
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise source.error(f"cannot be read ({error})", number + 1, TRUNCATED) from None


def _unpacked(file: pq.FileMetaData) -> int:
    """Bytes that the file says it holds, before any of it is read: one value may be most of it, and
    lists of nothing take no space in a file, but in memory they do.
    """
    groups = (file.row_group(i) for i in range(file.num_row_groups))
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    return sum(max(c.total_uncompressed_size, 0) + SLOT * max(c.num_values, 0) for c in chunks)


def _is_read(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.types.is_struct(kind.value_type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return text or number
