"""Record the bundled sample: train a tiny model, run GRPO on it, write every rollout to a trace.

Contract: what was sampled is what is written, token for token, with measured times. From the seed
everything but those times is reproduced on the same machine and torch version with the same number
of threads; another processor may round differently and so sample differently.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch

from ...traces.schema import TraceMeta
from ...traces.writer import TraceWriter
from .grpo import Rollout, group_advantages, sample, update
from .model import TinyGPT
from .pretrain import pretrain
from .settings import Settings
from .task import EOS, VOCABULARY, Problem, draw_prompt_set, is_correct

Row = dict[str, Any]
"""One rollout by the trace's column names."""


def record_tiny(
    out: Path,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> None:
    """Make a tiny model's RL run from ``seed`` and write its rollouts to ``out``.

    ``settings`` overrides fields of `Settings`, whose defaults made the bundled sample;
    ``progress`` is told one line now and then.
    """
    chosen, say = Settings(**settings), progress or (lambda line: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with TraceWriter(out, meta(seed, chosen)) as writer:
                for rows in run(seed, chosen, say):
                    writer.write(rows)
    finally:
        torch.set_num_threads(threads)


def run(seed: int, settings: Settings, say: Callable[[str], None]) -> Iterator[list[Row]]:
    """The run itself: pretraining, then RL steps over all prompts; yields each step's rollouts."""
    problems = draw_prompt_set(Random(f"prompts {seed}"), settings.prompts, settings.hard_share)
    problems.sort(key=lambda problem: problem.name)
    model = TinyGPT(settings, len(VOCABULARY))
    say(f"a model of {model.size:,} parameters")
    pretrain(model, settings, Random(f"pretrain {seed}"), {p.name for p in problems}, say)

    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rl_lr, weight_decay=0.0)
    random = torch.Generator().manual_seed(seed)
    asked = [problem for problem in problems for _ in range(settings.samples)]
    version = 0
    for rl_step in range(settings.epochs):
        begin = time.perf_counter()
        rollouts = sample(model, [problem.prompt for problem in asked], settings, random)
        sampled = time.perf_counter()
        rewards = [float(is_correct(p, r.output)) for p, r in zip(asked, rollouts, strict=True)]
        yield [
            row(rl_step, i % settings.samples, asked[i], rollouts[i], rewards[i], version)
            for i in range(len(asked))
        ]
        advantages = group_advantages(rewards, settings.samples)
        version += update(model, optimiser, rollouts, advantages, settings, random)
        lengths = sorted(len(rollout.output) for rollout in rollouts)
        say(
            f"RL step {rl_step}: reward {mean(rewards):.3f}, length median "
            f"{lengths[len(lengths) // 2]} longest {lengths[-1]}, generated in "
            f"{sampled - begin:.1f} s, updated in {time.perf_counter() - sampled:.1f} s"
        )


def row(
    rl_step: int, sample_index: int, problem: Problem, rollout: Rollout, reward: float, version: int
) -> Row:
    """One rollout as the trace has it. A step's rollouts all start with its generation, at 0 s."""
    return {
        "rl_step": rl_step,
        "prompt_id": problem.name,
        "sample": sample_index,
        "prompt_tokens": rollout.prompt,
        "output_tokens": rollout.output,
        "prompt_len": len(rollout.prompt),
        "output_len": len(rollout.output),
        "finish_reason": "stop" if rollout.stopped else "length",
        "reward": reward,
        "policy_version": version,
        "start_s": 0.0,
        "end_s": rollout.end_s,
        "drafted": None,
        "accepted": None,
    }


def meta(seed: int, settings: Settings) -> TraceMeta:
    """The trace's metadata: all that is needed to make it again."""
    overrides = {k: v for k, v in asdict(settings).items() if v != getattr(Settings(), k)}
    return TraceMeta(
        origin="recorded",
        source=f"longtail record tiny --seed {seed}" + (f" with {overrides}" if overrides else ""),
        model=(
            f"decoder-only transformer from scratch: {settings.layers} layers, width "
            f"{settings.width}, {settings.heads} heads, rotary positions, trained on written "
            "Countdown searches, then GRPO"
        ),
        tokenizer={
            "name": "longtail tiny countdown",
            "sha256": hashlib.sha256("\n".join(VOCABULARY).encode()).hexdigest(),
            "vocabulary": list(VOCABULARY),
        },
        vocab_size=len(VOCABULARY),
        end_token_id=EOS,
        sampling={
            "temperature": settings.temperature,
            "max_tokens": settings.cap,
            "top_p": 1.0,
            "top_k": 0,
            "n": settings.samples,
        },
        engine=f"torch {torch.__version__.split('+')[0]} CPU",
        engine_config={"seed": seed, **asdict(settings)},
        hardware=f"x86-64 CPU, {settings.threads} thread",
        licence="Apache-2.0",
    )
