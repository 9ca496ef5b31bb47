"""What is known when an RL step begins: the requests to come, and how earlier steps went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .profile import Profile


@dataclass(frozen=True)
class PastStep:
    """An RL step that is over: n finished rollouts and what the drafter would have drafted for
    them.
    """

    rl_step: int
    prompt: np.ndarray  # int32[n]
    output_len: np.ndarray  # int32[n] tokens
    profile: Profile


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
