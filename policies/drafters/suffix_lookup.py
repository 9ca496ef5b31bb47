"""What the drafters that look things up in suffix trees have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..profile import Profile
from .live import LiveDrafter
from .suffix_label import prior
from .suffix_live import LiveSuffix
from .suffix_profile import profile_suffix
from .suffix_rule import SuffixRule


class SuffixLookup(ABC):
    """A drafter that is nothing but a rule for looking things up."""

    timed: ClassVar[bool] = False
    in_engine: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = True
    acceptance: ClassVar[str] = "token-exact replay (one-hot drafts against recorded tokens)"

    @property
    @abstractmethod
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""

    @property
    def longest_draft(self) -> int:
        """K, tokens."""
        return self.rule.limit

    @property
    def trees(self) -> bool:
        """Whether drafts are trees."""
        return self.rule.paths > 1

    def profile(
        self, lengths: Lengths, tokens: Tokens, threads: int = 1, labels: bool = False
    ) -> Profile:
        """What would be drafted at every position of every rollout (see policies/profile.py)."""
        return profile_suffix(self.rule, lengths, tokens, threads, labels)

    def prior(self) -> np.ndarray:
        """float64[256]: chances by label, before anything was drafted."""
        return prior(self.trees)

    def live(self) -> LiveDrafter:
        """The same drafts, one forward at a time."""
        return LiveSuffix(self.rule)
