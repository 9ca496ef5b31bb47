"""Suffix drafts for requests that grow by a few tokens per forward, a whole batch in one call.

State is rows in arrays: one row per running request, reused when it finishes. What a finished
rollout wrote becomes history of its prompt at the next `start_step`, in the order in which requests
began, so that drafts do not depend on who finished first. Who is running then finds its place in
the new history by following the last tokens of its text again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

import numpy as np

from ..compiled import jit
from .live import Ints
from .suffix_forest import Forest, append, clear, draft, follow, new_forest, new_root, reserve

PROBLEM, OWN = 1, 2
# columns of a row: its text's begin and length, its own trie and how many of its suffixes are
# followed there, the problem's trie (-1: none) and how many of its suffixes are followed there
BASE, LENGTH, OWN_ROOT, OWN_ENDS, ROOT, MATCHED = range(6)
ACTIVE, MATCH, AT = range(3)  # planes of `nodes`: see append() and follow()


# Arrays are passed one by one: unpacking named tuples at every call costs more than a draft.
@jit()
def _extend(rows, nodes, which, tokens, ends, scope, depth, text, node, slot, table, size,
            past_text, past_node, past_slot, past_table, past_size):  # fmt: skip
    """Append tokens[ends[j - 1]:ends[j]] to row which[j], for all j."""
    forest = Forest(node, slot, table, size)
    history = Forest(past_node, past_slot, past_table, past_size)
    first = 0
    for j in range(len(which)):
        row, own = rows[which[j]], nodes[which[j], ACTIVE]
        match, at = nodes[which[j], MATCH], nodes[which[j], AT]
        for i in range(first, ends[j]):
            if scope & OWN:
                row[OWN_ENDS] = append(
                    forest, row[OWN_ROOT], text, row[BASE], row[LENGTH], own, row[OWN_ENDS],
                    tokens[i], depth
                )  # fmt: skip
            else:
                text[row[BASE] + row[LENGTH]] = tokens[i]
            if scope & PROBLEM and row[ROOT] >= 0:
                row[MATCHED] = follow(
                    history, row[ROOT], past_text, 0, match, at, row[MATCHED], tokens[i], depth
                )
            row[LENGTH] += 1
        first = ends[j]


@jit()
def _place(rows, nodes, which, roots, depth, text, past_text, past_node, past_slot, past_table,
           past_size):  # fmt: skip
    """Find where the texts of rows `which` end in the history's tries `roots` (-1: none)."""
    history = Forest(past_node, past_slot, past_table, past_size)
    for j in range(len(which)):
        row, root = rows[which[j]], roots[j]
        match, at = nodes[which[j], MATCH], nodes[which[j], AT]
        row[ROOT], row[MATCHED] = root, 1
        match[0], at[0] = root, 0
        if root >= 0:
            # Matches of up to depth - 1 tokens are followed, and none begins with the first of all.
            end = row[BASE] + row[LENGTH]
            for i in range(max(row[BASE] + 1, end - depth + 1), end):
                row[MATCHED] = follow(
                    history, root, past_text, 0, match, at, row[MATCHED], text[i], depth
                )


@jit()
def _draft(rows, nodes, which, scope, depth, limit, factor, min_prob, text, node, slot, table,
           size, past_text, past_node, past_slot, past_table, past_size, drafts,
           sizes):  # fmt: skip
    """drafts: int32[J, limit], sizes: int32[J] are filled for rows which[0 … J - 1]."""
    forest = Forest(node, slot, table, size)
    history = Forest(past_node, past_slot, past_table, past_size)
    nowhere = np.empty(0, np.int32)
    tokens, probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)
    for j in range(len(which)):
        row, own = rows[which[j]], nodes[which[j], ACTIVE]
        length, score = 0, np.float32(0.0)
        if scope & PROBLEM and row[ROOT] >= 0:
            picked, length, score = draft(
                history, past_text, 0, nodes[which[j], MATCH], nodes[which[j], AT], row[MATCHED],
                depth, limit, factor, min_prob, tokens, probs
            )  # fmt: skip
            for i in range(length):
                drafts[j, i] = tokens[picked, i]
        if scope & OWN:
            picked, own_length, own_score = draft(
                forest, text, row[BASE], own, nowhere, row[OWN_ENDS],
                depth, limit, factor, min_prob, tokens, probs
            )  # fmt: skip
            if own_score >= score:
                length = own_length
                for i in range(length):
                    drafts[j, i] = tokens[picked, i]
        sizes[j] = length


@jit()
def _learn(forest, root, text, begin, tokens, depth):
    """Add one finished rollout to a trie of the history; the forest, maybe grown."""
    active = np.zeros(depth + 1, np.int32)
    active[0] = root
    ends = 1
    for i in range(len(tokens)):
        forest = reserve(forest, 2 * depth)
        ends = append(forest, root, text, 0, begin + i, active, ends, tokens[i], depth)
    return forest


class LiveSuffix:
    """The live face of `Suffix` (see `LiveDrafter`)."""

    def __init__(
        self, scope: int, window: int, depth: int, limit: int, factor: float, min_prob: float
    ) -> None:
        self._scope, self._window, self._depth, self._limit = scope, window, depth, limit
        self._factor, self._min_prob = np.float32(factor), np.float32(min_prob)
        self._rl_step = 0
        self._began = 0
        self._row: dict[Hashable, int] = {}
        self._who: dict[Hashable, tuple[int, Hashable, int]] = {}  # order, prompt id, its length
        self._rows = np.zeros((8, 6), np.int64)
        self._nodes = np.zeros((8, 3, depth + 1), np.int32)
        self._room = np.zeros(8, np.int64)  # tokens that a row's text region holds
        self._free = list(range(8))
        self._text, self._text_end = np.empty(1 << 12, np.int32), 0
        self._gone = 0  # of it, what finished requests and moved texts left behind
        self._forest = new_forest(1 << 10)
        self._new: list[tuple[int, Hashable, np.ndarray]] = []  # order, prompt id, output
        # RL step, prompt id, output: what the history consists of, where it may have to be rebuilt
        self._past: list[tuple[int, Hashable, np.ndarray]] = []
        self._history, self._history_end = new_forest(1 << 10), 0
        self._history_text = np.empty(1 << 12, np.int32)
        self._roots: dict[Hashable, int] = {}

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished becomes history, what is too old goes."""
        self._new.sort(key=lambda rollout: rollout[0])
        news = [(self._rl_step, prompt_id, output) for _, prompt_id, output in self._new]
        self._new.clear()
        self._rl_step = rl_step
        slid = False
        if self._window:
            oldest = rl_step - self._window
            kept = [p for p in self._past if p[0] >= oldest]
            news = [p for p in news if p[0] >= oldest]
            slid = len(kept) < len(self._past)
            if slid:  # begin again with what is still in the window
                clear(self._history)
                self._roots.clear()
                self._history_end = 0
                self._past, news = [], kept + news
            self._past += news
        for _, prompt_id, output in news:
            self._index(prompt_id, output)
        if (news or slid) and self._row:
            self._place(np.fromiter(self._row.values(), np.int64, len(self._row)), self._row)

    def _index(self, prompt_id: Hashable, output: np.ndarray) -> None:
        """A rollout enters the history."""
        if prompt_id not in self._roots:
            self._history = reserve(self._history, 1)
            self._roots[prompt_id] = new_root(self._history)
        end = self._history_end + len(output) + 2
        if end > len(self._history_text):
            more = np.empty(2 * end, np.int32)
            self._history_text = np.concatenate([self._history_text, more])
        self._history = _learn(
            self._history,
            self._roots[prompt_id],
            self._history_text,
            self._history_end,
            output,
            self._depth,
        )
        self._history_end += len(output) + 1

    def _place(self, which: np.ndarray, requests: Iterable[Hashable]) -> None:
        """The rows `which` of these requests draft from the history as it is now."""
        roots = [self._roots.get(self._who[request][1], -1) for request in requests]
        _place(
            self._rows,
            self._nodes,
            which,
            np.array(roots, np.int64),
            self._depth,
            self._text,
            self._history_text,
            *self._history,
        )

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request with the tokens of its prompt, under the RL step begun last.

        Raises ValueError if it is already running.
        """
        if request in self._row:
            raise ValueError(f"request {request!r} is already running")
        if not self._free:
            count = len(self._rows)
            self._free.extend(range(count, 2 * count))
            self._rows, self._nodes, self._room = (
                np.concatenate([old, np.zeros_like(old)])
                for old in (self._rows, self._nodes, self._room)
            )
        text = np.array(prompt, np.int32)
        r = self._free.pop()
        self._row[request] = r
        self._who[request] = (self._began, prompt_id, len(text))
        self._began += 1
        self._open(r, len(text))
        which = np.array([r], np.int64)
        self._append(which, text, np.array([len(text)], np.int64))
        self._place(which, [request])

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """What each request has just generated, any number of tokens; each request once.

        Raises ValueError if there are not as many requests as token sequences.
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

    def _open(self, r: int, tokens: int) -> None:
        """Row r begins: no text, an empty trie of its own, no history."""
        self._forest = reserve(self._forest, 1)
        own_root = new_root(self._forest)
        self._rows[r] = (0, 0, own_root, 1, -1, 1)
        self._nodes[r, ACTIVE, 0] = own_root
        self._room[r] = 0
        self._make_room(r, tokens)

    def _append(self, which: np.ndarray, flat: np.ndarray, sizes: np.ndarray) -> None:
        """Rows `which` get their shares of the tokens `flat`."""
        for j in np.flatnonzero(self._rows[which, LENGTH] + sizes + 2 > self._room[which]):
            self._make_room(int(which[j]), int(sizes[j]))
        new_nodes = 2 * self._depth * len(flat)
        if self._scope & OWN and self._forest.size[0] + new_nodes > len(self._forest.node):
            self._forest = reserve(self._forest, new_nodes)
        _extend(
            self._rows,
            self._nodes,
            which,
            flat,
            sizes.cumsum(),
            self._scope,
            self._depth,
            self._text,
            *self._forest,
            self._history_text,
            *self._history,
        )

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

    def draft(self, requests: Sequence[Hashable]) -> list[np.ndarray]:
        """One draft per request, int32[<= max], in one compiled call."""
        which = self._which(requests)
        drafts = np.empty((len(which), self._limit), np.int32)
        sizes = np.zeros(len(which), np.int32)
        _draft(
            self._rows,
            self._nodes,
            which,
            self._scope,
            self._depth,
            self._limit,
            self._factor,
            self._min_prob,
            self._text,
            *self._forest,
            self._history_text,
            *self._history,
            drafts,
            sizes,
        )
        return [row[:size] for row, size in zip(drafts, sizes.tolist(), strict=True)]

    def finish(self, request: Hashable, learn: bool = True) -> None:
        """The request is over; its output becomes history when the next RL step starts."""
        r = self._row.pop(request)
        order, prompt_id, prompt_len = self._who.pop(request)
        base, length = int(self._rows[r, BASE]), int(self._rows[r, LENGTH])
        if learn and self._scope & PROBLEM:
            output = self._text[base + prompt_len : base + length].copy()
            self._new.append((order, prompt_id, output))
        self._free.append(r)
        self._gone += int(self._room[r])
        if 2 * self._gone > self._text_end:
            self._compact()

    def learn(self, prompt_id: Hashable, output: Ints) -> None:
        """A rollout from elsewhere, of the RL step begun last: as if it had begun and finished."""
        if self._scope & PROBLEM:
            self._new.append((self._began, prompt_id, np.array(output, np.int32)))
        self._began += 1

    def _compact(self) -> None:
        """Write the running requests' texts and tries anew, without what the finished ones left."""
        texts = {}
        for r in self._row.values():
            base, length = int(self._rows[r, BASE]), int(self._rows[r, LENGTH])
            texts[r] = self._text[base : base + length].copy()
        clear(self._forest)
        self._text_end = self._gone = 0
        for r, text in texts.items():
            root, matched = self._rows[r, [ROOT, MATCHED]]
            self._open(r, 0)
            self._append(np.array([r]), text, np.array([len(text)]))
            self._rows[r, [ROOT, MATCHED]] = root, matched  # where it stands in history is kept
