"""A trace as requests of a service: Mooncake's JSONL, and Vidur's CSV that Frontier reads, too.

Both hold lengths and arrivals, in order of arrival. RL steps are no part of them: what the formats
can say of groups and of steps that follow each other is when requests arrive and, in Mooncake's,
which prompts are alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from .exporting import PLAIN, Arrivals, Exported, check_target, opened, tables
from .rollouts import Lengths
from .store import Trace

BLOCK = 512  # tokens that one of Mooncake's hash ids stands for
NO_TEXT = (
    "lengths only: prompts are told apart by prompt_id and length, what they begin with in common "
    "is not known ({n:,} requests)"
)
SAME_TEXT = "{n:,} prompts have the text of another one: their requests share all hash_ids"
SEVERAL_TEXTS = (
    "{n:,} prompts have several texts: their requests share what these begin with in common"
)


def export_mooncake(
    trace: Trace,
    output: str | Path,
    rl_steps: Collection[int] | None = None,
    step_s: float | None = None,
) -> Exported:
    """Write one request per rollout: timestamp (whole milliseconds since the first), input_length,
    output_length, hash_ids. For rl_steps and step_s see `Arrivals`. Raises TraceError.

    A hash id stands for up to 512 tokens of a prompt and everything before them, and is the same in
    every prompt that begins alike; ids are numbered as they come. Source of the format:
    kvcache-ai/Mooncake FAST25-release/README.md.
    """
    path = check_target(output, [trace.path])
    arrivals = Arrivals.of(trace, rl_steps, step_s)
    lengths = trace.lengths(rl_steps)
    blocks, text, warnings = _prompts(trace, lengths, rl_steps)
    number: dict[bytes, int] = {}
    milliseconds = np.rint(arrivals.seconds * 1000).astype(np.int64).tolist()
    with opened(path) as stream:
        for row, timestamp in zip(arrivals.order.tolist(), milliseconds, strict=True):
            request = {
                "timestamp": timestamp,
                "input_length": int(lengths.prompt_len[row]),
                "output_length": int(lengths.output_len[row]),
                "hash_ids": [number.setdefault(b, len(number)) for b in blocks[text[row]]],
            }
            stream.write(json.dumps(request).encode() + b"\n")
    return Exported(len(lengths), "requests", (*arrivals.warnings, *warnings))


def export_vidur(
    trace: Trace,
    output: str | Path,
    rl_steps: Collection[int] | None = None,
    step_s: float | None = None,
) -> Exported:
    """Write one request per rollout: arrived_at (seconds since the first), num_prefill_tokens,
    num_decode_tokens. Raises TraceError.

    Row i is what `export frontier` calls request i. Source of the format: microsoft/vidur
    vidur/request_generator/trace_replay_request_generator.py.
    """
    path = check_target(output, [trace.path])
    arrivals = Arrivals.of(trace, rl_steps, step_s)
    lengths = trace.lengths(rl_steps)
    table = pa.table(
        {
            "arrived_at": arrivals.seconds,
            "num_prefill_tokens": lengths.prompt_len[arrivals.order],
            "num_decode_tokens": lengths.output_len[arrivals.order],
        }
    )
    with opened(path) as stream:
        pyarrow.csv.write_csv(table, stream, PLAIN)
    return Exported(len(lengths), "requests", arrivals.warnings)


def _prompts(
    trace: Trace, lengths: Lengths, rl_steps: Collection[int] | None
) -> tuple[list[list[bytes]], np.ndarray, list[str]]:
    """(the blocks of each prompt text, the text of each rollout, what is to be said of it)."""
    if not trace.has_tokens:
        known = np.stack([lengths.prompt, lengths.prompt_len], axis=1)
        distinct, text = np.unique(known, axis=0, return_inverse=True)
        blocks = [
            [f"{prompt} {size} {i}".encode() for i in range(-(-size // BLOCK))]
            for prompt, size in distinct.tolist()
        ]
        return blocks, text.reshape(-1), [NO_TEXT.format(n=len(lengths))]
    blocks, text = _texts(trace, rl_steps)
    pairs = np.unique(np.stack([text, lengths.prompt], axis=1), axis=0)
    shared = len(pairs) - len(blocks)
    split = int((np.unique(pairs[:, 1], return_counts=True)[1] > 1).sum())
    told = ((SAME_TEXT, shared), (SEVERAL_TEXTS, split))
    return blocks, text, [words.format(n=n) for words, n in told if n]


def _texts(trace: Trace, rl_steps: Collection[int] | None) -> tuple[list[list[bytes]], np.ndarray]:
    """The blocks of each distinct prompt text, and int64[n], the text of each rollout in the order
    of `Trace.lengths`; memory holds one row group's tokens.
    """
    number: dict[bytes, int] = {}
    blocks: list[list[bytes]] = []
    text, steps = [], []
    for table in tables(trace, ["prompt_tokens"], rl_steps):
        steps.append(table.column("rl_step").to_numpy())
        for tokens in table.column("prompt_tokens"):
            chain = _chain(tokens.values.to_numpy())
            if chain[-1] not in number:
                number[chain[-1]] = len(blocks)
                blocks.append(chain)
            text.append(number[chain[-1]])
    order = np.argsort(np.concatenate(steps), kind="stable")
    return blocks, np.array(text, np.int64)[order]


def _chain(tokens: np.ndarray) -> list[bytes]:
    """What stands for each block of a prompt: a digest of the prompt up to the block's end."""
    digest = hashlib.blake2b(digest_size=16)
    blocks = []
    for begin in range(0, len(tokens), BLOCK):
        digest.update(np.ascontiguousarray(tokens[begin : begin + BLOCK], "<i4").tobytes())
        blocks.append(digest.digest())
    return blocks
