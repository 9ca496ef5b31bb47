"""Drafts that depend on timing: a drafter's live face, asked forward by forward in the modelled
world.

The decode loop takes drafts from arrays by position. Here the entries that the coming forward may
use are written just before it, and what it generated is told to the drafter just after it, as an
engine would.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..policies.batch import MAX_DRAFT, Batch
from ..policies.drafters.live import LiveDrafter
from ..policies.drafts import matches
from ..policies.profile import Profile, blank_profile
from ..traces.rollouts import Lengths, Tokens
from .state import DECODE, RUNNING, State


class Drafting:
    """One replica's drafts in one RL step: requests 0 … N - 1 are rows `rows` of the trace.

    in_vain: whether more is drafted than will be accepted, as it is unless for a bound. labels:
    whether the budget sees drafts.
    """

    def __init__(
        self,
        live: LiveDrafter,
        lengths: Lengths,
        tokens: Tokens,
        rows: np.ndarray,
        *,
        trees: bool = False,
        in_vain: bool = True,
        labels: bool = False,
    ) -> None:
        self._live, self._in_vain, self._trees = live, in_vain, trees and in_vain
        self._tokens, self._rows = tokens, rows
        self._prompt_id = lengths.prompt[rows].tolist()
        self._known = np.zeros(len(rows), np.int32)  # output tokens that the drafter has been told
        self._order = np.empty(0, np.int64)  # who ran before the forward, in order of admission
        self.profile: Profile = blank_profile(lengths.output_len[rows])
        self.rank_starts = np.empty(0, np.int64)
        if self._trees:
            ranks = np.zeros(len(rows) * MAX_DRAFT, np.uint8)
            self.profile = replace(self.profile, ranks=ranks)
            self.rank_starts = np.zeros(len(self.profile.drafted) + 1, np.int64)
        self.label_starts = np.empty(0, np.int64)
        if labels:
            room = np.zeros(len(rows) * MAX_DRAFT, np.uint8)
            self.profile = replace(self.profile, labels=room)
            self.label_starts = np.zeros(len(self.profile.drafted) + 1, np.int64)

    def draft(self, batch: Batch, state: State) -> None:
        """Write the entries of everybody who decodes now."""
        running = state.running[: state.n[RUNNING]].astype(np.int64)
        self._order = running
        now = running[state.phase[running] == DECODE]
        if not len(now):
            return
        drafts = self._live.draft(now.tolist())
        generated = batch.generated[now]
        offsets, source = self.profile.offsets, self._tokens.output_offsets
        rows = self._rows[now]
        matched, ranks = matches(
            drafts, self._tokens.output_tokens, source[rows] + generated, source[rows + 1]
        )
        at = offsets[now] + generated
        self.profile.drafted[at] = drafts.sizes if self._in_vain else matched
        self.profile.matched[at] = matched
        if self._trees:
            self.rank_starts[at] = now * MAX_DRAFT
            self.profile.ranks.reshape(-1, MAX_DRAFT)[now, : ranks.shape[1]] = ranks
        if len(self.label_starts):
            self.label_starts[at] = now * MAX_DRAFT
            self.profile.labels.reshape(-1, MAX_DRAFT)[now, : drafts.labels.shape[1]] = (
                drafts.labels
            )

    def learn(self, batch: Batch, state: State) -> None:
        """Tell the drafter what the forward that has just run gave to whom, in the engine's order:
        who ran before it, then who was admitted in it.
        """
        gained = np.flatnonzero(batch.generated > self._known)
        if not len(gained):
            return
        position = len(self._known) + np.arange(len(self._known))
        position[self._order] = np.arange(len(self._order))
        gained = gained[np.argsort(position[gained], kind="stable")]
        pieces: list[Any] = []
        for i in gained.tolist():
            row = int(self._rows[i])
            if self._known[i] == 0:
                self._live.begin(i, self._prompt_id[i], self._tokens.prompt(row))
            pieces.append(self._tokens.output(row)[self._known[i] : batch.generated[i]])
        self._live.extend(gained.tolist(), pieces)
        self._known[gained] = batch.generated[gained]
        for i in gained[state.output_len[gained] == self._known[gained]].tolist():
            self._live.finish(i, learn=False)
