"""Several drafters at once: for every request and forward, the draft that promises most."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..profile import Profile
from ..registry import ComponentError, brief, option
from .best_of_live import LiveBestOf
from .cost import DraftCost, cost_of
from .live import LiveDrafter
from .lockstep import profile_lockstep
from .recorded import Recorded

MEMBER = re.compile(r"\s*([^()|]+?)\s*(?:\(([^()]*)\))?\s*")


def _split(spec: str) -> tuple[str, str, str]:
    return spec.partition(":")


@dataclass(frozen=True)
class BestOf:
    """Of several drafters' drafts the one with the most tokens expected to be accepted.

    `of` lists them, options in parentheses: `suffix(scope=problem;window=4)|grouped|ngram`. What
    each may expect is learnt in the run itself: how often tokens like these were accepted in the
    earlier RL steps, whether drafted in the end or not (policies/confidence.py). Ties go to the
    one that is listed first. Every drafter's cost is paid, for its longest draft, in every forward
    in which anything is drafted. The simulator drafts forward by forward; an RL step that is
    simulated alone begins without having learnt.
    """

    name: ClassVar[str] = "best_of"
    source: ClassVar[str] = "a request's draft with the highest expected gain; ours"
    timed: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = True  # tables' drafts, too, are compared as tokens
    judges: ClassVar[bool] = True

    of: str = option(
        "suffix(scope=problem)|grouped",
        "the drafters, separated by |, their options in parentheses, separated by ;",
        always=True,
    )

    def __post_init__(self) -> None:
        for member in self.members:
            if not member.longest_draft:
                raise ComponentError(f"{member.name} drafts nothing that could be compared")
        # As the members have it, so that a table's digest is part of it.
        written = [brief(member) for member in self.members]
        of = "|".join(f"{n}({o.replace(',', ';')})" if o else n for n, _, o in map(_split, written))
        object.__setattr__(self, "of", of)

    @cached_property
    def members(self) -> tuple[Any, ...]:
        """The drafters. Raises ComponentError for what names none."""
        from ..components import DRAFTERS

        made = []
        for part in self.of.split("|"):
            match = MEMBER.fullmatch(part)
            if match is None:
                raise ComponentError(f"'{part}' is no drafter; write NAME(KEY=VALUE;…)|…")
            name, options = match.groups()
            if name.strip() == self.name:
                raise ComponentError("best_of cannot be one of its own drafters")
            made.append(DRAFTERS.make(f"{name}:{(options or '').replace(';', ',')}"))
        return tuple(made)

    @property
    def in_engine(self) -> bool:
        """Whether all of them can draft in an engine."""
        return all(member.in_engine for member in self.members)

    @property
    def trees(self) -> bool:
        """Whether any of them drafts trees."""
        return any(member.trees for member in self.members)

    @property
    def longest_draft(self) -> int:
        """K, tokens."""
        return max(member.longest_draft for member in self.members)

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends: by what it promises, on all of them."""
        return None

    @property
    def acceptance(self) -> str:
        """Where acceptance comes from."""
        return "; ".join(f"{m.name}: {m.acceptance}" for m in self.members)

    @property
    def cost(self) -> DraftCost:
        """All of theirs together."""
        costs = [(cost_of(member), member.longest_draft) for member in self.members]
        # A draft that is to be compared has to be made first, to its end.
        once = sum(c.once_s + c.step_s * min(k, c.most_steps) for c, k in costs)
        return DraftCost(once_s=once, token_s=sum(c.token_s for c, _ in costs))

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of results with it."""
        return tuple(note for m in self.members for note in getattr(m, "notes", ()))

    def prior(self) -> np.ndarray:
        """float64[256]: a label is the chance itself."""
        return np.arange(256) / 255

    def profile(
        self, lengths: Lengths, tokens: Tokens, threads: int = 1, labels: bool = False
    ) -> Profile:
        """What would be drafted if everybody began at once and grew by a token per forward."""

        def profile_of(member: Any) -> Profile:
            made: Profile = member.profile(lengths, tokens, threads, labels=True)
            return made

        live = self.replayed(tokens, profile_of)
        return profile_lockstep(self, lengths, tokens, labels=labels, live=live)

    def replayed(self, tokens: Tokens, profile_of: Callable[[Any], Profile]) -> LiveBestOf:
        """Its live face for recorded rollouts, in which drafters without tokens draft from their
        profile, labels included; `assign` tells it which rollouts its requests are.
        """
        faces: list[LiveDrafter] = [
            member.live() if member.in_engine else Recorded(profile_of(member), tokens)
            for member in self.members
        ]
        return self._live(faces)

    def live(self) -> LiveDrafter:
        """Its live face in an engine. Raises ComponentError where one of them has none."""
        return self._live([member.live() for member in self.members])

    def _live(self, faces: Sequence[LiveDrafter]) -> LiveBestOf:
        members = self.members
        return LiveBestOf(faces, [m.prior() for m in members], [m.trees for m in members])
