"""Suffix drafts from finished rollouts and own text, live.

What a finished rollout wrote becomes history of its corpus at the next `start_step`, in the order
in which requests began, so that drafts do not depend on who finished first. Who is running then
finds its place in the new history by following the last tokens of its text again.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from .live import UNKNOWN, Ints
from .suffix_history import SuffixHistory
from .suffix_rows import LiveLookup, tokens_of
from .suffix_rule import HISTORY, SuffixRule


class LiveSuffix(LiveLookup):
    """The live face of the drafters that look into history (see `LiveDrafter`).

    history: to begin with, empty if not given.
    """

    def __init__(self, rule: SuffixRule, history: SuffixHistory | None = None) -> None:
        self._history = history or SuffixHistory(rule)
        super().__init__(rule, self._history)
        self._rule = rule
        # Order, corpus, output and reward of what finished in this RL step.
        self._new: list[tuple[int, Hashable, np.ndarray, float]] = []

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished becomes history, what is too old goes."""
        self._new.sort(key=lambda rollout: rollout[0])
        worth = self._rule.worth(
            [corpus for _, corpus, _, _ in self._new], [reward for *_, reward in self._new]
        )
        new = [
            (self._rl_step, corpus, output, int(each))
            for (_, corpus, output, _), each in zip(self._new, worth, strict=True)
        ]
        changed = self._history.start_step(rl_step, new)
        self._new.clear()
        self._rl_step = rl_step
        if changed and self._row:
            self._place(np.fromiter(self._row.values(), np.int64, len(self._row)), self._row)

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """The request is over; its output becomes history when the next RL step starts."""
        order, corpus, _ = self._who[request]
        output = self._leave(request)
        if learn and self._scope & HISTORY:
            self._new.append((order, corpus, output, reward))

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """A rollout from elsewhere, of the RL step begun last: as if it had begun and finished."""
        text = tokens_of(output)
        if self._scope & HISTORY:
            self._new.append((self._began, self._corpus(prompt_id), text, reward))
        self._began += 1
