"""The measurements that a GPU is wanted for, as jobs: one command, resumed where it stopped.

Batches of recorded rollouts are replayed under no speculation, vLLM's own methods and ours, on real
configurations with dummy weights. What yields most comes first, so that a short time on the machine
is not lost; every job's folder is whole or absent. The same suite at toy size runs on a CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..traces.schema import TraceError
from ..traces.select import write_selection
from ..traces.store import Trace, open_trace
from .job import Job, Replay
from .policies import parse_policy

POLICIES = (
    "none",
    "suffix:scope=both/fixed:k=4",
    "suffix:scope=both/das",
    "suffix:scope=both/unlimited",
    "ngram/fixed:k=4",
    "vllm:ngram",
    "vllm:suffix",
)


@dataclass(frozen=True)
class Suite:
    """What is measured, at one size."""

    models: tuple[str, ...]  # names of engine/models.py
    batches: tuple[int, ...]  # requests at once
    policies: tuple[str, ...]
    longest: int  # output tokens of the rollouts that are replayed, at most
    repeats: int  # to know the spread
    engine: dict[str, object]


SUITES = {
    "gpu": Suite(
        models=("qwen2.5-7b", "qwen2.5-1.5b"),
        batches=(16, 64, 256, 1, 4, 128),
        policies=POLICIES,
        longest=8192,
        repeats=2,
        engine={
            "max_num_seqs": 256,
            "max_num_batched_tokens": 8192,
            "gpu_memory_utilization": 0.85,
            "block_size": 16,
        },
    ),
    "cpu": Suite(
        models=("dummy",),
        batches=(16, 4),
        # vLLM's suffix needs arctic-inference
        policies=(*POLICIES[:-1], "suffix:scope=own/fixed:k=2", "ngram/unlimited"),
        longest=384,
        repeats=2,
        engine={"max_num_seqs": 8, "max_num_batched_tokens": 512},
    ),
}


def in_turns(
    work: Replay,
    model: str,
    policies: Sequence[str],
    engine: Mapping[str, object],
    repeats: int,
) -> list[list[Job]]:
    """Replays under each policy, and under no speculation beside them: `repeats` times all of them,
    each time beginning with another one, so that a slow hour of the machine meets them all.
    """
    named = [parse_policy(text) for text in policies]
    if all(p.name != "none" for p in named):
        named.insert(0, parse_policy("none"))
    rounds = []
    for repeat in range(repeats):
        shift = repeat % len(named)
        rounds.append(
            [
                Job(f"{p.name}-{repeat}", work, model, p.policy, {**engine, **p.engine})
                for p in named[shift:] + named[:shift]
            ]
        )
    return rounds


def suite_jobs(suite: Suite, traces: Sequence[Path], folder: Path) -> list[Job]:
    """The suite's jobs, the most telling ones first; writes the batches to `folder / "traces"`.

    Of each trace the last RL step that has enough rollouts is replayed, the ones before it are
    history. Batches that a trace has not enough rollouts for are left out. Raises TraceError for a
    lengths-only trace, and where nothing is left.
    """
    opened = [open_trace(path) for path in traces]
    for trace in opened:
        trace.require_tokens()
    batches = [
        (batch, label, *cut)
        for batch in suite.batches
        for label, trace in zip(_labels(traces), opened, strict=True)
        if (cut := _batch(trace, batch, suite.longest, folder.absolute() / "traces"))
    ]
    if not batches:
        raise TraceError(
            "no trace has enough rollouts",
            file=traces[0] if traces else None,
            remedy=f"give traces with {min(suite.batches)} rollouts of at most {suite.longest} "
            "output tokens in an RL step",
        )
    return list(_jobs(suite, batches))


def _labels(traces: Sequence[Path]) -> list[str]:
    """The traces' names; of equal ones, with what tells them apart."""
    names = [path.stem for path in traces]
    return [
        name if names.count(name) == 1 else f"{name}.{_digest(path)}"
        for name, path in zip(names, traces, strict=True)
    ]


def _digest(path: Path, *more: object) -> str:
    """Of a trace's content, and of what was asked of it."""
    return hashlib.blake2b(path.read_bytes() + repr(more).encode(), digest_size=4).hexdigest()


def _jobs(suite: Suite, batches: Sequence[tuple[int, str, Path, int]]) -> Iterable[Job]:
    for repeat in range(suite.repeats):
        for model in suite.models:
            for batch, trace, path, rl_step in batches:
                for text in suite.policies:
                    named = parse_policy(text)
                    yield Job(
                        name=f"{model}-{trace}-{batch}-{named.name}-{repeat}",
                        work=Replay(str(path), [rl_step]),
                        model=model,
                        policy=named.policy,
                        engine={**suite.engine, **named.engine},
                    )


def _batch(trace: Trace, batch: int, longest: int, folder: Path) -> tuple[Path, int] | None:
    """A trace of `batch` rollouts to replay, as many prompts as can be, and what these prompts'
    rollouts of earlier RL steps were; and the RL step. None if there are not enough.
    """
    lengths = trace.lengths()
    lengths = lengths.select(lengths.output_len <= longest)
    for rl_step in reversed(trace.rl_steps):
        rows = np.flatnonzero(lengths.rl_step == rl_step)
        if len(rows) < batch:
            continue
        digest = _digest(trace.path, longest)
        path = folder / f"{trace.path.stem}-{batch}.{digest}.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = rows[np.lexsort((lengths.sample[rows], lengths.prompt[rows]))]
            prompt = lengths.prompt[rows]
            nth = np.arange(len(rows)) - np.searchsorted(prompt, prompt)  # of its prompt's
            chosen = rows[np.argsort(nth, kind="stable")[:batch]]
            earlier = lengths.rl_step < rl_step
            earlier &= np.isin(lengths.prompt, lengths.prompt[chosen])
            keys = {
                (
                    int(lengths.rl_step[i]),
                    trace.prompt_ids[lengths.prompt[i]],
                    int(lengths.sample[i]),
                )
                for i in (*np.flatnonzero(earlier), *chosen)
            }
            write_selection(trace, path, keys)
        return path, rl_step
    return None
