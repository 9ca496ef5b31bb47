"""Earlier RL steps as budgets look back on them: lengths, and what would have been drafted.

The simulator reads both from the trace; here they come from the rollouts that finished. A step's
profile is computed when the next one begins, from the step itself and as many earlier steps as the
drafter's drafts depend on; text older than that is let go.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

from ..policies.drafters.live import UNKNOWN
from ..policies.profile import Profile
from ..policies.view import PastStep
from ..traces.rollouts import Lengths, Tokens, offsets_of


class Finished(NamedTuple):
    """A rollout that is over."""

    rl_step: int
    order: int  # of arrival
    prompt: int
    prompt_tokens: np.ndarray  # int32
    output_tokens: np.ndarray  # int32
    reward: float  # NaN where unknown


class History:
    """Rollouts in, `PastStep`s out; prompts are numbered by first appearance."""

    def __init__(
        self, drafter: Any, looks_back: int | None = None, *, labels: bool = False
    ) -> None:
        """looks_back: how many RL steps the budget may look back on; None is all. labels: whether
        the budget sees drafts.
        """
        self._drafter, self._looks_back, self._labels = drafter, looks_back, labels
        self._numbers: dict[Hashable, int] = {}
        self._open: list[Finished] = []  # of steps that have no PastStep yet
        self._kept: list[Finished] = []  # older ones, which coming profiles depend on
        self.past: tuple[PastStep, ...] = ()

    def number(self, prompt_id: Hashable) -> int:
        """The prompt's number."""
        return self._numbers.setdefault(prompt_id, len(self._numbers))

    def add(
        self,
        rl_step: int,
        order: int,
        prompt_id: Hashable,
        prompt_tokens: np.ndarray,
        output_tokens: np.ndarray,
        reward: float = UNKNOWN,
    ) -> None:
        """A rollout that finished in RL step `rl_step`."""
        number = self.number(prompt_id)
        self._open.append(Finished(rl_step, order, number, prompt_tokens, output_tokens, reward))

    def close(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished before it is looked at."""
        done = sorted((f for f in self._open if f.rl_step < rl_step), key=lambda f: f[:2])
        self._open = [f for f in self._open if f.rl_step >= rl_step]
        depends = self._drafter.history_steps
        for step in sorted({f.rl_step for f in done}):
            first = -1 if depends is None else step - depends
            self._kept = [f for f in self._kept if f.rl_step >= first]
            before = len(self._kept)
            self._kept += [f for f in done if f.rl_step == step]
            self.past += (self._look(step, before),)
        if self._looks_back is not None:
            oldest = rl_step - self._looks_back
            self.past = tuple(past for past in self.past if past.rl_step >= oldest)

    def _look(self, step: int, before: int) -> PastStep:
        """The step's rollouts, self._kept[before:], drafted for with those in front of them."""
        rollouts = self._kept
        prompt = np.array([f.prompt for f in rollouts], np.int32)
        lengths = Lengths(
            rl_step=np.array([f.rl_step for f in rollouts], np.int32),
            prompt=prompt,
            sample=np.arange(len(rollouts), dtype=np.int32),
            prompt_len=np.array([len(f.prompt_tokens) for f in rollouts], np.int32),
            output_len=np.array([len(f.output_tokens) for f in rollouts], np.int32),
            finish=np.zeros(len(rollouts), np.int8),
            reward=np.array([f.reward for f in rollouts], np.float32),
            prompt_ids=[str(i) for i in range(len(self._numbers))],
        )
        tokens = Tokens(
            output_tokens=np.concatenate([f.output_tokens for f in rollouts]),
            output_offsets=offsets_of(lengths.output_len),
            prompt_tokens=np.concatenate([f.prompt_tokens for f in rollouts]),
            prompt_offsets=offsets_of(lengths.prompt_len),
            prompt_of=np.arange(len(rollouts), dtype=np.int32),
        )
        threads = os.cpu_count() or 1
        profile = self._drafter.profile(lengths, tokens, threads, self._labels)
        mine = profile.part(before, len(rollouts))
        # Copies: a view would keep the profile of all that came before, step after step.
        mine = Profile(
            mine.drafted.copy(),
            mine.matched.copy(),
            mine.offsets,
            mine.labels.copy(),
            mine.ranks.copy(),
        )
        return PastStep(step, prompt[before:].copy(), lengths.output_len[before:].copy(), mine)
