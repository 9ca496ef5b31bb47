"""Suffix drafts for requests that grow by a few tokens per forward, a whole batch in one call.

State is rows in arrays: one row per running request, reused when it finishes. What a finished
rollout wrote becomes history of its prompt at the next `start_step`, in the order in which requests
began, so that drafts do not depend on who finished first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ..compiled import jit
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
    """The live face of `Suffix`: begin, extend, draft, finish; start_step makes history visible."""

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
        self._past: list[tuple[int, int, Hashable, np.ndarray]] = []  # step, order, prompt, output
        self._history, self._history_end = new_forest(1 << 10), 0
        self._history_text = np.empty(1 << 12, np.int32)
        self._roots: dict[Hashable, int] = {}
        self._learnt = 0  # self._past[:learnt] are in the history

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished becomes history, what is too old goes.

        Raises RuntimeError while requests are running.
        """
        if self._row:
            raise RuntimeError("start_step needs the requests of the last RL step to be finished")
        self._rl_step = rl_step
        self._past.sort(key=lambda rollout: rollout[:2])
        kept = [p for p in self._past if self._window == 0 or p[0] >= rl_step - self._window]
        if len(kept) < len(self._past):
            clear(self._history)
            self._roots.clear()
            self._history_end = self._learnt = 0
            self._past = kept
        if self._scope & PROBLEM:
            for _, _, prompt_id, output in self._past[self._learnt :]:
                self._learn(prompt_id, output)
        self._learnt = len(self._past)

    def _learn(self, prompt_id: Hashable, output: np.ndarray) -> None:
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

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: np.ndarray) -> None:
        """A request with its prompt, int32[prompt_len], under the RL step begun last."""
        if request in self._row:
            raise ValueError(f"request {request!r} is already running")
        if not self._free:
            count = len(self._rows)
            self._free.extend(range(count, 2 * count))
            self._rows, self._nodes, self._room = (
                np.concatenate([old, np.zeros_like(old)])
                for old in (self._rows, self._nodes, self._room)
            )
        r = self._free.pop()
        self._row[request] = r
        self._who[request] = (self._began, prompt_id, len(prompt))
        self._began += 1
        self._open(r, len(prompt))
        self.extend([request], [prompt[:1]])  # a match never begins with the first token of all
        root = self._roots.get(prompt_id, -1)
        self._rows[r, ROOT] = root
        self._nodes[r, MATCH, 0], self._nodes[r, AT, 0] = root, 0
        self.extend([request], [prompt[1:]])

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[np.ndarray]) -> None:
        """What each request has just generated, int32[any number]."""
        if not requests:
            return
        which = np.array([self._row[request] for request in requests], np.int64)
        sizes = np.fromiter(map(len, tokens), np.int64, len(tokens))
        flat = np.concatenate(tokens) if len(tokens) > 1 else np.asarray(tokens[0])
        self._append(which, flat.astype(np.int32, copy=False), sizes)

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
        which = np.array([self._row[request] for request in requests], np.int64)
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

    def finish(self, request: Hashable) -> None:
        """The request is over; its output becomes history when the next RL step starts."""
        r = self._row.pop(request)
        order, prompt_id, prompt_len = self._who.pop(request)
        base, length = int(self._rows[r, BASE]), int(self._rows[r, LENGTH])
        output = self._text[base + prompt_len : base + length].copy()
        self._past.append((self._rl_step, order, prompt_id, output))
        self._free.append(r)
        self._gone += int(self._room[r])
        if 2 * self._gone > self._text_end:
            self._compact()

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
