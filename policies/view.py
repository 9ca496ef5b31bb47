"""What is known when an RL step begins: the requests to come, and how earlier steps went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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
    """N requests about to run. Lengths are those of earlier steps only."""

    rl_step: int
    prompt: np.ndarray  # int32[N], the same numbers as in `past`
    prompt_len: np.ndarray  # int32[N] tokens
    cap: np.ndarray  # int32[N] output tokens, NO_CAP where there is none
    longest_draft: int  # K
    past: tuple[PastStep, ...]  # ascending RL steps
    forward_s: Callable[[int, int], float]  # (tokens, requests) -> seconds, KV left out
    prior: np.ndarray | None = None  # float64[256], the drafter's
    cost: DraftCost = FREE  # of the drafter's own forwards

    @cached_property
    def chances(self) -> np.ndarray:
        """float64[256]: chance of a draft token to be accepted, by label (see confidence.py)."""
        if self.prior is None:
            return np.zeros(256)
        known = Confidence(self.prior)
        for past in self.past:
            known.add(past.outcomes)
        return known.rates
