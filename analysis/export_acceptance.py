"""How drafts fared, for other programs: Frontier's acceptance trace, vLLM's synthetic acceptance,
and a table by position in the draft.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..sim.sweep import write_table
from ..traces.exporting import Exported, check_target, opened
from ..traces.schema import TraceError
from .decoding import Decoding

NOT_DECODED = "{n:,} rollouts of one token are never decoded: a forward that is never asked for"


def export_frontier(done: Decoding, order: np.ndarray, output: str | Path) -> Exported:
    """Write Frontier's `acceptance_trace_file`: per request, what each decode forward committed
    (accepted and bonus tokens) and what it drafted. Raises TraceError.

    order: int64[n], the rollouts by arrival; request "i" is the i-th, as in `export vidur`.
    Frontier's num_speculative_tokens has to be `done.k` or more; it does not read `metadata`.
    Source: NetX-lab/Frontier frontier/config/config.py (SpeculativeDecodingConfig), frontier/
    spec_decode/runtime.py.
    """
    path = check_target(output, done.files)
    gained = done.committed()
    committed, drafted, idle = {}, {}, 0
    for number, row in enumerate(order.tolist()):
        forwards = slice(done.offsets[row], done.offsets[row + 1])
        committed[str(number)] = gained[forwards].tolist() or [1]  # Frontier takes no empty list
        drafted[str(number)] = done.drafted[forwards].tolist() or [0]
        idle += forwards.start == forwards.stop
    payload = {
        "per_request_committed_tokens_per_iteration": committed,
        "per_request_scheduled_draft_tokens_per_iteration": drafted,
        "metadata": {**done.about, "num_speculative_tokens": done.k},
    }
    _write(payload, path)
    warnings = (NOT_DECODED.format(n=idle),) if idle else ()
    return Exported(len(order), "requests", (*done.warnings, *warnings))


def acceptance_rates(done: Decoding) -> list[float]:
    """By position 1 … k: the share of all decode forwards that accepted as many tokens or more.

    That is what vLLM calls unconditional: a forward that drafted less counts as one that accepted
    less, so that 1 plus their sum is the acceptance length. Raises TraceError without forwards.
    """
    if not len(done.drafted):
        raise TraceError("nothing is decoded", remedy="choose RL steps with longer rollouts")
    table = done.positions()[["position", "forwards", "accepted"]].groupby("position").sum()
    rates: list[float] = (table.accepted / table.forwards).tolist()
    return rates


def export_vllm(done: Decoding, output: str | Path, also: Mapping[str, Any]) -> Exported:
    """Write a --speculative-config for vLLM in which drafts fare as these did, whatever drafts.

    also: what the drafting method needs besides (`method`, `model`, …). Source: vLLM 0.32
    vllm/config/speculative.py. Raises TraceError.
    """
    path = check_target(output, done.files)
    config = {
        **also,
        "num_speculative_tokens": done.k,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_rates": acceptance_rates(done),
    }
    _write(config, path)
    return Exported(done.k, "rates", done.warnings)


def export_positions(done: Decoding, output: str | Path) -> Exported:
    """Write `Decoding.positions` with its provenance, as .csv or .parquet. Raises TraceError."""
    path = check_target(output, done.files)
    table = done.positions().assign(**done.about)
    write_table(table, path)
    return Exported(len(table), "rows", done.warnings)


def _write(value: Any, path: Path) -> None:
    with opened(path) as stream:
        stream.write(json.dumps(value).encode() + b"\n")
