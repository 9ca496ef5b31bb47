"""Drafts of a batch as arrays, and how much of them a recorded rollout accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .compiled import jit


def _no_parents() -> np.ndarray:
    return np.empty((0, 0), np.int16)


@dataclass(frozen=True)
class Drafts:
    """One draft for each of J requests; as a sequence, their tokens.

    A tree's nodes are listed so that every one stands behind its parent, and the ones that are
    likelier to be accepted first.
    """

    tokens: np.ndarray  # int32[J, L]
    sizes: np.ndarray  # int32[J]: how many of them are drafted
    labels: np.ndarray  # uint8[J, L]: see policies/confidence.py
    parents: np.ndarray = field(
        default_factory=_no_parents
    )  # int16[J, L]: the node before, -1: the text itself; of
    # length 0 where all drafts are chains

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, j: int) -> np.ndarray:
        return self.tokens[j, : self.sizes[j]]

    def __iter__(self) -> Iterator[np.ndarray]:
        for row, size in zip(self.tokens, self.sizes.tolist(), strict=True):
            yield row[:size]


def no_drafts(count: int) -> Drafts:
    """Empty drafts for `count` requests."""
    return Drafts(
        np.empty((count, 0), np.int32), np.zeros(count, np.int32), np.empty((count, 0), np.uint8)
    )


def drafts_of(texts: list[np.ndarray], labels: np.ndarray) -> Drafts:
    """Chains given one by one; labels: uint8[J, L]."""
    sizes = np.array([len(text) for text in texts], np.int32)
    tokens = np.zeros((len(texts), int(sizes.max(initial=0))), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    return Drafts(tokens, sizes, labels)


def matches(
    drafts: Drafts, output: np.ndarray, at: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each draft equal what was recorded, and of trees where they stand.

    output: int32, recorded tokens; draft j is for output[at[j]] and what follows before
    output[end[j]]. Returns matched uint8[J] and ranks uint8[J, L] (the first matched[j] of row j;
    zeros for chains).
    """
    matched = np.zeros(len(drafts), np.uint8)
    ranks = np.zeros(drafts.tokens.shape if len(drafts.parents) else (0, 0), np.uint8)
    if drafts.tokens.shape[1]:
        _match(drafts.tokens, drafts.sizes, drafts.parents, output, at, end, matched, ranks)
    return matched, ranks


@jit()
def _match(tokens, sizes, parents, output, at, end, matched, ranks):
    for j in range(len(sizes)):
        if len(parents) == 0:
            good = 0
            while (
                good < sizes[j]
                and at[j] + good < end[j]
                and tokens[j, good] == output[at[j] + good]
            ):
                good += 1
            matched[j] = good
        else:
            matched[j] = match_tree(
                tokens[j], sizes[j], parents[j], output, at[j], end[j], ranks[j]
            )


@jit(inner=True)
def match_tree(tokens, size, parents, output, at, end, ranks):
    """The path of a tree that equals output[at], …: how long it is; `ranks` are written."""
    good, last = 0, -1
    for k in range(size):
        if at + good == end:
            break
        if parents[k] == last and tokens[k] == output[at + good]:
            ranks[good] = k
            good, last = good + 1, k
    return good
