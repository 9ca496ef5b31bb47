"""Texts that grow by a few tokens per forward, and the suffix drafts for a whole batch of them.

State is rows in arrays: one row per running request, reused when it finishes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from ..compiled import jit
from ..drafts import Drafts
from .live import Ints
from .suffix_branch import pick_tree
from .suffix_draft import draft, follow
from .suffix_label import write_labels
from .suffix_nodes import Tree, new_root, new_tree, with_room
from .suffix_rule import HISTORY, OWN, SuffixRule
from .suffix_tree import append, free_tree

# Typed as in suffix_profile.py, so that what takes them is compiled once.
NO_BASE, NO_MASK, ONE = np.int64(0), np.int64(-1), np.int64(1)
# columns of a row: its text's begin and length, its own tree and how many tips are there, the
# history's tree (-1: none) and how many of its suffixes are followed there
BASE, LENGTH, OWN_ROOT, OWN_TIPS, ROOT, MATCHES = range(6)
APART, WITHIN = np.bool_(False), np.bool_(True)
TIP, OFF, MATCH, MATCH_OFF = range(4)  # planes of `places`: see append() and follow()


# Arrays are passed one by one: unpacking named tuples at every call costs more than a draft.
@jit()
def _extend(rows, places, room, which, tokens, sizes, scope, depth, text, node, table, state,
            past_text, past_mask, past_node, past_table, past_state):  # fmt: skip
    """Append the next sizes[j] of the tokens to row which[j], for all j. Where a row has no room
    for them, nothing is done, and the first such j returned; -1: done; -2: a token is none.
    """
    for token in tokens:
        if token < 0:
            return -2
    for j in range(len(which)):
        if rows[which[j], LENGTH] + sizes[j] + 2 > room[which[j]]:
            return j
    tree = Tree(node, table, state)
    history = Tree(past_node, past_table, past_state)
    nowhere = np.empty(0, np.int32)
    first = 0
    for j in range(len(which)):
        row, place = rows[which[j]], places[which[j]]
        for i in range(first, first + sizes[j]):
            if scope & OWN:
                row[OWN_TIPS] = append(
                    tree, text, nowhere, row[BASE], NO_MASK, row[LENGTH],
                    place[TIP], place[OFF], row[OWN_TIPS], tokens[i], depth, ONE,
                )  # fmt: skip
            else:
                text[row[BASE] + row[LENGTH]] = tokens[i]
            # A match never begins with the first token of all.
            if scope & HISTORY and row[ROOT] >= 0 and row[LENGTH] > 0:
                row[MATCHES] = follow(
                    history, np.int32(row[ROOT]), past_text, NO_BASE, past_mask, place[MATCH],
                    place[MATCH_OFF], row[MATCHES], tokens[i], depth,
                )  # fmt: skip
            row[LENGTH] += 1
        first += sizes[j]
    return -1


@jit()
def _place(rows, places, which, roots, depth, text, past_text, past_mask, past_node, past_table,
           past_state):  # fmt: skip
    """Find where the texts of rows `which` end in the history's trees `roots` (-1: none)."""
    history = Tree(past_node, past_table, past_state)
    for j in range(len(which)):
        row, root, place = rows[which[j]], roots[j], places[which[j]]
        row[ROOT], row[MATCHES] = root, 1
        if root >= 0:
            # Matches of up to depth - 1 tokens are followed, and none begins with the first of all.
            end = row[BASE] + row[LENGTH]
            for i in range(max(row[BASE] + 1, end - depth + 1), end):
                row[MATCHES] = follow(
                    history, np.int32(root), past_text, NO_BASE, past_mask, place[MATCH],
                    place[MATCH_OFF], row[MATCHES], text[i], depth,
                )  # fmt: skip


@jit()
def _draft(rows, places, which, scope, depth, limit, factor, min_prob, paths, shortest, longest,
           longest_first, unit, text, node, table, state, past_text, past_mask, past_node,
           past_table, past_state, drafts, sizes, parents, labels):  # fmt: skip
    """Rows of drafts: int32[J, limit], sizes: int32[J], labels: uint8[J, limit] and of trees
    parents: int16[J, limit] are filled for rows which[0 … J - 1].
    """
    tree = Tree(node, table, state)
    history = Tree(past_node, past_table, past_state)
    tokens, counts = np.empty((2, limit), np.int32), np.empty((2, limit + 1), np.int32)
    for j in range(len(which)):
        row, place = rows[which[j]], places[which[j]]
        if paths > 1:
            sizes[j] = pick_tree(
                scope, history, past_text, NO_BASE, past_mask, place[MATCH], place[MATCH_OFF],
                row[MATCHES], tree, text, row[BASE], NO_MASK, place[TIP], place[OFF],
                row[OWN_TIPS], depth, limit, factor, min_prob, paths, drafts[j], parents[j],
                labels[j],
            )  # fmt: skip
            continue
        length, score = 0, np.float32(0.0)
        if scope & HISTORY and row[ROOT] >= 0:
            picked, length, score, reach = draft(
                history, past_text, NO_BASE, past_mask, place[MATCH], place[MATCH_OFF],
                row[MATCHES], APART, depth, limit, factor, min_prob, shortest, longest,
                longest_first, tokens, counts,
            )  # fmt: skip
            for i in range(length):
                drafts[j, i] = tokens[picked, i]
            write_labels(labels[j], 0, reach, length, counts, picked, unit)
        if scope & OWN:
            picked, own_length, own_score, reach = draft(
                tree, text, row[BASE], NO_MASK, place[TIP], place[OFF], row[OWN_TIPS], WITHIN,
                depth, limit, factor, min_prob, shortest, longest, longest_first, tokens, counts,
            )  # fmt: skip
            if own_score >= score:
                length = own_length
                for i in range(length):
                    drafts[j, i] = tokens[picked, i]
                write_labels(labels[j], 1, reach, length, counts, picked, 1)
        sizes[j] = length


def tokens_of(text: Ints) -> np.ndarray:
    """int32[n], a copy. Raises ValueError for a token that is none."""
    tokens = np.array(text, np.int32)
    if len(tokens) and tokens.min() < 0:
        raise ValueError("a token is negative")
    return tokens


class Corpora(Protocol):
    """Suffix trees to draft from: their arrays, and where a corpus begins."""

    tree: Tree
    text: np.ndarray

    @property
    def mask(self) -> int:
        """Of positions in the text."""

    def root(self, corpus: Hashable) -> int:
        """-1: nothing is known of it."""


class LiveLookup:
    """What the live faces of all drafters have in common that look things up in suffix trees.

    past: where to look besides a request's own text.
    """

    def __init__(self, rule: SuffixRule, past: Corpora) -> None:
        self._past = past
        self._scope, self._shared, self._depth, self._limit = (
            rule.scope, rule.shared, rule.depth, rule.limit
        )  # fmt: skip
        self._factor, self._min_prob = np.float32(rule.factor), np.float32(rule.min_prob)
        self._paths, self._unit = rule.paths, rule.unit
        self._shortest, self._longest, self._longest_first = (
            rule.shortest, rule.longest, rule.longest_first
        )  # fmt: skip
        self._rl_step = 0
        self._began = 0
        self._row: dict[Hashable, int] = {}
        self._who: dict[Hashable, tuple[int, Hashable, int]] = {}  # order, corpus, prompt length
        self._rows = np.zeros((8, 6), np.int64)
        self._places = np.zeros((8, 4, rule.depth + 1), np.int32)
        self._room = np.zeros(8, np.int64)  # tokens that a row's text region holds
        self._free = list(range(8))
        self._text, self._text_end = np.empty(1 << 12, np.int32), 0
        self._gone = 0  # of it, what finished requests and moved texts left behind
        self._tree: Tree = new_tree(1 << 10)

    def _place(self, which: np.ndarray, requests: Iterable[Hashable]) -> None:
        """The rows `which` of these requests draft from `past` as it is now."""
        roots = [self._past.root(self._who[request][1]) for request in requests]
        past = self._past
        _place(
            self._rows,
            self._places,
            which,
            np.array(roots, np.int64),
            self._depth,
            self._text,
            past.text,
            past.mask,
            *past.tree,
        )

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request with the tokens of its prompt, under the RL step begun last.

        Raises ValueError if it is already running, and for a token that is none.
        """
        text = tokens_of(prompt)
        if request in self._row:
            raise ValueError(f"request {request!r} is already running")
        if not self._free:
            count = len(self._rows)
            self._free.extend(range(count, 2 * count))
            self._rows, self._places, self._room = (
                np.concatenate([old, np.zeros_like(old)])
                for old in (self._rows, self._places, self._room)
            )
        r = self._free.pop()
        self._row[request] = r
        self._who[request] = (self._began, self._corpus(prompt_id), len(text))
        self._began += 1
        self._tree = with_room(self._tree, 1)
        root = new_root(self._tree)
        self._rows[r] = (0, 0, root, 1, -1, 1)
        self._places[r, TIP, 0], self._places[r, OFF, 0] = root, 0
        self._room[r] = 0
        self._make_room(r, len(text))
        which = np.array([r], np.int64)
        self._append(which, text, np.array([len(text)], np.int64))
        self._place(which, [request])

    def _corpus(self, prompt_id: Hashable) -> Hashable:
        return "" if self._shared else prompt_id

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """What each request has just generated, any number of tokens; each request once.

        Raises ValueError if there are not as many requests as token sequences, and for a token
        that is none.
        """
        if len(requests) != len(tokens):
            raise ValueError(f"{len(requests)} requests, but {len(tokens)} sequences of tokens")
        if not len(requests):
            return
        which = self._which(requests)
        sizes = np.fromiter(map(len, tokens), np.int64, len(tokens))
        if len(tokens) == 1:
            flat = np.array(tokens[0], np.int32)
        elif isinstance(tokens[0], np.ndarray):
            flat = np.concatenate(tokens).astype(np.int32, copy=False)
        else:
            flat = np.fromiter(chain.from_iterable(tokens), np.int32, int(sizes.sum()))
        self._append(which, flat, sizes)

    def _which(self, requests: Sequence[Hashable]) -> np.ndarray:
        """The rows of these requests."""
        return np.fromiter(map(self._row.__getitem__, requests), np.int64, len(requests))

    def _append(self, which: np.ndarray, flat: np.ndarray, sizes: np.ndarray) -> None:
        """Rows `which` get their shares of the tokens `flat`."""
        if self._scope & OWN:
            self._tree = with_room(self._tree, 2 * (len(flat) + self._depth * len(which)))
        past, j = self._past, 0
        while j >= 0:
            j = _extend(
                self._rows,
                self._places,
                self._room,
                which,
                flat,
                sizes,
                self._scope,
                self._depth,
                self._text,
                *self._tree,
                past.text,
                past.mask,
                *past.tree,
            )
            if j >= 0:
                self._make_room(int(which[j]), int(sizes[j]))
        if j < -1:
            raise ValueError("a token is negative")

    def _make_room(self, r: int, more: int) -> None:
        """Give row r a text region for `more` tokens more, moving its text to the end."""
        old, length = int(self._rows[r, BASE]), int(self._rows[r, LENGTH])
        room = max(2 * (length + more + 2), 512)
        if self._text_end + room > len(self._text):
            more_text = np.empty(2 * (self._text_end + room), np.int32)
            self._text = np.concatenate([self._text, more_text])
        self._gone += int(self._room[r])
        self._text[self._text_end : self._text_end + length] = self._text[old : old + length]
        self._rows[r, BASE], self._room[r] = self._text_end, room
        self._text_end += room

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """One draft per request, in one compiled call."""
        which = self._which(requests)
        drafts = np.empty((len(which), self._limit), np.int32)
        sizes = np.zeros(len(which), np.int32)
        labels = np.empty((len(which), self._limit), np.uint8)
        trees = self._paths > 1
        parents = np.empty((len(which) if trees else 0, self._limit), np.int16)
        past = self._past
        _draft(
            self._rows,
            self._places,
            which,
            self._scope,
            self._depth,
            self._limit,
            self._factor,
            self._min_prob,
            self._paths,
            self._shortest,
            self._longest,
            self._longest_first,
            self._unit,
            self._text,
            *self._tree,
            past.text,
            past.mask,
            *past.tree,
            drafts,
            sizes,
            parents,
            labels,
        )
        return Drafts(drafts, sizes, labels, parents)

    def _leave(self, request: Hashable) -> np.ndarray:
        """The request is over; what it wrote."""
        r = self._row.pop(request)
        _, _, prompt_len = self._who.pop(request)
        base, length = int(self._rows[r, BASE]), int(self._rows[r, LENGTH])
        output = self._text[base + prompt_len : base + length].copy()
        free_tree(self._tree, self._rows[r, OWN_ROOT])
        self._free.append(r)
        self._gone += int(self._room[r])
        if 2 * self._gone > self._text_end:
            self._compact()
        return output

    def _compact(self) -> None:
        """Write the running requests' texts anew, without what the finished ones left."""
        rows = sorted(self._row.values(), key=lambda r: int(self._rows[r, BASE]))
        end = 0
        for r in rows:  # ascending, so that none is written over before it is moved
            base, room, length = (
                int(self._rows[r, BASE]),
                int(self._room[r]),
                int(self._rows[r, LENGTH]),
            )
            self._text[end : end + length + 1] = self._text[base : base + length + 1].copy()
            self._rows[r, BASE] = end
            end += room
        self._text_end, self._gone = end, 0
