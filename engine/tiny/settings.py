"""Everything the tiny run can be told, in one frozen record.

The defaults are exactly those that made ``traces/sample.parquet``; `TINY_TEST` is the same run
small enough for a test. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes, budgets and rates of one run. Lengths are in tokens."""

    # model
    layers: int = 4
    heads: int = 4
    width: int = 128
    # supervised training on written searches
    pretrain_steps: int = 3500
    pretrain_batch_tokens: int = 2048
    pretrain_lr: float = 2e-3
    # the fixed prompt set
    prompts: int = 64
    hard_share: float = 0.5  # share of prompts with four numbers instead of three
    # GRPO
    samples: int = 8
    epochs: int = 12
    cap: int = 1024  # most output tokens of a rollout
    temperature: float = 1.0
    rl_lr: float = 2e-4
    minibatches: int = 4  # optimiser updates per RL step
    clip: float = 0.2
    update_batch_tokens: int = 16384
    # torch
    threads: int = 1

    def __post_init__(self) -> None:
        assert self.width % (2 * self.heads) == 0, "heads must have an even width (RoPE)"
        assert self.temperature > 0, "the trace is of sampled rollouts"
        assert self.prompts * self.samples % self.minibatches == 0


TINY_TEST = Settings(
    layers=2,
    heads=2,
    width=32,
    pretrain_steps=20,
    pretrain_batch_tokens=2048,
    prompts=6,
    samples=4,
    epochs=2,
    cap=96,
    minibatches=2,
)
