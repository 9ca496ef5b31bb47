"""Prompts to continue: from a trace, or from a file of one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..traces.schema import TraceError
from ..traces.store import open_trace


def read_prompts(
    source: Path, *, tokenizer: Path | None = None, limit: int | None = None
) -> tuple[list[str], list[list[int]]]:
    """(names, token ids) of the prompts in `source`, the first `limit` of them.

    A trace gives its prompts in order of appearance. A JSONL file has `prompt_tokens`, or `prompt`
    as text for `tokenizer` (a tokenizer.json), and optionally `prompt_id`. Raises TraceError.
    """
    if source.suffix == ".parquet":
        names, prompts = _from_trace(source)
    else:
        names, prompts = _from_jsonl(source, tokenizer)
    if not prompts:
        raise TraceError("no prompts", file=source, remedy="give at least one")
    return names[:limit], prompts[:limit]


def _from_trace(source: Path) -> tuple[list[str], list[list[int]]]:
    trace = open_trace(source)
    if not trace.has_tokens:
        raise TraceError(
            "a lengths-only trace has no prompts to continue",
            file=source,
            remedy="import the rollouts with their text or token ids",
        )
    lengths, tokens = trace.lengths(), trace.tokens()
    _, rows = np.unique(lengths.prompt, return_index=True)
    names = [trace.prompt_ids[lengths.prompt[row]] for row in rows]
    return names, [tokens.prompt(int(row)).tolist() for row in rows]


def _from_jsonl(source: Path, tokenizer: Path | None) -> tuple[list[str], list[list[int]]]:
    encoder: Any = None
    names: list[str] = []
    prompts: list[list[int]] = []
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"cannot be read ({error})", file=source, remedy="name a file") from None
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            tokens, text = value.get("prompt_tokens"), value.get("prompt")
        except (ValueError, AttributeError):
            raise TraceError(
                "not a JSON object", file=source, row=row, remedy='write {"prompt_tokens": [...]}'
            ) from None
        if tokens is None and isinstance(text, str):
            if encoder is None:
                encoder = _encoder(tokenizer, source, row)
            tokens = encoder.encode(text).ids
        if (
            not isinstance(tokens, list)
            or not tokens
            or not all(isinstance(t, int) and t >= 0 for t in tokens)
        ):
            raise TraceError(
                "neither prompt_tokens (token ids) nor prompt (text)",
                file=source,
                row=row,
                remedy="give one of them",
            )
        names.append(str(value.get("prompt_id", len(names))))
        prompts.append(tokens)
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise TraceError(
            f"prompt_id {repeated!r} appears twice",
            file=source,
            remedy="name each prompt once",
        )
    return names, prompts


def _encoder(tokenizer: Path | None, source: Path, row: int) -> Any:
    from tokenizers import Tokenizer

    if tokenizer is None or not tokenizer.is_file():
        raise TraceError(
            "a prompt as text needs the model's tokenizer.json",
            file=source,
            row=row,
            remedy="give prompt_tokens, or a model folder with tokenizer.json",
        )
    return Tokenizer.from_file(str(tokenizer))
