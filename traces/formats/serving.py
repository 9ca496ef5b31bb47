"""Traces of serving: lengths and arrival times of requests, without text.

`mooncake` (JSONL), `azure` and `burstgpt` (CSV), `vllm-bench` (what `vllm bench serve
--save-detailed` writes).
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from .format import FAILED, PACKED, Format, Raw, Reading, Rows, same

NOT_A_STEP = (
    "{n} requests of a service, not RL rollouts: arrivals are kept in start_s, but a simulated RL "
    "step starts all its requests at once"
)
NO_TEXT = (
    "lengths only: drafters that read text (suffix, ngram, ...) have nothing to draft from in any "
    "of the {n} requests"
)
SAME_BLOCKS = "requests with equal hash_ids and length are samples of one prompt ({n} had them)"
SESSIONS = "the {n} requests with a session are samples of its prompt, though their prompts grow"
UNKNOWN = ("token ids and text", "finish reasons", "RL steps, groups, rewards, policy versions")


def _mooncake(raw: Raw, reading: Reading) -> Rows:
    when = raw.real("timestamp")
    blocks = raw.get("hash_ids", list)
    prompt_id = None
    if blocks:
        if not all(isinstance(block, int | str) for block in blocks):
            raise raw.error("hash_ids holds something that is no id")
        key = json.dumps([blocks, str(raw.values.get("input_length"))]).encode()
        prompt_id = hashlib.sha256(key).hexdigest()[:16]
        reading.told[SAME_BLOCKS] += 1
    yield {
        **_request(raw, reading),
        "start_s": None if when is None else when / 1000,
        "prompt_id": prompt_id,
    }


def _azure(raw: Raw, reading: Reading) -> Rows:
    text = raw.get("TIMESTAMP", str)
    try:
        when = None if text is None else datetime.fromisoformat(text.strip())
    except ValueError:
        raise raw.error(f"TIMESTAMP {text[:40]!r} is no date and time") from None
    if when is not None and when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    yield {**_request(raw, reading), "start_s": None if when is None else when.timestamp()}


def _burstgpt(raw: Raw, reading: Reading) -> Rows:
    start, elapsed = raw.real("Timestamp"), raw.real("Elapsed time")
    session = raw.values.get("Session ID")
    reading.told[SESSIONS] += session is not None
    yield {
        **_request(raw, reading),
        "start_s": start,
        "end_s": None if start is None or elapsed is None else start + elapsed,
        "prompt_id": session,
    }


def _vllm_bench(raw: Raw, reading: Reading) -> Rows:
    columns = {
        name: raw.get(name, list)
        for name in ("input_lens", "output_lens", "start_times", "ttfts", "itls", "errors")
    }
    present = {name: values for name, values in columns.items() if values is not None}
    n = len(present.get("output_lens", ()))
    for name, values in present.items():
        if len(values) != n:
            raise raw.error(f"{len(values)} {name} for {n} output_lens")
    for i in range(n):
        request = raw.within({name: values[i] for name, values in present.items()}, "a request")
        if request.values.get("errors") or request.values["output_lens"] == 0:
            reading.told[FAILED] += 1
            continue
        yield {
            **_request(request, reading),
            "start_s": request.real("start_times"),
            "end_s": _end(request),
            "model": raw.get("model_id", str),
        }


def _end(request: Raw) -> float | None:
    """Start, time to the first token and times between tokens, added up."""
    start, first_token = request.real("start_times"), request.real("ttfts")
    between = request.get("itls", list)
    if start is None or first_token is None or between is None:
        return None
    return start + first_token + sum(request.finite(gap, "itls") for gap in between)


def _request(raw: Raw, reading: Reading) -> dict[str, Any]:
    """A request's own columns; counts it."""
    for sentence in (NOT_A_STEP, NO_TEXT):
        reading.told[sentence] += 1
    return dict(raw.values)


MOONCAKE = Format(
    name="mooncake",
    about="Mooncake's request traces: timestamp (ms), input_length, output_length, hash_ids.",
    source="kvcache-ai/Mooncake FAST25-release/README.md",
    looks='{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, ..]}',
    kind="jsonl",
    marks=(frozenset({"timestamp", "input_length", "output_length"}),),
    path=r"\.jsonl" + PACKED,
    fields={
        "prompt_len": "input_length",
        "output_len": "output_length",
        **same("start_s", "prompt_id"),
    },
    unfold=_mooncake,
    lengths_only=True,
    unknown=UNKNOWN,
)

AZURE = Format(
    name="azure",
    about="Azure's LLM inference traces: CSV of TIMESTAMP, ContextTokens, GeneratedTokens.",
    source="Azure/AzurePublicDataset AzureLLMInferenceDataset2023.md",
    looks="TIMESTAMP,ContextTokens,GeneratedTokens",
    kind="csv",
    marks=(frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}),),
    path=r"\.csv" + PACKED,
    fields={"prompt_len": "ContextTokens", "output_len": "GeneratedTokens", **same("start_s")},
    unfold=_azure,
    lengths_only=True,
    unknown=UNKNOWN,
)

BURSTGPT = Format(
    name="burstgpt",
    about="BurstGPT's traces: CSV of Timestamp, Model, Request tokens, Response tokens, ...",
    source="HPMLL/BurstGPT README.md",
    looks="Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    kind="csv",
    marks=(frozenset({"Timestamp", "Request tokens", "Response tokens"}),),
    path=r"\.csv" + PACKED,
    fields={
        "prompt_len": "Request tokens",
        "output_len": "Response tokens",
        **same("start_s", "end_s", "prompt_id"),
        "model": "Model",
    },
    unfold=_burstgpt,
    lengths_only=True,
    unknown=UNKNOWN,
)

VLLM_BENCH = Format(
    name="vllm-bench",
    about="vllm bench serve --save-result --save-detailed: input_lens, output_lens, times.",
    source="vllm-project/vllm vllm/benchmarks/serve.py (0.32.0)",
    looks='{"input_lens": [..], "output_lens": [..], "start_times": [..], "ttfts": [..], '
    '"itls": [[..]]}',
    kind="jsonl",
    marks=(frozenset({"input_lens", "output_lens"}),),
    path=r"\.jsonl?" + PACKED,
    fields={
        "prompt_len": "input_lens",
        "output_len": "output_lens",
        **same("start_s", "end_s", "model"),
    },
    unfold=_vllm_bench,
    lengths_only=True,
    wide_lines=True,
    unknown=UNKNOWN,
)
