"""RhymeRL's drafter: the last epoch's responses to the same prompt, the better ones first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..registry import option
from .suffix_lookup import SuffixLookup
from .suffix_rule import HISTORY, SuffixRule

UNBOUNDED = 1000.0  # draft tokens per token of the match


class Form(NamedTuple):
    """What the paper says and what was released differ in."""

    shortest: int  # tokens of a match
    longest: int
    most: int  # tokens of a draft
    min_prob: float
    by_reward: bool


FORMS = {"printed": Form(3, 7, 32, 0.0, True), "released": Form(4, 7, 16, 0.1, False)}


@dataclass(frozen=True)
class HistoSpec(SuffixLookup):
    """What followed the last seven tokens in the responses to this prompt one RL step ago.

    The longest match counts, from 7 tokens down to 3 (4 as released), and of its continuations the
    one of more weight is followed. As printed a response weighs from 1 for the lowest reward of its
    prompt to 256 for the highest (the paper gives no formula; rewards that are unknown or all equal
    weigh the same), and a draft has up to 32 tokens; as released all weigh the same, and a draft
    has up to 16 and stops at a probability of 0.1. How long a draft really is follows a window that
    the paper moves with each request's acceptance: that is a budget.
    """

    name: ClassVar[str] = "histospec"
    source: ClassVar[str] = (
        "RhymeRL, arXiv 2508.18588 (HistoSpec); released: verl recipe, suffix_cache.cc"
    )

    form: str = option("printed", "the paper's or the released code's", choices=tuple(FORMS))
    window: int = option(1, "history window, 0 is all of it", low=0, unit="RL steps")

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends; None: on all of them."""
        return self.window or None

    @property
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""
        form = FORMS[self.form]
        return SuffixRule(
            scope=HISTORY,
            shared=False,
            depth=form.longest + form.most,
            limit=form.most,
            factor=UNBOUNDED,
            min_prob=form.min_prob,
            window=self.window,
            by_reward=form.by_reward,
            shortest=form.shortest,
            longest=form.longest,
            longest_first=True,
        )
