"""SuffixDecoding over the problem's earlier rollouts, the rollout's own text, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import option
from . import suffix_options
from .suffix_lookup import SuffixLookup
from .suffix_rule import HISTORY, OWN, SuffixRule


@dataclass(frozen=True)
class Suffix(SuffixLookup):
    """Longest recurring suffix, most frequent continuation: SuffixDecoding per problem.

    History at RL step s is what the same prompt's rollouts wrote in steps before s; own text is the
    rollout's prompt and output so far. With `scope=both` the draft with the higher score is taken,
    ties to own text. A draft costs no model forward.
    """

    name: ClassVar[str] = "suffix"
    source: ClassVar[str] = (
        "SuffixDecoding, arXiv 2411.04975; one tree per problem as in DAS, arXiv 2511.13841 §4"
    )

    scope: str = option(
        "both",
        "where to look: history of the problem, own text, both; history of all problems (global), "
        "and own text (all)",
        choices=("problem", "own", "both", "global", "all"),
        always=True,
    )
    window: int = option(0, "history window, 0 is all of it", low=0, unit="RL steps")
    keep: int = option(
        0, "history kept of a corpus, whole rollouts, the latest; 0 is all", low=0, unit="tokens"
    )
    depth: int = suffix_options.depth()
    factor: float = suffix_options.factor()
    min_prob: float = suffix_options.min_prob()
    max: int = suffix_options.longest()
    paths: int = suffix_options.paths()

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends; None: on all of them."""
        return 0 if self.scope == "own" else self.window or None

    @property
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""
        own, both = self.scope == "own", self.scope in ("both", "all")
        return SuffixRule(
            scope=OWN if own else HISTORY | OWN if both else HISTORY,
            shared=self.scope in ("global", "all"),
            depth=self.depth,
            limit=self.max,
            factor=self.factor,
            min_prob=self.min_prob,
            paths=self.paths,
            keep=self.keep,
            window=self.window,
        )
