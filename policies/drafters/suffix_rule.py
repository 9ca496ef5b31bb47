"""How drafters look things up in suffix trees: where, how far back, and what counts how much."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ..compiled import jit
from ..registry import ComponentError

HISTORY, OWN = 1, 2  # where to look: earlier rollouts, a rollout's own text
EVER = -(1 << 62)  # an RL step before all
HEAVIEST, SPAN = 256, 2.0  # the most an occurrence counts; half-lives between two weighings
MOST = (1 << 31) - 1  # that a corpus may weigh: length times weight, added up


@dataclass(frozen=True)
class SuffixRule:
    """Longest recurring suffix, most frequent continuation, by weight.

    With half_life h an occurrence in RL step e counts max(1, round(256 * 2 ** ((e - n) / h))),
    n being the last RL step of the 2 h that the present one is among: whole numbers, so that what
    is added up can be taken off again.
    """

    scope: int  # HISTORY, OWN or both
    shared: bool  # whether all prompts are one corpus
    depth: int  # tokens of match and draft together
    limit: int  # tokens of a draft
    factor: float  # tokens of a draft per token of the match
    min_prob: float
    paths: int = 1  # of a draft; more than one: it is a tree
    keep: int = 0  # tokens of a corpus, 0: all
    window: int = 0  # RL steps, or as much as `updates` add up to; 0: all
    half_life: float = 0.0  # RL steps, 0: all count 1
    by_reward: bool = False  # whether rollouts of one RL step and corpus count by their rewards
    shortest: int = 1  # tokens of a match
    longest: int = 256
    longest_first: bool = False  # whether the longest match that drafts anything is taken, and not
    # the draft with the highest score
    updates: Callable[[int], float] | None = None  # size of the policy update after an RL step

    def worth(self, corpus: Sequence[Hashable], reward: Sequence[float]) -> np.ndarray:
        """int64[n]: what one occurrence in each of n rollouts of one RL step counts: from 1 for the
        lowest reward of its corpus to HEAVIEST for the highest, if that is how they count. Where
        rewards are equal, or one is not known, all count 1.
        """
        worth = np.ones(len(corpus), np.int64)
        if not self.by_reward:
            return worth
        rewards = np.asarray(reward, float)
        groups: dict[Hashable, list[int]] = {}
        for i, each in enumerate(corpus):
            groups.setdefault(each, []).append(i)
        for rows in groups.values():
            mine = rewards[rows]
            low, span = mine.min(), np.ptp(mine)
            if np.isfinite(mine).all() and 0 < span < np.inf:
                worth[rows] = 1 + np.rint((HEAVIEST - 1) * ((mine - low) / span)).astype(int)
        return worth

    @property
    def heaviest(self) -> int:
        """The most that an occurrence can count."""
        return (HEAVIEST if self.half_life else 1) * (HEAVIEST if self.by_reward else 1)

    @property
    def unit(self) -> int:
        """What an occurrence of the latest RL step counts."""
        return HEAVIEST if self.half_life or self.by_reward else 1

    def oldest(self, rl_step: int) -> int:
        """The first RL step that RL step `rl_step` sees."""
        if not self.window:
            return EVER
        if self.updates is None:
            return rl_step - self.window
        seen, moved = rl_step, self.updates(rl_step - 1)
        while moved <= self.window and seen > 0:
            seen -= 1
            moved += self.updates(seen - 1)
        return seen


def check_weight(weight: int, rule: SuffixRule) -> None:
    """Raise ComponentError for a corpus that weighs more than can be counted."""
    if weight > MOST:
        remedy = "half_life=0, a shorter window or scope=problem" if rule.half_life else "a window"
        raise ComponentError(f"this history of one corpus is too long to be counted: use {remedy}")


@jit()
def newest(rl_step, half_life):
    """The RL step that counts most while `rl_step` runs; -1: all count the same."""
    if half_life <= 0.0:
        return np.int64(-1)
    span = max(np.int64(1), np.int64(SPAN * half_life))
    return (rl_step // span + 1) * span - 1


@jit()
def weigh(rl_step, top, half_life):
    """What an occurrence in RL step `rl_step` counts."""
    if half_life <= 0.0:
        return np.int64(1)
    return max(np.int64(1), np.int64(round(HEAVIEST * 2.0 ** ((rl_step - top) / half_life))))
