"""DAS's drafter: a suffix tree per problem over the latest RL steps, the latest of them first."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

from ..measured import checked_digest, integer_in, number_in, read_rows
from ..registry import option
from . import suffix_options
from .suffix_lookup import SuffixLookup
from .suffix_rule import HISTORY, OWN, SuffixRule


@dataclass(frozen=True)
class Das(SuffixLookup):
    """A suffix tree per problem over a sliding window of RL steps; older ones count less.

    As `suffix` with `scope=both`, but for the window and the weights: what the same prompt's
    rollouts wrote h RL steps (the half-life) earlier counts half as much. Where the policy does not
    move equally far in all RL steps, `updates` names a CSV file with the columns rl_step and size
    (1: the usual update after that RL step): the window is then as long as the sizes add up to it,
    so that larger updates make it shorter. The paper gives neither the weights nor how the
    window follows the updates.
    """

    name: ClassVar[str] = "das"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 §4.2 and Fig. 6-7 (window 16 is the knee)"

    scope: str = option(
        "both",
        "where to look: history of the problem, or own text besides",
        choices=("problem", "both"),
    )
    window: int = option(16, "history window, 0 is all of it", low=0, unit="RL steps")
    half_life: float = option(
        16.0, "RL steps after which history counts half, 0: never", low=0.0, unit="RL steps"
    )
    updates: str = option("", "CSV file of the policy updates' sizes: rl_step, size")
    digest: str = option("", "of that file; another content is refused")
    depth: int = suffix_options.depth()
    factor: float = suffix_options.factor()
    min_prob: float = suffix_options.min_prob()
    max: int = suffix_options.longest()

    def __post_init__(self) -> None:
        if not self.updates:
            return
        remedy = "name a CSV file with the columns rl_step and size"
        object.__setattr__(self, "digest", checked_digest(self.updates, self.digest, remedy))
        _read_updates(self.updates, self.digest)

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends; None: on all of them."""
        return None if self.updates else self.window or None

    @property
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""
        sizes = _read_updates(self.updates, self.digest) if self.updates else {}
        return SuffixRule(
            scope=HISTORY | OWN if self.scope == "both" else HISTORY,
            shared=False,
            depth=self.depth,
            limit=self.max,
            factor=self.factor,
            min_prob=self.min_prob,
            window=self.window,
            half_life=self.half_life,
            updates=(lambda step: sizes.get(step, 1.0)) if self.updates else None,
        )


@functools.lru_cache(maxsize=16)
def _read_updates(path: str, digest: str) -> dict[int, float]:
    """Size of the policy update after each RL step. Raises ComponentError for another file."""
    rows, _ = read_rows(path, ("rl_step", "size"))
    return {
        integer_in(row, "rl_step", where, 0): number_in(row, "size", where, 0)
        for where, row in rows
    }
