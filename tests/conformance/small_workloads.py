"""Little traces, made from plain lists of tokens."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from longtail.policies.batch import NO_CAP
from longtail.sim.workload import Workload
from longtail.traces.rollouts import Lengths, Tokens, offsets_of

STOP, LENGTH = 1, 2  # codes of finish reasons


@dataclass(frozen=True)
class Rollout:
    rl_step: int
    prompt_id: int
    prompt: list[int]
    output: list[int]
    cap: int = int(NO_CAP)
    reward: float = 0.0


def flat(lists: list[list[int]]) -> np.ndarray:
    return np.array([token for tokens in lists for token in tokens], np.int32)


def workload_of(rollouts: list[Rollout]) -> Workload:
    """Rollouts in ascending RL step; every one keeps a prompt text of its own."""
    count = len(rollouts)
    prompts, outputs = [r.prompt for r in rollouts], [r.output for r in rollouts]
    cut = [r.cap == len(r.output) for r in rollouts]

    seen: Counter[tuple[int, int]] = Counter()
    samples = []
    for r in rollouts:
        samples.append(seen[r.rl_step, r.prompt_id])
        seen[r.rl_step, r.prompt_id] += 1

    def ints(values: list[int]) -> np.ndarray:
        return np.array(values, np.int32)

    lengths = Lengths(
        rl_step=ints([r.rl_step for r in rollouts]),
        prompt=ints([r.prompt_id for r in rollouts]),
        sample=ints(samples),
        prompt_len=ints([len(p) for p in prompts]),
        output_len=ints([len(o) for o in outputs]),
        finish=np.where(cut, LENGTH, STOP).astype(np.int8),
        reward=np.array([r.reward for r in rollouts], np.float32),
        prompt_ids=[str(i) for i in range(1 + max(r.prompt_id for r in rollouts))],
    )
    tokens = Tokens(
        output_tokens=flat(outputs),
        output_offsets=offsets_of(lengths.output_len),
        prompt_tokens=flat(prompts),
        prompt_offsets=offsets_of(lengths.prompt_len),
        prompt_of=np.arange(count, dtype=np.int32),
    )
    return Workload(lengths, ints([r.cap for r in rollouts]), tokens=tokens)


def repetitive_text(rng: random.Random, length: int, alphabet: int) -> list[int]:
    """Random tokens, with pieces copied from further back."""
    text: list[int] = []
    while len(text) < length:
        if text and rng.random() < 0.5:
            start = rng.randrange(len(text))
            text += text[start : start + rng.randint(1, 8)]
        else:
            text.append(rng.randrange(alphabet))
    return text[:length]


def random_rollouts(
    seed: int, rl_steps: int, prompts: int, samples: int, longest: int, alphabet: int
) -> list[Rollout]:
    """Samples are partly copied from earlier ones of their prompt; some are cut, some have caps."""
    rng, judge = random.Random(seed), random.Random(seed)
    texts = [repetitive_text(rng, rng.randint(1, 12), alphabet) for _ in range(prompts)]
    written: list[list[int]] = [[] for _ in range(prompts)]
    rollouts = []
    for step in range(rl_steps):
        keys = [p for p in range(prompts) for _ in range(samples)]
        if rng.random() < 0.5:
            rng.shuffle(keys)
        for p in keys:
            length = rng.randint(1, longest)
            output = repetitive_text(rng, length, alphabet)
            if written[p] and rng.random() < 0.6:
                old = written[p]
                start, at = rng.randrange(len(old)), rng.randrange(length)
                output[at:] = (old[start:] + output)[: length - at]
            cap = rng.choice([int(NO_CAP), int(NO_CAP), length, length + rng.randint(0, 6)])
            reward = judge.choice([0.0, 0.0, 1.0, 0.25] if judge.random() < 0.9 else [math.nan])
            rollouts.append(Rollout(step, p, texts[p], output, cap, reward))
        for rollout in rollouts[-len(keys) :]:
            written[rollout.prompt_id] += rollout.output
    return rollouts


traces = st.builds(
    random_rollouts,
    seed=st.integers(0, 1 << 30),
    rl_steps=st.integers(1, 3),
    prompts=st.integers(1, 3),
    samples=st.integers(1, 4),
    longest=st.integers(1, 40),
    alphabet=st.integers(2, 4),
)
