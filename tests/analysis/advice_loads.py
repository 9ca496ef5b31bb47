"""Rollouts of which it is known what helps: nothing, their own text, or their prompt's history."""

from __future__ import annotations

import random
from typing import Any

from longtail.analysis.advice.bench import Bench
from longtail.analysis.advice.choices import Choice
from longtail.policies.batch import NO_CAP
from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.sim.simulate import Setup
from longtail.sim.workload import Workload
from longtail.tests.conformance.small_workloads import Rollout, workload_of

ALPHABET = 5_000
LATENCY = "linear:base=1e-2,token=5e-5"
FCFS = PLACEMENTS.make("fcfs")


def choice(drafter: str, budget: str, engine: str = "longtail") -> Choice:
    return Choice(DRAFTERS.make(drafter), BUDGETS.make(budget), FCFS, None, engine)


def whole(load: Any, latency: Any = LATENCY, steps: tuple[int, ...] = (1, 2)) -> Bench:
    return Bench.of(load, steps, Setup.of(latency=latency), most_tokens=10**9)


def rollouts(
    kind: str,
    *,
    seed: int = 0,
    steps: int = 3,
    prompts: int = 16,
    samples: int = 4,
    length: int = 60,
    cut: bool = False,
    recur: bool = True,
) -> Workload:
    """kind: `fresh` (no token twice in a trace), `own` (rollouts repeat pieces of their own), or
    `history` (what a prompt's rollouts wrote comes again, with a word changed here and there).
    """
    rng = random.Random(seed)
    unused = iter(range(1 << 30))
    texts: dict[int, list[int]] = {}
    made = []
    for step in range(steps):
        for p in range(prompts):
            prompt = p if recur else step * prompts + p
            text = texts.setdefault(prompt, [rng.randrange(ALPHABET) for _ in range(8 * length)])
            for _ in range(samples):
                size = max(4, int(length * rng.lognormvariate(0, 0.3)))
                if kind == "fresh":
                    output = [next(unused) for _ in range(size)]
                elif kind == "own":
                    output = _repeating(rng, size)
                else:
                    output = [t if rng.random() < 0.97 else rng.randrange(ALPHABET) for t in text]
                output = output[:size]
                own_cap = len(output) if cut and size > length else int(NO_CAP)
                head = [next(unused)] if kind == "fresh" else [prompt]
                made.append(Rollout(step, prompt, head, output, own_cap))
    return workload_of(made)


def _repeating(rng: random.Random, size: int) -> list[int]:
    text: list[int] = []
    while len(text) < size:
        if len(text) > 8 and rng.random() < 0.7:
            start = rng.randrange(len(text) - 4)
            text += text[start : start + rng.randint(6, 16)]
        else:
            text += [rng.randrange(ALPHABET) for _ in range(4)]
    return text
