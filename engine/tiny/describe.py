"""What a recorded run looks like, RL step by RL step, as a Markdown table.

In: a trace with tokens. ``python -m longtail.engine.tiny.describe FILE`` prints the table that
stands in ``traces/README.md``. Needs no torch.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...traces.store import open_trace

GRAM = 8  # tokens in a row that count as reused


@dataclass(frozen=True)
class StepStats:
    """One RL step of a trace: rewards 0 to 1, lengths in tokens, reuse as shares of 8-grams."""

    rl_step: int
    rollouts: int
    reward: float
    capped: int
    mean: float
    p50: float
    p90: float
    p99: float
    longest: int
    makespan_s: float
    seen_before: float  # in a rollout of the same prompt in an earlier RL step
    seen_beside: float  # in another rollout of the same group

    @property
    def tail_ratio(self) -> float:
        """Longest over median length."""
        return self.longest / self.p50


def grams(tokens: np.ndarray) -> list[bytes]:
    """Every run of `GRAM` tokens, in order."""
    raw, size = tokens.tobytes(), tokens.itemsize
    return [raw[i * size : (i + GRAM) * size] for i in range(len(tokens) - GRAM + 1)]


def step_stats(path: Path) -> Iterator[StepStats]:
    """The statistics of every RL step, in order."""
    trace = open_trace(path)
    earlier: dict[int, set[bytes]] = defaultdict(set)
    for step in trace.iter_steps():
        assert step.output_tokens is not None and step.output_offsets is not None
        pieces = np.split(step.output_tokens, step.output_offsets[1:-1])
        owned = [grams(piece) for piece in pieces]
        groups: dict[int, list[int]] = defaultdict(list)
        for i, prompt in enumerate(step.prompt.tolist()):
            groups[prompt].append(i)
        total = before = beside = 0
        for prompt, members in groups.items():
            holders: dict[bytes, int] = defaultdict(int)
            for i in members:
                for gram in set(owned[i]):
                    holders[gram] += 1
            for i in members:
                total += len(owned[i])
                before += sum(gram in earlier[prompt] for gram in owned[i])
                beside += sum(holders[gram] > 1 for gram in owned[i])
            earlier[prompt].update(holders)
        p50, p90, p99 = np.percentile(step.output_len, [50, 90, 99])
        yield StepStats(
            rl_step=step.rl_step,
            rollouts=len(step),
            reward=float(step.reward.mean()),
            capped=int(step.capped.sum()),
            mean=float(step.output_len.mean()),
            p50=float(p50),
            p90=float(p90),
            p99=float(p99),
            longest=int(step.output_len.max()),
            makespan_s=float(trace.column("end_s", [step.rl_step]).max()),
            seen_before=before / max(total, 1),
            seen_beside=beside / max(total, 1),
        )


def table(path: Path) -> str:
    """The statistics as a Markdown table, one line per RL step."""
    lines = [
        "| RL step | reward | mean | p50 | p90 | p99 | longest | longest/p50 | at cap "
        "| generation s | 8-grams seen earlier | 8-grams of siblings |",
        "|" + "---:|" * 12,
    ]
    lines += [
        f"| {s.rl_step} | {s.reward:.3f} | {s.mean:.0f} | {s.p50:.0f} | {s.p90:.0f} | {s.p99:.0f} "
        f"| {s.longest} | {s.tail_ratio:.1f} | {s.capped} | {s.makespan_s:.1f} "
        f"| {s.seen_before:.0%} | {s.seen_beside:.0%} |"
        for s in step_stats(path)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
