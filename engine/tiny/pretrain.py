"""Supervised training on written searches, drawn fresh for every batch.

In: a new model (token ids ``[rows, columns]`` to logits ``[rows, columns, vocabulary]``) and a
random source. Out: the same model, which now searches, backtracks and answers in the task's tokens,
and is right often enough for GRPO to have something to reinforce. It never sees the problems of the
RL prompt set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from math import cos, pi
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .settings import Settings
from .task import PAD, draw_problem, write_solution

Example = tuple[list[int], list[int]]
"""Tokens, and the label of each: the token after it, or `IGNORED`."""

Writer = Callable[[Random], float]
"""Draws the guidance, 0 to 1, of whoever writes the next solution (`write_solution`)."""

POOL = 1024  # solutions drawn and sorted by length at a time
IGNORED = -100  # label of what is not to be learnt: the prompt and the padding


def pad(rows: list[list[int]], value: int) -> Tensor:
    """``[rows, longest]``, filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def mostly_able(rng: Random) -> float:
    """A writer's guidance: all kinds of writers, mostly able ones."""
    return max(rng.random(), rng.random())


def batches(
    settings: Settings, rng: Random, held_out: Collection[str], writer: Writer = mostly_able
) -> Iterator[list[Example]]:
    """Endless batches of examples of similar length, at most the settings' batch tokens each."""
    while True:
        pool: list[Example] = []
        while len(pool) < POOL:
            problem = draw_problem(rng, 4 if rng.random() < settings.hard_share else 3)
            solution = write_solution(problem, rng, writer(rng))
            if solution and len(solution) <= settings.cap and problem.name not in held_out:
                labels = [IGNORED] * (len(problem.prompt) - 1) + solution
                pool.append((problem.prompt + solution[:-1], labels))
        pool.sort(key=lambda example: len(example[0]))
        cut: list[list[Example]] = [[]]
        for example in pool:
            if (len(cut[-1]) + 1) * len(example[0]) > settings.pretrain_batch_tokens:
                cut.append([])
            cut[-1].append(example)
        rng.shuffle(cut)
        yield from filter(None, cut)


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up over the first twentieth, then a cosine down to a twentieth of the peak."""
    warm = max(1, settings.pretrain_steps // 20)
    if step < warm:
        return settings.pretrain_lr * (step + 1) / warm
    done = (step - warm) / max(1, settings.pretrain_steps - warm)
    return settings.pretrain_lr * (0.05 + 0.95 * (1 + cos(pi * done)) / 2)


def pretrain(
    model: nn.Module,
    settings: Settings,
    rng: Random,
    held_out: Collection[str],
    progress: Callable[[str], None],
    writer: Writer = mostly_able,
) -> None:
    """Train ``model`` in place with AdamW for the settings' number of steps."""
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    source = batches(settings, rng, held_out, writer)
    for step in range(settings.pretrain_steps):
        batch = next(source)
        tokens = pad([example[0] for example in batch], PAD)
        labels = pad([example[1] for example in batch], IGNORED)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        optimiser.param_groups[0]["lr"] = learning_rate(settings, step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99 or step + 1 == settings.pretrain_steps:
            progress(f"pretrain {step + 1}/{settings.pretrain_steps}: loss {loss.item():.3f}")
