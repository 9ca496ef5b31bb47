"""Seer's drafter: what the other rollouts of the same prompt are writing at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...traces.rollouts import Lengths, Tokens
from ..profile import Profile
from ..registry import option
from . import suffix_options
from .grouped_live import LiveGrouped
from .live import LiveDrafter
from .lockstep import profile_lockstep
from .suffix_lookup import SuffixLookup
from .suffix_rule import HISTORY, OWN, SuffixRule


@dataclass(frozen=True)
class Grouped(SuffixLookup):
    """A suffix tree per group, of what its rollouts have written in this RL step so far.

    Every `every` forwards an engine fetches what its group had written `delay` forwards earlier,
    itself included; its own text it sees at once. The drafts depend on timing, so the simulator
    makes them forward by forward; where a profile is needed (a budget that looks back, tables of
    drafters) it is that of rollouts that begin together and grow by a token per forward. Siblings
    on other replicas are not seen. The paper gives neither interval nor delay.
    """

    name: ClassVar[str] = "grouped"
    source: ClassVar[str] = "Seer, arXiv 2511.14617 §4.4 (grouped drafter, multi-path drafting)"
    history_steps: ClassVar[int | None] = 0
    timed: ClassVar[bool] = True

    scope: str = option(
        "both", "where to look: the group, or own text besides", choices=("group", "both")
    )
    every: int = option(16, "between two fetches", low=1, unit="forwards")
    delay: int = option(0, "until what was written can be fetched", low=0, unit="forwards")
    depth: int = suffix_options.depth()
    factor: float = suffix_options.factor()
    min_prob: float = suffix_options.min_prob()
    max: int = suffix_options.longest()
    paths: int = suffix_options.paths()

    @property
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""
        return SuffixRule(
            scope=HISTORY | OWN if self.scope == "both" else HISTORY,
            shared=False,
            depth=self.depth,
            limit=self.max,
            factor=self.factor,
            min_prob=self.min_prob,
            paths=self.paths,
        )

    def profile(
        self, lengths: Lengths, tokens: Tokens, threads: int = 1, labels: bool = False
    ) -> Profile:
        """What would be drafted if everybody began at once and grew by a token per forward."""
        return profile_lockstep(self, lengths, tokens, labels=labels)

    def live(self) -> LiveDrafter:
        """The same drafts, at whatever speed the requests grow."""
        return LiveGrouped(self.rule, self.every, self.delay)
