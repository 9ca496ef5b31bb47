"""What a group's rollouts have written so far, as one suffix tree per group to draft from.

The texts grow by turns: between two turns all of a tree's texts end at nodes, so that it can be
looked up like one of finished texts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ..compiled import jit
from .suffix_nodes import COUNT, HEAD, LEN, NONE, START, Tree, new_root, new_tree, reserve
from .suffix_tree import append, finish, free_tree

ROOT, END_AT, LENGTH, ROOM_END = range(4)  # columns of a text: its tree, where its next token goes,
# how long it is, and where its region of text ends
ONE = np.int64(1)


@jit(inner=True)
def resume(tree, ends, end, length, tip, off, depth):
    """Let a paused text go on that ends before position `end`; its tips (see append())."""
    node = tree.node
    tips = np.int64(1)
    for j in range(1, min(depth, length + 1)):
        v = ends[end - j]
        if node[v, HEAD] == NONE and node[v, COUNT] == 1:
            # A string that occurs nowhere else: its leaf grows with the text again.
            node[v, START] = end - node[v, LEN]
            node[v, LEN] += depth - j
        else:
            tip[j] = v
            off[j] = node[v, LEN]
            tips = np.int64(j + 1)
    return tips


@jit(inner=True)
def pause(tree, text, ends, end, length, tip, off, tips, depth):
    """Let every string that ends before position `end` end at a node, until resume()."""
    node = tree.node
    finish(tree, text, ends, np.int64(0), np.int64(-1), end, tip, off, tips, depth, ONE)
    for j in range(tips, min(depth, length + 1)):
        v = ends[end - j]
        node[v, LEN] = end - node[v, START]


@jit()
def _publish(node, table, state, text, ends, texts, which, tokens, sizes, depth):
    """Append the next sizes[i] of the tokens to text which[i], for all i; there is room."""
    tree = reserve(Tree(node, table, state), 2 * (len(tokens) + depth * len(which)))
    tip, off = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int32)
    first = 0
    for i in range(len(which)):
        row = texts[which[i]]
        tip[0], off[0] = row[ROOT], 0
        tips = resume(tree, ends, row[END_AT], row[LENGTH], tip, off, depth)
        for k in range(first, first + sizes[i]):
            tips = append(
                tree, text, ends, np.int64(0), np.int64(-1), row[END_AT], tip, off, tips, tokens[k],
                depth, ONE,
            )  # fmt: skip
            row[END_AT] += 1
            row[LENGTH] += 1
        pause(tree, text, ends, row[END_AT], row[LENGTH], tip, off, tips, depth)
        first += sizes[i]
    return tree


class Siblings:
    """Growing texts in groups; `tree`, `text` and `mask` are what follow() and draft() take."""

    mask = -1

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self.tree: Tree = new_tree(1 << 10)
        self.text = np.empty(1 << 12, np.int32)
        self._ends = np.empty(1 << 12, np.int32)
        self._text_end = 0
        self._roots: dict[Hashable, int] = {}
        self._texts = np.zeros((16, 4), np.int64)
        self._unused = list(range(15, -1, -1))  # of them
        self._members: dict[Hashable, list[int]] = {}
        self._regions: dict[Hashable, list[tuple[int, int]]] = {}  # of text: begin, size
        self._free: dict[int, list[int]] = {}  # by size, where regions begin

    @property
    def groups(self) -> list[Hashable]:
        """Those that it knows."""
        return list(self._roots)

    def root(self, group: Hashable) -> int:
        """Where a group's tree begins; -1: nothing is known of it."""
        return self._roots.get(group, -1)

    def join(self, group: Hashable) -> int:
        """A new text of a group; its number."""
        if group not in self._roots:
            self.tree = reserve(self.tree, 1)
            self._roots[group] = new_root(self.tree)
            self._members[group], self._regions[group] = [], []
        if not self._unused:
            count = len(self._texts)
            self._texts = np.concatenate([self._texts, np.zeros_like(self._texts)])
            self._unused = list(range(2 * count - 1, count - 1, -1))
        number = self._unused.pop()
        self._texts[number] = (self._roots[group], 0, 0, 0)
        self._members[group].append(number)
        return number

    def publish(
        self, group: Sequence[Hashable], which: np.ndarray, tokens: np.ndarray, sizes: np.ndarray
    ) -> None:
        """Append the next sizes[i] of the tokens to text which[i] of group[i], for all i."""
        texts = self._texts[which]
        for i in np.flatnonzero(texts[:, END_AT] + sizes + 1 > texts[:, ROOM_END]).tolist():
            self._move(group[i], int(which[i]), int(sizes[i]))
        self.tree = _publish(
            *self.tree, self.text, self._ends, self._texts, which, tokens, sizes, self._depth
        )

    def _move(self, group: Hashable, which: int, more: int) -> None:
        """A new region for a text, with as much of its end as strings reach back."""
        row = self._texts[which]
        tail = min(self._depth, int(row[LENGTH]))
        size = 1 << (tail + int(row[LENGTH]) + 2 * more + 64).bit_length()
        if self._free.get(size):
            new = self._free[size].pop()
        else:
            new, self._text_end = self._text_end, self._text_end + size
            while self._text_end > len(self.text):
                self.text = np.concatenate([self.text, np.empty_like(self.text)])
                self._ends = np.concatenate([self._ends, np.empty_like(self._ends)])
        self._regions[group].append((new, size))
        old = int(row[END_AT]) - tail
        self.text[new : new + tail] = self.text[old : old + tail]
        self._ends[new : new + tail] = self._ends[old : old + tail]
        row[END_AT], row[ROOM_END] = new + tail, new + size

    def drop(self, group: Hashable) -> None:
        """Forget a group and its texts."""
        free_tree(self.tree, self._roots.pop(group))
        self._unused += self._members.pop(group)
        for begin, size in self._regions.pop(group):
            self._free.setdefault(size, []).append(begin)
