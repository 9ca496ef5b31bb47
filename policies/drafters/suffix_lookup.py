"""What the drafters that look things up in suffix trees have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ...traces.rollouts import Lengths, Tokens
from ..profile import Profile
from .live import LiveDrafter
from .suffix_live import LiveSuffix
from .suffix_profile import profile_suffix
from .suffix_rule import SuffixRule


class SuffixLookup(ABC):
    """A drafter that is nothing but a rule for looking things up."""

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

    def profile(self, lengths: Lengths, tokens: Tokens, threads: int = 1) -> Profile:
        """What would be drafted at every position of every rollout (see policies/profile.py)."""
        return profile_suffix(self.rule, lengths, tokens, threads)

    def live(self) -> LiveDrafter:
        """The same drafts, one forward at a time."""
        return LiveSuffix(self.rule)
