"""The forest counts what brute force counts, whatever is appended in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from brute_force import continuations
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.policies.drafters.suffix_forest import (
    COUNT,
    END,
    HEAD,
    NEXT,
    TOKEN,
    Forest,
    _child,
    append,
    clear,
    new_forest,
    new_root,
    reserve,
)

ALPHABET = 3
REGION = 256  # tokens of text that each trie may hold


class Tries:
    """Several tries in one forest, each with texts of its own, the last of which is growing."""

    def __init__(self, count: int, depth: int) -> None:
        self.depth = depth
        self.forest: Forest = new_forest(1)
        self.text = np.full(count * REGION, 77, np.int32)
        self.start(count)

    def start(self, count: int) -> None:
        self.roots, self.length = [], [0] * count
        for _ in range(count):
            self.forest = reserve(self.forest, 1)
            self.roots.append(new_root(self.forest))
        self.active = [np.zeros(self.depth + 1, np.int32) for _ in range(count)]
        self.ends = [1] * count
        self.texts: list[list[list[int]]] = [[[]] for _ in range(count)]
        for active, root in zip(self.active, self.roots, strict=True):
            active[0] = root

    def append(self, which: int, token: int) -> None:
        self.forest = reserve(self.forest, 2 * self.depth)
        self.ends[which] = append(
            self.forest, self.roots[which], self.text, which * REGION, self.length[which],
            self.active[which], self.ends[which], token, self.depth,
        )  # fmt: skip
        self.length[which] += 1
        self.texts[which][-1].append(token)

    def next_text(self, which: int) -> None:
        if self.texts[which][-1]:
            self.texts[which].append([])
            self.length[which] += 1  # the END that append() left
            self.active[which][0], self.ends[which] = self.roots[which], 1

    def find(self, which: int, s: tuple[int, ...]) -> tuple[int, int]:
        """(node, tokens of s left when a leaf was reached); node -1: s does not occur."""
        node = self.roots[which]
        for i, token in enumerate(s):
            if self.forest.node[node, COUNT] == 1:
                at = which * REGION + self.forest.node[node, NEXT]
                found = tuple(self.text[at : at + len(s) - i].tolist())
                return (node, len(s) - i) if found == s[i:] else (-1, 0)
            node = int(_child(self.forest, node, token))
            if node < 0:
                return -1, 0
        return node, 0

    def check(self) -> None:
        for which, texts in enumerate(self.texts):
            for s in strings(self.depth):
                self.check_string(which, texts, s)

    def check_string(self, which: int, texts: list[list[int]], s: tuple[int, ...]) -> None:
        count, places = continuations(list(s), texts)
        node, left = self.find(which, s)
        if count == 0:
            assert node == -1
            return
        entry = self.forest.node[node]
        assert entry[COUNT] == count
        if left or len(s) == self.depth:
            return
        if count == 1:
            follows = self.text[which * REGION + entry[NEXT]]
            assert [follows] == (list(places) or [END])
        elif not places:
            assert entry[HEAD] == -1
        else:
            top = max(map(len, places.values()))
            tied = [token for token in places if len(places[token]) == top]
            latest = max(tied, key=lambda token: places[token][-1])
            assert self.forest.node[entry[HEAD], TOKEN] == (latest if top > 1 else tied[0])


def strings(depth: int) -> Iterator[tuple[int, ...]]:
    for n in range(1, depth + 1):
        yield from product(range(ALPHABET), repeat=n)


NEW_TEXT = ALPHABET
steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, NEW_TEXT)), max_size=120)


def replay(tries: Tries, moves: list[tuple[int, int]]) -> None:
    for which, what in moves:
        if what == NEW_TEXT:
            tries.next_text(which)
        else:
            tries.append(which, what)


@settings(max_examples=150, deadline=None)
@given(moves=steps, depth=st.integers(2, 4))
def test_counts_and_heads(moves: list[tuple[int, int]], depth: int) -> None:
    """Texts of three tries, appended to in any order, in a forest that has to grow."""
    tries = Tries(3, depth)
    replay(tries, moves)
    tries.check()


@settings(max_examples=50, deadline=None)
@given(moves=st.lists(st.tuples(st.just(0), st.integers(0, NEW_TEXT)), max_size=40))
def test_every_moment(moves: list[tuple[int, int]]) -> None:
    tries = Tries(1, 3)
    for move in moves:
        replay(tries, [move])
        tries.check()


@settings(max_examples=50, deadline=None)
@given(before=steps, after=steps)
def test_clear_forgets_everything(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    used = Tries(3, 3)
    replay(used, before)
    clear(used.forest)
    assert used.forest.size[0] == 0
    assert (used.forest.table[::2] == -1).all()
    used.start(3)
    replay(used, after)
    used.check()
    fresh = Tries(3, 3)
    replay(fresh, after)
    size = int(fresh.forest.size[0])
    assert used.forest.size[0] == size
    for trie in (used, fresh):
        trie.forest.node[trie.roots, NEXT] = 0
    assert (used.forest.node[:size] == fresh.forest.node[:size]).all()


def test_reserve_keeps_everything() -> None:
    tries = Tries(3, 4)
    rng = np.random.default_rng(0)
    for which, token in zip(rng.integers(0, 3, 300), rng.integers(0, ALPHABET, 300), strict=True):
        tries.append(int(which), int(token))
    before = tries.forest
    after = reserve(before, len(before.node) * 3)
    assert len(after.node) >= len(before.node) * 3 and after.size[0] == before.size[0]
    tries.forest = after
    tries.check()
    assert reserve(after, 1) is after or len(reserve(after, 1).node) == len(after.node)


def test_large_tokens_and_many_nodes() -> None:
    """Token ids up to the largest int32 and thousands of siblings: no key collides."""
    tokens = np.random.default_rng(1).integers(0, 2**31 - 1, 3000).tolist() * 2
    forest: Forest = new_forest(1)
    root = new_root(forest)
    text, active, ends = np.empty(len(tokens) + 1, np.int32), np.zeros(4, np.int32), 1
    active[0] = root
    for i, token in enumerate(tokens):
        forest = reserve(forest, 6)
        ends = append(forest, root, text, 0, i, active, ends, token, 3)
    for token in set(tokens):
        node = _child(forest, root, token)
        assert forest.node[node, COUNT] == tokens.count(token)
