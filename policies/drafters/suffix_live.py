"""Suffix drafts for requests that grow by a few tokens per forward, a whole batch in one call.

State is rows in arrays: one row per running request, reused when it finishes. What a finished
rollout wrote becomes history of its prompt at the next `start_step`, in the order in which
requests began, so that drafts do not depend on who finished first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ..compiled import jit
from .suffix_forest import append, clear, draft, follow, new_forest, new_root, reserve

PROBLEM, OWN = 1, 2


class Rows(NamedTuple):
    """Where R requests stand in the history's tries and in their own."""

    base: np.ndarray  # int64[R]: begin of the request's region in its text
    length: np.ndarray  # int64[R] tokens there
    own_root: np.ndarray  # int64[R]
    own_ends: np.ndarray  # int64[R]
    own_active: np.ndarray  # int32[R, depth + 1]
    root: np.ndarray  # int64[R]: the problem's trie, -1 if there is none
    matched: np.ndarray  # int64[R]
    match: np.ndarray  # int32[R, depth + 1]
    at: np.ndarray  # int64[R, depth + 1]


def _rows(count: int, depth: int) -> Rows:
    def one() -> np.ndarray:
        return np.zeros(count, np.int64)

    return Rows(
        one(),
        one(),
        one(),
        one(),
        np.zeros((count, depth + 1), np.int32),
        one(),
        one(),
        np.zeros((count, depth + 1), np.int32),
        np.zeros((count, depth + 1), np.int64),
    )


@jit()
def _extend(rows, which, tokens, offsets, scope, depth, forest, text, history, history_text):
    """Append tokens[offsets[j]:offsets[j + 1]] to row which[j], for all j; the forest, maybe
    grown.
    """
    for j in range(len(which)):
        r = which[j]
        for i in range(offsets[j], offsets[j + 1]):
            if scope & 2:
                forest = reserve(forest, 2 * depth)
                rows.own_ends[r] = append(
                    forest,
                    rows.own_root[r],
                    text,
                    rows.base[r],
                    rows.length[r],
                    rows.own_active[r],
                    rows.own_ends[r],
                    tokens[i],
                    depth,
                )
            if scope & 1 and rows.root[r] >= 0:
                rows.matched[r] = follow(
                    history,
                    rows.root[r],
                    history_text,
                    0,
                    rows.match[r],
                    rows.at[r],
                    rows.matched[r],
                    tokens[i],
                    depth,
                )
            rows.length[r] += 1
    return forest


@jit()
def _draft(
    rows,
    which,
    scope,
    depth,
    limit,
    factor,
    min_prob,
    forest,
    text,
    history,
    history_text,
    drafts,
    sizes,
):
    """drafts: int32[J, limit], sizes: int32[J] are filled for rows which[0 … J - 1]."""
    nowhere = np.empty(0, np.int64)
    tokens, probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)
    for j in range(len(which)):
        r = which[j]
        size, score = 0, np.float32(0.0)
        if scope & 1 and rows.root[r] >= 0:
            picked, size, score = draft(
                history,
                history_text,
                0,
                rows.match[r],
                rows.at[r],
                rows.matched[r],
                depth,
                limit,
                factor,
                min_prob,
                tokens,
                probs,
            )
            for i in range(size):
                drafts[j, i] = tokens[picked, i]
        if scope & 2:
            picked, own_size, own_score = draft(
                forest,
                text,
                rows.base[r],
                rows.own_active[r],
                nowhere,
                rows.own_ends[r],
                depth,
                limit,
                factor,
                min_prob,
                tokens,
                probs,
            )
            if own_score >= score:
                size = own_size
                for i in range(size):
                    drafts[j, i] = tokens[picked, i]
        sizes[j] = size


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
        self,
        scope: int,
        window: int,
        depth: int,
        limit: int,
        factor: float,
        min_prob: float,
    ) -> None:
        self._scope, self._window, self._depth, self._limit = scope, window, depth, limit
        self._factor, self._min_prob = np.float32(factor), np.float32(min_prob)
        self._rl_step = 0
        self._began = 0
        self._row: dict[Hashable, int] = {}
        self._who: dict[Hashable, tuple[int, Hashable, int]] = {}  # order, prompt id, prompt length
        self._room: dict[int, int] = {}  # row -> tokens its text region holds
        self._free: list[int] = []
        self._rows = _rows(8, depth)
        self._free.extend(range(8))
        self._text, self._text_end = np.empty(1 << 12, np.int32), 0
        self._forest = new_forest(1 << 10)
        self._past: list[
            tuple[int, int, Hashable, np.ndarray]
        ] = []  # step, order, prompt id, output
        self._history, self._history_end = new_forest(1 << 10), 0
        self._history_text = np.empty(1 << 12, np.int32)
        self._roots: dict[Hashable, int] = {}
        self._learnt = 0  # self._past[:learnt] are in the history

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished before becomes history, what is too old goes.

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
            self._history_text = np.concatenate([self._history_text, np.empty(2 * end, np.int32)])
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
            grown = _rows(2 * len(self._rows.base), self._depth)
            for new, old in zip(grown, self._rows, strict=True):
                new[: len(old)] = old
            self._free.extend(range(len(self._rows.base), len(grown.base)))
            self._rows = grown
        r = self._free.pop()
        self._row[request] = r
        self._who[request] = (self._began, prompt_id, len(prompt))
        self._began += 1
        self._forest = reserve(self._forest, 1)
        rows = self._rows
        rows.length[r], self._room[r] = 0, 0
        rows.own_root[r], rows.own_ends[r] = new_root(self._forest), 1
        rows.own_active[r, 0] = rows.own_root[r]
        rows.root[r] = -1  # the prompt is no part of what history is matched with
        self.extend([request], [prompt])
        rows.root[r], rows.matched[r] = self._roots.get(prompt_id, -1), 1
        rows.match[r, 0], rows.at[r, 0] = rows.root[r], 0

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[np.ndarray]) -> None:
        """What each request has just generated, int32[any number]."""
        which = np.array([self._row[request] for request in requests], np.int64)
        sizes = [len(new) for new in tokens]
        for r, size in zip(which, sizes, strict=True):
            self._make_room(int(r), size)
        offsets = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        flat = np.concatenate([np.asarray(new, np.int32) for new in tokens])
        self._forest = _extend(
            self._rows,
            which,
            flat,
            offsets,
            self._scope,
            self._depth,
            self._forest,
            self._text,
            self._history,
            self._history_text,
        )
        if not self._scope & OWN:
            for r, new, size in zip(which, tokens, sizes, strict=True):
                end = self._rows.base[r] + self._rows.length[r]
                self._text[end - size : end] = new

    def _make_room(self, r: int, more: int) -> None:
        """Give row r a text region for `more` tokens more, moving its text to the end if it
        must.
        """
        rows = self._rows
        need = int(rows.length[r]) + more + 2
        if need <= self._room[r]:
            return
        room = max(2 * need, 512)
        if self._text_end + room > len(self._text):
            grown = np.empty(2 * (self._text_end + room), np.int32)
            grown[: len(self._text)] = self._text
            self._text = grown
        old, length = int(rows.base[r]), int(rows.length[r])
        self._text[self._text_end : self._text_end + length] = self._text[old : old + length]
        rows.base[r], self._room[r] = self._text_end, room
        self._text_end += room

    def draft(self, requests: Sequence[Hashable]) -> list[np.ndarray]:
        """One draft per request, int32[<= max], in one compiled call."""
        which = np.array([self._row[request] for request in requests], np.int64)
        drafts = np.empty((len(which), self._limit), np.int32)
        sizes = np.zeros(len(which), np.int32)
        _draft(
            self._rows,
            which,
            self._scope,
            self._depth,
            self._limit,
            self._factor,
            self._min_prob,
            self._forest,
            self._text,
            self._history,
            self._history_text,
            drafts,
            sizes,
        )
        return [row[:size] for row, size in zip(drafts, sizes, strict=True)]

    def finish(self, request: Hashable) -> None:
        """The request is over; its output becomes history when the next RL step starts."""
        r = self._row.pop(request)
        order, prompt_id, prompt_len = self._who.pop(request)
        base, length = int(self._rows.base[r]), int(self._rows.length[r])
        output = self._text[base + prompt_len : base + length].copy()
        self._past.append((self._rl_step, order, prompt_id, output))
        self._free.append(r)
        if not self._row:  # nobody is running: their own tries can go
            clear(self._forest)
            self._text_end = 0
