"""What a recorded run looks like, RL step by RL step, as Markdown tables.

In: a trace with tokens. ``python -m longtail.engine.tiny.describe FILE`` prints what stands in
``traces/README.md``. Needs no torch.
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
    repeated: float  # share of rollouts that repeat, whole, an earlier one of the same prompt

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
    whole: dict[int, set[bytes]] = defaultdict(set)
    for step in trace.iter_steps():
        assert step.output_tokens is not None and step.output_offsets is not None
        pieces = np.split(step.output_tokens, step.output_offsets[1:-1])
        owned = [grams(piece) for piece in pieces]
        groups: dict[int, list[int]] = defaultdict(list)
        for i, prompt in enumerate(step.prompt.tolist()):
            groups[prompt].append(i)
        total = before = beside = repeated = 0
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
            outputs = [pieces[i].tobytes() for i in members]
            repeated += sum(output in whole[prompt] for output in outputs)
            whole[prompt].update(outputs)
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
            repeated=repeated / len(step),
        )


def table(path: Path) -> str:
    """The statistics as a Markdown table, one line per RL step."""
    lines = [
        "| RL step | reward | mean | p50 | p90 | p99 | longest | longest/p50 | at cap "
        "| generation s | 8-grams seen earlier | 8-grams of siblings | whole seen earlier |",
        "|" + "---:|" * 13,
    ]
    lines += [
        f"| {s.rl_step} | {s.reward:.3f} | {s.mean:.0f} | {s.p50:.0f} | {s.p90:.0f} | {s.p99:.0f} "
        f"| {s.longest} | {s.tail_ratio:.1f} | {s.capped} | {s.makespan_s:.1f} "
        f"| {s.seen_before:.0%} | {s.seen_beside:.0%} | {s.repeated:.0%} |"
        for s in step_stats(path)
    ]
    return "\n".join(lines)


def by_size(path: Path) -> str:
    """Easy and hard problems in the first and the last RL step, as a Markdown table."""
    trace = open_trace(path)
    lines = ["| RL step | numbers | rollouts | reward | p50 | p90 | at cap |", "|" + "---:|" * 7]
    for rl_step in (trace.rl_steps[0], trace.rl_steps[-1]):
        step = trace.lengths([rl_step])
        sizes = step.prompt_len - 3  # beside the numbers: `to`, the target, `:`
        for size in np.unique(sizes):
            part = step.select(sizes == size)
            p50, p90 = np.percentile(part.output_len, [50, 90])
            lines.append(
                f"| {rl_step} | {size} | {len(part)} | {part.reward.mean():.3f} "
                f"| {p50:.0f} | {p90:.0f} | {part.capped.sum()} |"
            )
    return "\n".join(lines)


def totals(path: Path) -> str:
    """One line on the whole trace."""
    trace = open_trace(path)
    everything = trace.lengths()
    tokens, capped = int(everything.output_len.sum()), everything.capped
    share = everything.output_len[capped].sum() / tokens
    return (
        f"{len(everything):,} rollouts of {len(trace.prompt_ids)} prompts in {len(trace.rl_steps)} "
        f"RL steps, {tokens:,} output tokens; {int(capped.sum())} rollouts were cut at the cap and "
        f"hold {share:.0%} of the tokens."
    )


if __name__ == "__main__":
    print(
        totals(Path(sys.argv[1])), table(Path(sys.argv[1])), by_size(Path(sys.argv[1])), sep="\n\n"
    )
