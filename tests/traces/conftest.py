"""A tokenizer whose words are `w0` ... `w99`, and a bench that imports little files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from little_tokenizer import WORDS, make_tokenizer

from longtail.traces import TraceError
from longtail.traces.commands import trace

END = WORDS


def words(n: int) -> str:
    return " ".join(f"w{i % WORDS}" for i in range(n))


class Bench:
    """Sources in one folder, outputs in another, so that leftovers show."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir()
        self.output = self.out / "T.parquet"
        self.tokenizer = make_tokenizer(folder / "tokenizer.json", "<|endoftext|>")

    def file(self, name: str, rows: list[Any] | str | bytes) -> Path:
        """JSONL from rows, or text or bytes as they are."""
        if isinstance(rows, list):
            rows = "".join(json.dumps(row) + "\n" for row in rows)
        path = self.folder / name
        path.write_bytes(rows.encode() if isinstance(rows, str) else rows)
        return path

    def run(self, *args: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(trace, [str(a) for a in args], input=stdin)

    def text(self, *args: object, stdin: bytes | None = None) -> Result:
        args = ("import", "text", *args, "--tokenizer", self.tokenizer, "-o", self.output)
        return self.done(self.run(*args, stdin=stdin))

    @staticmethod
    def done(result: Result) -> Result:
        if result.exception:
            raise result.exception
        return result

    def refused(self, *args: object, stdin: bytes | None = None) -> str:
        """The one error line of a run that must be refused and leave nothing behind."""
        result = self.run(*args, "-o", self.output, stdin=stdin)
        assert isinstance(result.exception, TraceError), result.output
        assert list(self.out.iterdir()) == []
        message = str(result.exception)
        assert "\n" not in message
        return message

    def text_refused(self, *args: object, stdin: bytes | None = None) -> str:
        return self.refused("import", "text", *args, "--tokenizer", self.tokenizer, stdin=stdin)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def tokenizer_with() -> Callable[..., Path]:
    return make_tokenizer


@pytest.fixture
def say() -> Callable[[int], str]:
    return words
