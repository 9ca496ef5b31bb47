"""What a trace holds, in numbers: the answer behind `trace info`.

Lengths are in tokens. A group is the samples of one prompt in one RL step; tail ratios are longest
over median output, of RL steps and of groups of at least two samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .rollouts import Lengths
from .schema import FINISH_REASONS
from .store import Trace

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def summarize(trace: Trace) -> dict[str, Any]:
    """Counts, length quantiles, tails, finish reasons and provenance, ready for JSON."""
    lengths = trace.lengths()
    meta = trace.meta
    groups = _groups(lengths)
    sizes = np.array([len(rows) for rows in groups])
    ratios = [_tail(lengths.output_len[rows]) for rows in groups if len(rows) > 1]
    codes, counts = np.unique(lengths.finish, return_counts=True)
    steps = np.unique(lengths.rl_step)
    return {
        "file": str(trace.path),
        "origin": meta.origin,
        "synthetic": meta.synthetic,
        "tokens": trace.has_tokens,
        "rollouts": len(lengths),
        "rl_steps": len(steps),
        "prompts": len(trace.prompt_ids),
        "groups": len(groups),
        "group_size": {"min": int(sizes.min()), "p50": _median(sizes), "max": int(sizes.max())},
        "prompt_len": _quantiles(lengths.prompt_len),
        "output_len": _quantiles(lengths.output_len),
        "group_tail": _ratio_quantiles(ratios),
        "finish_reasons": {
            FINISH_REASONS[code] or "unknown": int(n) for code, n in zip(codes, counts, strict=True)
        },
        "cut_by_length": int(lengths.capped.sum()),
        "reward_mean": _mean(lengths.reward),
        "by_rl_step": [_step(lengths, int(step), meta.rl_steps) for step in steps],
        "meta": {
            "source": meta.source,
            "model": meta.model,
            "tokenizer": dict(meta.tokenizer) if meta.tokenizer else None,
            "vocab_size": meta.vocab_size,
            "end_token_id": meta.end_token_id,
            "sampling": dict(meta.sampling),
            "engine": meta.engine,
            "engine_config": dict(meta.engine_config),
            "hardware": meta.hardware,
            "licence": meta.licence,
            "rl_steps": dict(meta.rl_steps),
            "notes": list(meta.notes),
            "schema_version": meta.schema_version,
        },
    }


def _step(lengths: Lengths, rl_step: int, names: Any) -> dict[str, Any]:
    start, stop = np.searchsorted(lengths.rl_step, [rl_step, rl_step + 1])
    step = lengths.select(slice(start, stop))
    return {
        "rl_step": rl_step,
        "name": names.get(str(rl_step)),
        "rollouts": len(step),
        "prompts": len(np.unique(step.prompt)),
        "prompt_tokens": int(step.prompt_len.sum(dtype=np.int64)),
        "output_len": _quantiles(step.output_len),
        "tail": _tail(step.output_len),
        "cut_by_length": int(step.capped.sum()),
        "reward_mean": _mean(step.reward),
    }


def _groups(lengths: Lengths) -> list[np.ndarray]:
    """Rows of every (rl_step, prompt)."""
    order = np.lexsort((lengths.prompt, lengths.rl_step))
    step, prompt = lengths.rl_step[order], lengths.prompt[order]
    cuts = np.flatnonzero((np.diff(step) != 0) | (np.diff(prompt) != 0)) + 1
    return np.split(order, cuts)


def _quantiles(lengths: np.ndarray) -> dict[str, float | int]:
    found = {name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()}
    return {**found, "max": int(lengths.max()), "sum": int(lengths.sum(dtype=np.int64))}


def _ratio_quantiles(ratios: list[float]) -> dict[str, float] | None:
    if not ratios:
        return None
    return {"p50": float(np.quantile(ratios, 0.5)), "p90": float(np.quantile(ratios, 0.9))}


def _tail(lengths: np.ndarray) -> float:
    """Longest over median."""
    return float(lengths.max() / np.median(lengths))


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
