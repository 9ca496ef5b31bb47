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
    lengths, tokens = trace.lengths(), trace.tokens()
    _, rows = np.unique(lengths.prompt, return_index=True)
    names = [trace.prompt_ids[lengths.prompt[row]] for row in rows]
    return names, [tokens.prompt(int(row)).tolist() for row in rows]


def _from_jsonl(source: Path, tokenizer: Path | None) -> tuple[list[str], list[list[int]]]:
    encoder: Any = None
    prompts: dict[str, list[int]] = {}
    unnamed = 0
    try:
        lines = source.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"cannot be read ({error})", file=source, remedy="name a file") from None
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            tokens, text = value.get("prompt_tokens"), value.get("prompt")
        except (ValueError, AttributeError, RecursionError):
            raise TraceError(
                "not a JSON object", file=source, row=row, remedy='write {"prompt_tokens": [...]}'
            ) from None
        if tokens is None and isinstance(text, str):
            encoder = encoder or _encoder(tokenizer, source, row)
            tokens = _encode(encoder, text, source, row)
        if (
            not isinstance(tokens, list)
            or not tokens
            or not all(type(t) is int and t >= 0 for t in tokens)
        ):
            raise TraceError(
                "neither prompt_tokens (token ids) nor prompt (text)",
                file=source,
                row=row,
                remedy="give one of them",
            )
        if value.get("prompt_id") is None:
            while str(unnamed) in prompts:
                unnamed += 1
            name = str(unnamed)
        else:
            name = str(value["prompt_id"])
        if name in prompts:
            raise TraceError(
                f"prompt_id {name!r} appears twice",
                file=source,
                row=row,
                remedy="name each prompt once, or none of them",
            )
        prompts[name] = tokens
    return list(prompts), list(prompts.values())


def _encode(encoder: Any, text: str, source: Path, row: int) -> list[int]:
    try:
        return list(encoder.encode(text).ids)
    except Exception as error:  # of the tokenizer's own kinds
        raise TraceError(
            f"the tokenizer cannot read the prompt ({error})",
            file=source,
            row=row,
            remedy="give prompt_tokens",
        ) from None


def _encoder(tokenizer: Path | None, source: Path, row: int) -> Any:
    from tokenizers import Tokenizer

    if tokenizer is None or not tokenizer.is_file():
        raise TraceError(
            "a prompt as text needs the model's tokenizer.json",
            file=source,
            row=row,
            remedy="give prompt_tokens, or a model folder with tokenizer.json",
        )
    try:
        encoder = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # of the library's own kinds
        raise TraceError(
            f"not a tokenizer.json ({error})",
            file=tokenizer,
            remedy="give the one that the model came with",
        ) from None
    encoder.no_truncation()
    encoder.no_padding()
    return encoder
