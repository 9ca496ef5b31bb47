"""What is known when an RL step begins: the requests to come, and how earlier steps went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .batch import LABELS
from .confidence import Confidence, outcomes
from .drafters.cost import FREE, DraftCost
from .profile import Profile


@dataclass(frozen=True)
class PastStep:
    """An RL step that is over: n finished rollouts and what the drafter would have drafted for
    them.
    """

    rl_step: int
    prompt: np.ndarray  # int32[n]
    output_len: np.ndarray  # int32[n] tokens
    profile: Profile  # with labels where the budget sees drafts

    @cached_property
    def outcomes(self) -> np.ndarray:
        """float64[256, 2]: draft tokens tried and accepted by label."""
        return outcomes(self.profile)


@dataclass(frozen=True)
class StepView:
    """N requests about to run. Lengths are those of earlier steps only, but for `recorded_len`."""

    rl_step: int
    prompt: np.ndarray  # int32[N], the same numbers as in `past`
    prompt_len: np.ndarray  # int32[N] tokens
    cap: np.ndarray  # int32[N] output tokens, NO_CAP where there is none
    longest_draft: int  # K
    past: tuple[PastStep, ...]  # ascending RL steps
    forward_s: Callable[[int, int], float]  # (tokens, requests) -> seconds, KV left out
    prior: np.ndarray | None = None  # float64[256], the drafter's
    cost: DraftCost = FREE  # of the drafter's own forwards
    # int32[N] tokens that each will have become: the one thing here that no engine knows. Told by
    # simulations only, and only to a budget that says so in every result (`knows_lengths`).
    recorded_len: np.ndarray | None = None
    skew: float = 1.0  # chances told over those known, to see what errors do

    def take(self, rows: np.ndarray) -> StepView:
        """Of these requests alone."""
        told = None if self.recorded_len is None else self.recorded_len[rows]
        return replace(
            self,
            prompt=self.prompt[rows],
            prompt_len=self.prompt_len[rows],
            cap=self.cap[rows],
            recorded_len=told,
        )

    @cached_property
    def chances(self) -> np.ndarray:
        """float64[LABELS]: chance of a draft token to be accepted, by label (see confidence.py)."""
        if self.prior is None:
            return np.zeros(LABELS)
        known = Confidence(self.prior)
        for past in self.past:
            known.add(past.outcomes)
        return np.clip(known.rates * self.skew, 0.0, 1.0)
