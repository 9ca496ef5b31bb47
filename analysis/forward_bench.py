"""What `vllm bench forward --output-json` wrote: exact batches, timed without the scheduler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..policies.latency import ARGUMENTS
from ..traces.schema import TraceError
from .regression import BLOCK


@dataclass(frozen=True)
class BenchCase:
    """One batch and its median seconds."""

    name: str
    tokens: int
    requests: int
    kv_tokens: int
    pairs: int
    prefill_tokens: int
    median_s: float

    def compare(self, model: Any) -> dict[str, Any]:
        """Beside what a latency model says of it."""
        counts = (self.tokens, self.requests, self.kv_tokens, self.pairs, self.prefill_tokens)
        seconds = float(model.seconds(*counts, 0, model.params))
        return {"case": self.name, "measured_s": self.median_s, "fitted_s": seconds}


def bench_rows(cases: Sequence[BenchCase]) -> pd.DataFrame:
    """Cases as `observe` gives forwards, but without a host; each is a median, and counts like a
    block of neighbouring forwards.
    """
    rows = [
        {
            **{name: getattr(case, name) for name in ARGUMENTS},
            "run": -1 - index,
            "speculates": 0.0,
            "live": 0.0,
            "padded": float(case.tokens),  # it captures the very batch
            "model_s": case.median_s,
        }
        for index, case in enumerate(cases)
        for _ in range(BLOCK)
    ]
    return pd.DataFrame(rows)


def read_bench(path: str | Path) -> list[BenchCase]:
    """Its cases, in order. Raises TraceError for another file."""
    path = Path(path)
    try:
        results = json.loads(path.read_text())
        if not isinstance(results, list) or not results:
            raise ValueError("no cases")
        return [_case(result) for result in results]
    except OSError as error:
        raise TraceError(
            f"cannot be read ({error.strerror})", file=path, remedy="name another file"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TraceError(
            "not the output of `vllm bench forward --output-json`",
            file=path,
            remedy="write it with vLLM 0.33 or later",
        ) from None


def _case(result: dict[str, Any]) -> BenchCase:
    tokens = kv = pairs = prefill = 0
    for request in result["requests"]:
        query, reach = int(request["query_len"]), int(request["kv_len"])
        tokens += query
        kv += reach
        pairs += query * (2 * reach - query + 1) // 2
        decodes = reach > query == 1 + int(request.get("num_draft_tokens", 0))
        prefill += 0 if decodes else query
    return BenchCase(
        name=str(result["case"]),
        tokens=tokens,
        requests=len(result["requests"]),
        kv_tokens=kv,
        pairs=pairs,
        prefill_tokens=prefill,
        median_s=float(result["median_us"]) * 1e-6,
    )
