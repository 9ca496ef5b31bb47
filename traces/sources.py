"""Source files of rollouts: rows as dictionaries, with the number of the line they came from.

JSONL and CSV, plain, gzip or zstd (told apart by their first bytes), from a file or, as `-`, from
standard input. Reads in streams: memory holds one record; its line may not be longer than
`max_line` or hold too many values (each takes more memory than its text), and compressed data may
not unpack to far more than honest text does. Whatever is wrong with a file is a TraceError naming
file and row.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from .schema import TraceError

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl"}
MAX_LINE = 1 << 26  # bytes; also characters of a CSV record, which quotes may spread over lines
MAX_VALUES = 1 << 25  # of a longer line
#: Text of rollouts packs to a tenth, of endless repetition to a hundredth of its size.
MAX_EXPANSION = 250
FREE_EXPANSION = 1 << 26  # bytes that a file of any size may unpack to
MAX_BLANK_LINES = 100_000
TRUNCATED = "the file looks cut off or damaged: fetch it again"


class Source:
    """One source file; `name` is for messages, `fraction` of it has been read (None: not known)."""

    def __init__(self, path: str, max_line: int = MAX_LINE) -> None:
        self.path = path
        self.max_line = max_line
        self.name = "standard input" if path == "-" else path
        self._raw: IO[bytes] | None = None
        self._size = 0

    @property
    def fraction(self) -> float | None:
        """Share of the file's bytes read so far; None for standard input."""
        if self._raw is None or not self._size or self._raw.closed:
            return None
        return min(self._raw.tell() / self._size, 1.0)

    def head(self) -> bytes:
        """The first bytes of the file, which tell what it is; TraceError if it cannot be read."""
        try:
            with open(self.path, "rb") as stream:
                return stream.read(8)
        except OSError as error:
            raise self._not_opened(error) from None

    def rows(self, otherwise: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows, as "csv" or "jsonl" by the file's name, or `otherwise` if that does not say."""
        suffixes = [suffix for suffix in Path(self.path).suffixes[-2:] if suffix in FORMATS]
        named = FORMATS[suffixes[-1]] if suffixes else otherwise
        return self.csv_rows() if named == "csv" else self.json_rows()

    def json_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """One JSON object per line; blank lines are passed over."""
        for number, line in self.lines():
            if line.isspace():
                continue
            if len(line) > MAX_LINE and sum(map(line.count, ",[{")) > MAX_VALUES:
                limit = f"over {MAX_VALUES:,} values in one line"
                raise self.error(limit, number, "write one record per line")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError, MemoryError) as error:
                raise self.error(f"not valid JSON ({error})", number, TRUNCATED) from None
            if not isinstance(row, dict):
                problem = f"a JSON object is wanted, this is {type(row).__name__}"
                raise self.error(problem, number, "write one object per line (JSONL)")
            yield number, row

    def csv_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Comma-separated, the first line naming the columns; empty cells are None."""
        unread = 0  # characters of the record at hand

        def lines() -> Iterator[str]:
            nonlocal unread
            for number, line in self.lines():
                unread += len(line)
                if unread > MAX_LINE:
                    limit = f"a record of more than {MAX_LINE >> 20} MiB"
                    raise self.error(
                        limit, number, "close the quotes, or write one record per line"
                    )
                yield line

        reader = csv.reader(lines())
        header: list[str] | None = None
        try:
            for cells in reader:
                unread = 0
                if not cells:
                    continue
                if header is None:
                    header = [cell.strip() for cell in cells]
                    continue
                if len(cells) != len(header):
                    problem = f"{len(cells)} cells under {len(header)} column names"
                    raise self.error(problem, reader.line_num, TRUNCATED)
                yield (
                    reader.line_num,
                    {name: cell or None for name, cell in zip(header, cells, strict=True)},
                )
        except csv.Error as error:
            raise self.error(f"not valid CSV ({error})", reader.line_num, TRUNCATED) from None

    def error(self, problem: str, row: int | None = None, remedy: str | None = None) -> TraceError:
        """A TraceError at a row of this source."""
        return TraceError(problem, file=self.name, row=row, remedy=remedy)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Decoded lines, numbered from 1."""
        number = unpacked = blank = 0
        try:
            with self._open() as stream:
                packed = stream is not self._raw and self._size > 0
                while line := stream.readline(self.max_line + 1):
                    number += 1
                    if len(line) > self.max_line:
                        limit = f"a line of more than {self.max_line >> 20} MiB"
                        raise self.error(limit, number, "write one record per line")
                    unpacked += len(line)
                    if packed and unpacked > FREE_EXPANSION and self._raw is not None:
                        self.refuse_expansion(unpacked, self._raw.tell(), number)
                    blank += len(line) == 1
                    if blank > MAX_BLANK_LINES:
                        raise self.error(f"over {MAX_BLANK_LINES:,} blank lines", number, TRUNCATED)
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            at = f"byte {error.object[error.start]:#04x} at column {error.start + 1}"
            raise self.error(f"not UTF-8 ({at})", number, "convert the file to UTF-8") from None
        except (pa.ArrowException, OSError) as error:
            raise self.error(f"cannot be read ({error})", number + 1, TRUNCATED) from None

    def refuse_expansion(self, unpacked: int, packed: int, row: int | None = None) -> None:
        """Raise TraceError where so many bytes came out of so few that somebody means harm."""
        if unpacked > max(FREE_EXPANSION, MAX_EXPANSION * packed):
            problem = f"{packed:,} packed bytes unpack to over {MAX_EXPANSION} times as many"
            raise self.error(problem, row, "if you trust the file, unpack it yourself")

    def _open(self) -> IO[bytes]:
        if self.path == "-":
            raw: Any = sys.stdin.buffer
        else:
            try:
                raw = open(self.path, "rb")  # noqa: SIM115
                self._size = os.fstat(raw.fileno()).st_size
            except OSError as error:
                raise self._not_opened(error) from None
        self._raw = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        head = self._raw.peek(4)
        for magic, name in COMPRESSIONS.items():
            if head.startswith(magic):
                stream = pa.CompressedInputStream(pa.PythonFile(self._raw, mode="r"), name)
                return io.BufferedReader(stream, 1 << 20)
        return self._raw

    def _not_opened(self, error: OSError) -> TraceError:
        return self.error(f"cannot be opened ({error.strerror})", remedy="check the path")
