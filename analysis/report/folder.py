"""The files of a folder: what each holds by its content, and who has taken it.

Readers ask for the files that are left, take those they know and refuse those that are damaged.
Links to folders are not followed; nothing is read that is larger than it can honestly be.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...traces.schema import TraceError
from . import page

MOST_FILES = 5_000
LARGEST = {"json": 1 << 26, "csv": 1 << 28, "svg": 1 << 23, "png": 1 << 23, "text": 1 << 22}
TEXT = {".md", ".yaml", ".yml", ".txt", ".log", ".jsonl"}  # endings that settle what looks alike
HEAD = 4096  # bytes that tell what a file is
DIGEST = 16  # digits
NOT_OURS = "nothing that longtail writes"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError,
              MemoryError, OverflowError, pa.ArrowException, TraceError)  # fmt: skip
"""What reading a damaged or hostile file may raise."""


@dataclass(frozen=True)
class Item:
    """A file that nobody has opened yet."""

    path: Path
    name: str  # below the folder, with `/`
    number: int  # of all its files

    def beside(self, name: str) -> str:
        """The name of a file in the same folder, below the report's."""
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def stem(self) -> str:
        """Its name below the folder, without the ending."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def folder(self) -> str:
        """The folder that it lies in, below the report's; empty for that itself."""
        return self.name.rpartition("/")[0]

    @property
    def base(self) -> str:
        """Its name alone."""
        return self.name.rpartition("/")[2]

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @cached_property
    def kind(self) -> str:
        """By its first bytes: parquet, png, svg, html, json, csv, text, or empty for none."""
        with self.path.open("rb") as stream:
            head = stream.read(HEAD)
        for magic, kind in ((b"PAR1", "parquet"), (b"\x89PNG\r\n", "png")):
            if head.startswith(magic):
                return kind
        try:
            text = head.decode("utf-8-sig", errors="strict" if len(head) < HEAD else "ignore")
        except UnicodeDecodeError:
            return ""
        if "\0" in text or not text.strip():
            return ""
        if self.path.suffix in TEXT:
            return "text"
        start = text.lstrip().lower()
        if start.startswith(("<?xml", "<svg")):
            return "svg" if "<svg" in start else ""
        if start.startswith("<") and self.path.suffix != ".csv":
            return "html"
        if start[0] in "{[":
            return "json"
        lines = list(csv.reader(text.splitlines()[:2]))
        wide = self.path.suffix == ".csv" or (len(lines) > 1 and len(lines[0]) > 2)
        return "csv" if wide and len({len(line) for line in lines}) == 1 else "text"

    def check_size(self) -> None:
        """Raises ValueError for a file that is too large for its kind."""
        most = LARGEST.get(self.kind)
        if most is not None and self.size > most:
            raise ValueError(f"larger than {most >> 20} MiB")

    @cached_property
    def content(self) -> Any:
        """What a JSON file holds."""
        self.check_size()
        raw = self.path.read_bytes()
        try:
            content = json.loads(raw)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        if rb"\ud" in raw.lower():  # halves of a pair are no letters, and no table takes them
            text = json.dumps(content, ensure_ascii=False).encode(errors="replace")
            content = json.loads(text)
        return content

    @cached_property
    def text(self) -> str:
        """What a text file holds."""
        self.check_size()
        return self.path.read_text(encoding="utf-8-sig", errors="replace")

    @cached_property
    def columns(self) -> frozenset[str]:
        """Of a table; none for another file."""
        if self.kind == "parquet":
            return frozenset(pq.read_schema(self.path).names)
        if self.kind == "csv":
            with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                return frozenset(next(csv.reader([stream.readline(HEAD * 16)]), []))
        return frozenset()

    def frame(self, rows: int | None = None) -> pd.DataFrame:
        """A table, or its first rows."""
        self.check_size()
        if self.kind == "csv":
            return pd.read_csv(self.path, nrows=rows, encoding_errors="replace")
        if rows is None:
            return pq.read_table(self.path).to_pandas()
        with pq.ParquetFile(self.path) as file:
            batches = file.iter_batches(batch_size=max(rows, 1))
            first = next(batches, None)
            return file.schema_arrow.empty_table().to_pandas() if first is None else (
                first.to_pandas()
            )  # fmt: skip

    @property
    def rows(self) -> int:
        """Of a table."""
        if self.kind == "parquet":
            return int(pq.read_metadata(self.path).num_rows)
        return len(self.frame())


class Folder:
    """The files below a folder, in the order of their names, and what became of each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._items: dict[str, Item] = {}
        self.too_many = False
        self._what: dict[str, str] = {}
        self._why: dict[str, str] = {}
        for at, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(at) / name
                if not path.is_file():
                    continue
                if len(self._items) == MOST_FILES:
                    self.too_many = True
                    return
                item = Item(path, path.relative_to(root).as_posix(), len(self._items))
                self._items[item.name] = item

    def is_left(self, item: Item) -> bool:
        """Whether nobody has taken or refused it."""
        return item.name not in self._what and item.name not in self._why

    def left(self, *kinds: str) -> Iterator[Item]:
        """Files that nobody has taken or refused, of these kinds."""
        for item in filter(self.is_left, self._items.values()):
            try:
                found = item.kind
            except OSError as error:
                self.refuse(item, error)
                continue
            if not kinds or found in kinds:
                yield item

    def find(self, *kinds: str, where: Callable[[Item], bool]) -> list[Item]:
        """Files left for which `where` holds; those that cannot be read are refused."""
        found = []
        for item in list(self.left(*kinds)):
            try:
                if where(item):
                    found.append(item)
            except UNREADABLE as error:
                self.refuse(item, error)
        return found

    def at(self, name: str) -> Item | None:
        """The file of that name below the folder, taken or not; None if it cannot be read."""
        item = self._items.get(name)
        if item is None:
            return None
        try:
            return item if item.kind is not None else None
        except OSError as error:
            self.refuse(item, error)
            return None

    def below(self, folder: str) -> list[Item]:
        """Files left in a folder and below it."""
        return [item for item in self.left() if not folder or item.name.startswith(f"{folder}/")]

    def take(self, item: Item, what: str) -> None:
        """It is shown, as `what`."""
        self._what[item.name] = what
        self._why.pop(item.name, None)

    def refuse(self, item: Item, why: object) -> None:
        """It is not shown."""
        words = " ".join(str(why).split()) or type(why).__name__
        self._why[item.name] = words[:200]
        self._what.pop(item.name, None)

    @property
    def files(self) -> list[page.File]:
        """What became of them all."""
        told = []
        for item in self._items.values():
            what = self._what.get(item.name, "")
            why = "" if what else self._why.get(item.name, NOT_OURS)
            told.append(
                page.File(item.name, item.size, _digest(item.path) if what else "", what, why)
            )
        return told


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:DIGEST]
