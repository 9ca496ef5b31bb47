"""How far drafts get: rollouts decoded alone, each forward verifying a whole draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..policies.compiled import jit
from ..policies.profile import Profile
from ..traces.rollouts import Lengths, Tokens


@dataclass(frozen=True)
class Decoded:
    """Some rollouts decoded alone; forwards that gave the first token are not counted."""

    forwards: int
    tokens: int
    drafted: int
    accepted: int
    drafts: int  # forwards in which anything was drafted
    hits: int  # forwards in which anything was accepted: of a chain, its first token

    @classmethod
    def of(cls, profile: Profile) -> Decoded:
        """All rollouts of a profile, with whole drafts."""
        at = forwards_of(profile)
        drafted, matched = profile.drafted[at], profile.matched[at]
        return cls(
            forwards=len(at),
            tokens=len(profile.drafted) - (len(profile.offsets) - 1),
            drafted=int(drafted.sum(dtype=np.int64)),
            accepted=int(matched.sum(dtype=np.int64)),
            drafts=int(np.count_nonzero(drafted)),
            hits=int(np.count_nonzero(matched)),
        )

    @property
    def gain(self) -> float:
        """Tokens per forward, the bonus token included."""
        return self.tokens / self.forwards if self.forwards else 1.0

    @property
    def drafted_per_forward(self) -> float:
        """Draft tokens per forward."""
        return self.drafted / self.forwards if self.forwards else 0.0

    @property
    def accepted_per_forward(self) -> float:
        """Accepted draft tokens per forward."""
        return self.accepted / self.forwards if self.forwards else 0.0

    @property
    def wasted(self) -> float:
        """Share of the draft tokens that were rejected."""
        return 1 - self.accepted / self.drafted if self.drafted else 0.0

    @property
    def hit_rate(self) -> float:
        """Share of the forwards in which anything was accepted."""
        return self.hits / self.forwards if self.forwards else 0.0

    def __add__(self, other: Decoded) -> Decoded:
        return Decoded(
            self.forwards + other.forwards,
            self.tokens + other.tokens,
            self.drafted + other.drafted,
            self.accepted + other.accepted,
            self.drafts + other.drafts,
            self.hits + other.hits,
        )


NOTHING = Decoded(0, 0, 0, 0, 0, 0)


def forwards_of(profile: Profile) -> np.ndarray:
    """int64[forwards]: the positions at which rollouts decoded alone with whole drafts would draft,
    ascending.

    For chains and trees alike: of a whole draft all that matches is accepted, however long it is
    (`Profile.walks` cuts drafts, and knows them up to 32 tokens only).
    """
    visited = np.zeros(len(profile.matched), np.bool_)
    _visit(profile.matched, profile.offsets, visited)
    return np.flatnonzero(visited)


def decode_after(
    drafter: Any, lengths: Lengths, tokens: Tokens, past: np.ndarray, now: np.ndarray,
    threads: int = 1,
) -> Decoded:  # fmt: skip
    """Rollouts `now` with the rollouts `past` as their only history (indices)."""
    rows = np.concatenate([past, now])
    last = np.arange(len(rows)) >= len(past)
    part = replace(lengths.select(rows), rl_step=last.astype(np.int32))
    profile = drafter.profile(part, tokens.select(rows), threads=threads)
    return Decoded.of(profile.part(len(past), len(rows)))


def large_groups(lengths: Lengths, size: int) -> list[np.ndarray]:
    """The rollouts (indices) of each prompt that has at least `size` of them."""
    groups = [np.flatnonzero(lengths.prompt == prompt) for prompt in np.unique(lengths.prompt)]
    return [rows for rows in groups if len(rows) >= size]


def decode_beside(
    drafter: Any, lengths: Lengths, tokens: Tokens, groups: Sequence[np.ndarray], count: int,
    targets: int,
) -> Decoded:  # fmt: skip
    """The first `targets` rollouts of each group, one at a time, beside `count` finished ones.

    The references are the rollouts that come after them in their group (Seer, arXiv 2511.14617
    Table 2, asks what they are worth). All are of one RL step; none of it is history otherwise.
    """
    past = np.concatenate([group[targets : targets + count] for group in groups])
    done = NOTHING
    for k in range(targets):
        now = np.array([group[k] for group in groups])
        done += decode_after(drafter, lengths, tokens, past, now)
    return done


@jit()
def _visit(matched: np.ndarray, offsets: np.ndarray, visited: np.ndarray) -> None:
    for i in range(len(offsets) - 1):
        at = offsets[i] + 1
        while at < offsets[i + 1]:
            visited[at] = True
            at += np.int64(matched[at]) + 1
