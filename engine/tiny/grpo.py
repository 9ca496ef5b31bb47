"""GRPO (arXiv 2402.03300): sample a group per prompt, reward, reinforce relative to the group.

`sample` draws rollouts in one batch and measures when each ended; `update` makes the settings'
number of clipped policy-gradient updates from them. Neither knows the task: rewards come from
outside. No KL term and no reference model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, pstdev

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .model import Cache, TinyGPT
from .pretrain import pad
from .settings import Settings
from .task import EOS, PAD


@dataclass
class Rollout:
    """One sampled response; ``end_s`` counts seconds from the start of its batch's generation."""

    prompt: list[int]
    output: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # of each output token as it was drawn
    end_s: float = 0.0

    @property
    def stopped(self) -> bool:
        """Whether it ended by its end token; otherwise it was cut at the cap."""
        return bool(self.output) and self.output[-1] == EOS


@torch.inference_mode()
def sample(
    model: TinyGPT, prompts: Sequence[list[int]], settings: Settings, random: Generator
) -> list[Rollout]:
    """One rollout per prompt, all started together, each ending at its end token or at the cap.

    The whole batch walks the same columns, so there is no padding: at column ``t`` a row whose
    prompt is longer than ``t`` is fed its prompt, any other what it sampled at ``t - 1``. Rows that
    have finished are dropped from the batch once they are a quarter of it.
    """
    begin = time.perf_counter()
    rollouts = [Rollout(prompt) for prompt in prompts]
    cache = Cache(settings.layers)
    live = list(range(len(rollouts)))  # which rollout each row of the batch is
    finished: set[int] = set()
    column = torch.tensor([prompt[:1] for prompt in prompts])
    for position in range(1, max(map(len, prompts)) + settings.cap):
        logits = model(column, cache)[:, -1] / settings.temperature
        logits[:, PAD] = float("-inf")
        logprobs = logits.log_softmax(-1)
        drawn = torch.multinomial(logprobs.exp(), 1, generator=random)
        chosen = logprobs.gather(1, drawn)[:, 0].tolist()
        column = drawn.tolist()
        now = time.perf_counter() - begin
        for row, (at, logprob) in enumerate(zip(live, chosen, strict=True)):
            rollout = rollouts[at]
            if position < len(rollout.prompt):
                column[row] = [rollout.prompt[position]]
            elif at not in finished:
                rollout.output.append(column[row][0])
                rollout.logprobs.append(logprob)
                if rollout.stopped or len(rollout.output) == settings.cap:
                    rollout.end_s = now
                    finished.add(at)
        if len(finished) == len(rollouts):
            break
        rows = [row for row, at in enumerate(live) if at not in finished]
        if len(rows) <= 0.75 * len(live):
            cache.keep(torch.tensor(rows))
            live, column = [live[row] for row in rows], [column[row] for row in rows]
        column = torch.tensor(column)
    return rollouts


def group_advantages(rewards: Sequence[float], group: int) -> list[float]:
    """(reward - group mean) / group standard deviation; 0 in groups whose rewards are all equal."""
    out: list[float] = []
    for at in range(0, len(rewards), group):
        members = rewards[at : at + group]
        centre, spread = mean(members), pstdev(members)
        out += [(reward - centre) / spread if spread else 0.0 for reward in members]
    return out


def output_logprobs(
    model: TinyGPT, rollouts: Sequence[Rollout], temperature: float
) -> list[Tensor]:
    """The log-probability of each output token, one tensor ``[output length]`` per rollout."""
    tokens = pad([r.prompt + r.output for r in rollouts], PAD)
    logits = model(tokens[:, :-1]) / temperature
    logits[:, :, PAD] = float("-inf")
    taken = -F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    rows = taken.view(len(rollouts), -1)
    return [
        row[len(r.prompt) - 1 : len(r.prompt) + len(r.output) - 1]
        for row, r in zip(rows, rollouts, strict=True)
    ]


def update(
    model: TinyGPT,
    optimiser: torch.optim.Optimizer,
    rollouts: Sequence[Rollout],
    advantages: Sequence[float],
    settings: Settings,
    random: Generator,
) -> int:
    """One pass over the rollouts in shuffled minibatches; returns the optimiser updates made.

    The objective of a rollout with advantage A is the mean over its tokens of
    min(r A, clip(r, 1 - c, 1 + c) A), where r is the token's probability now over that when drawn.
    """
    order = torch.randperm(len(rollouts), generator=random).tolist()
    size = len(rollouts) // settings.minibatches
    for start in range(0, len(order), size):
        # Without advantage there is no gradient, only cost.
        useful = [i for i in order[start : start + size] if advantages[i]]
        useful.sort(key=lambda i: len(rollouts[i].prompt) + len(rollouts[i].output))
        optimiser.zero_grad()
        while useful:
            longest = len(rollouts[useful[-1]].prompt) + len(rollouts[useful[-1]].output)
            rows = max(1, settings.update_batch_tokens // longest)
            useful, chunk = useful[:-rows], useful[-rows:]
            loss = torch.zeros(())
            now = output_logprobs(model, [rollouts[i] for i in chunk], settings.temperature)
            for i, logprobs in zip(chunk, now, strict=True):
                ratio = (logprobs - torch.tensor(rollouts[i].logprobs)).exp()
                clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                gain = torch.minimum(ratio * advantages[i], clipped * advantages[i])
                loss = loss - gain.mean() / size
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return settings.minibatches
