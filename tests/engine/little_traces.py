"""The little traces of tests/conformance, here too; and as files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from longtail.traces import TraceMeta, TraceWriter

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from small_workloads import Rollout, random_rollouts, workload_of

__all__ = ["Rollout", "random_rollouts", "workload_of", "write"]


def write(path: Path, rollouts: Iterable[Rollout]) -> Path:
    """A trace of them, each with its place in the list as its sample number."""
    rows = [
        {
            "rl_step": r.rl_step,
            "prompt_id": str(r.prompt_id),
            "sample": i,
            "prompt_tokens": r.prompt,
            "output_tokens": r.output,
            "prompt_len": len(r.prompt),
            "output_len": len(r.output),
            "finish_reason": "length" if r.cap == len(r.output) else "stop",
        }
        for i, r in enumerate(rollouts)
    ]
    with TraceWriter(path, TraceMeta(origin="recorded")) as writer:
        writer.write(rows)
    return path
