"""No speculation: the baseline."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..drafts import Drafts, no_drafts
from ..profile import Profile, blank_profile
from .live import UNKNOWN, Ints, LiveDrafter


@dataclass(frozen=True)
class NoDrafter:
    """Nothing is ever drafted; needs no tokens in the trace."""

    name: ClassVar[str] = "none"
    source: ClassVar[str] = "plain autoregressive decoding"
    acceptance: ClassVar[str] = "no drafts"
    timed: ClassVar[bool] = False
    in_engine: ClassVar[bool] = True
    trees: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False
    longest_draft: ClassVar[int] = 0
    history_steps: ClassVar[int | None] = 0

    def profile(
        self, lengths: Lengths, tokens: Tokens | None, threads: int = 1, labels: bool = False
    ) -> Profile:
        """All zeros."""
        return blank_profile(lengths.output_len)

    def prior(self) -> np.ndarray:
        """No label is ever given."""
        return np.zeros(256)

    def live(self) -> LiveDrafter:
        """Itself: there is no state."""
        return self

    def start_step(self, rl_step: int) -> None:
        """Nothing to learn."""

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """Nothing to remember."""

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """Nothing to index."""

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """Empty drafts."""
        return no_drafts(len(requests))

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """Nothing to forget."""

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """Nothing to learn."""
