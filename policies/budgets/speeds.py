"""How fast rollouts of history would have been with drafts of one length or another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..profile import PROBES
from ..view import PastStep


def speed_table(past: Sequence[PastStep], longest: int) -> np.ndarray:
    """float64[3, C]: draft lengths ascending from 0; output tokens and draft tokens per request and
    forward with each of them, the drafter having been alone with each rollout of these RL steps.
    """
    none = np.array([[0.0], [1.0], [0.0]])
    if not past:
        return none
    walks = sum(p.profile.walks.sum(0) for p in past).T.astype(float)
    rollouts = sum(len(p.output_len) for p in past)
    tokens = sum(int(p.output_len.sum(dtype=np.int64)) for p in past) - rollouts
    forwards = np.maximum(walks[0] - rollouts, 1.0)  # the first token came with the prefill
    table = np.stack([PROBES.astype(float), np.maximum(tokens, 1) / forwards, walks[1] / forwards])
    return np.hstack([none, table[:, longest >= PROBES]])
