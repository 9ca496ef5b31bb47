"""Little dumps written, imported by command, and read back as lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dumps
import pytest

from longtail.traces.check import check_trace
from longtail.traces.formats import FORMATS

LENGTHS_ONLY = [name for name, form in FORMATS.items() if form.lengths_only]


def little_dump(bench: Any, name: str) -> Path:
    """The little dump of a format, in a folder of its own."""
    if name == "slime":
        pytest.importorskip("torch")
    folder = bench.folder / "dump"
    folder.mkdir()
    return dumps.WRITERS[name](folder)


def load(bench: Any, name: str, *args: object, tokenizer: bool = True) -> tuple[Any, str]:
    """Import a dump; the trace, and what was said on standard error."""
    if tokenizer and name not in LENGTHS_ONLY:
        args = (*args, "--tokenizer", bench.tokenizer)
    result = bench.done(bench.run("import", name, *args, "-o", bench.output))
    return check_trace(bench.output), result.stderr


def outputs(trace: Any) -> list[list[int]]:
    tokens = trace.tokens()
    return [tokens.output(i).tolist() for i in range(trace.n_rollouts)]


def prompts(trace: Any) -> list[list[int]]:
    tokens = trace.tokens()
    return [tokens.prompt(i).tolist() for i in range(trace.n_rollouts)]
