"""Rows of a trace of which only what matters is given, and traces of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail.traces import TraceMeta, TraceWriter

Row = dict[str, Any]
META = TraceMeta(
    origin="recorded",
    source="tests",
    model="m",
    tokenizer={"name": "t", "sha256": "0"},
    vocab_size=50,
    end_token_id=0,
    sampling={"temperature": 0.6, "max_tokens": 64},
    rl_steps={"0": "step_400"},
    notes=("a note",),
)


def row(rl_step: int = 0, prompt_id: str = "p", sample: int = 0, **more: Any) -> Row:
    """A rollout with tokens; lengths are those of the tokens, unless given."""
    made = {"prompt_tokens": [1, 2], "output_tokens": [3, 4, 0]} | more
    sizes = {f"{s}_len": len(made[f"{s}_tokens"] or ()) for s in ("prompt", "output")}
    return {"rl_step": rl_step, "prompt_id": prompt_id, "sample": sample} | sizes | made


def write(path: Path, rows: Sequence[Row], meta: TraceMeta = META) -> Path:
    with TraceWriter(path, meta) as writer:
        writer.write(rows)
    return path
