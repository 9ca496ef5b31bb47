"""One engine instance as a SimPy process: its life is decoding until something outside matters."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from ..policies.batch import TREES, Batch, Plan, empty_batch, read_only
from ..policies.components import sees_drafts
from ..policies.handles import pack
from ..policies.latency import covered
from ..policies.profile import Profile
from ..policies.view import StepView
from .decode import run
from .drafting import Drafting
from .limits import Limits
from .state import (
    ACCEPTED,
    BLOCKS,
    COUNTERS,
    DRAFTED,
    FORWARDS,
    FREE,
    LOG_COLUMNS,
    LOG_FULL,
    LOGGED,
    MOST_FORWARDS,
    OUTSIDE,
    PAUSED,
    POSITION_BIN,
    PREEMPTED,
    TAIL,
    TOKENS,
    Log,
    Shape,
    State,
)

LOG_ROWS = 1 << 14


class Replica:
    """Serves the requests it is given; N of them, numbered 0 … N - 1 in the order they queue."""

    def __init__(
        self,
        *,
        view: StepView,
        output_len: np.ndarray,
        profile: Profile | Drafting,
        budget: Any,
        latency: Any,
        told: Any,
        limits: Limits,
        log: bool = False,
    ) -> None:
        """told: the latency model that the budget is told; view: of these requests."""
        count, cap = len(view.prompt_len), view.cap
        _, group = np.unique(view.prompt, return_inverse=True)
        self.batch: Batch = empty_batch(view.prompt_len, cap, group)
        self.plan: Plan = budget.plan(view)
        self._limits = limits.array(view.longest_draft)
        self._drafting = profile if isinstance(profile, Drafting) else None
        self._profile = profile.profile if isinstance(profile, Drafting) else profile
        self._rule, self._latency, self._told = budget.rule, latency.seconds, told.seconds
        self._params = np.ascontiguousarray(latency.params, np.float64)
        self._told_params = np.ascontiguousarray(told.params, np.float64)
        self._covered = covered(latency)
        label_starts = np.empty(0, np.int64)
        if sees_drafts(budget):
            label_starts = profile.label_starts
            self.batch = self.batch._replace(
                labels=read_only(self._profile.labels), chances=view.chances
            )
        self.batch.counts[TREES] = len(profile.rank_starts) > 0
        self._shape = Shape(
            read_only(self._profile.ranks),
            read_only(profile.rank_starts),
            view.cost.array,
            read_only(label_starts),
        )

        heads = self._profile.heads if len(self._profile.heads) else np.zeros((count, 2), np.int32)
        # A draft is cut to the request's own cap, as any other.
        head, matched = np.minimum(heads[:, 0], np.maximum(cap - 1, 0)), heads[:, 1].copy()
        self.reused = int(np.minimum(head, matched).clip(max=output_len - 1).sum())

        def ints() -> np.ndarray:
            return np.zeros(count, np.int32)

        self.state = State(
            output_len=np.ascontiguousarray(output_len, np.int32),
            computed=ints(),
            blocks=ints(),
            phase=np.zeros(count, np.int8),
            scheduled=ints(),
            budget=ints(),
            head=head,
            head_matched=np.minimum(head, matched),
            preemptions=ints(),
            running=ints(),
            queue=np.arange(count, dtype=np.int32),
            n=np.zeros(COUNTERS, np.int64),
            clock=np.zeros(1),
            finish_s=np.full(count, np.nan),
        )
        self._handles = pack(self.batch, self.plan, self.state.budget)
        self.state.n[TAIL] = count
        self.state.n[FREE] = self._limits[BLOCKS]
        rows = LOG_ROWS if log else 0
        bins = int(output_len.max(initial=0)) // POSITION_BIN + 1
        self._log = Log(
            np.zeros((rows, 2)),
            np.zeros((rows, len(LOG_COLUMNS)), np.int64),
            np.zeros((bins, 3), np.int64),
        )
        self._pages: list[tuple[np.ndarray, np.ndarray]] = []

    def live(self, env: simpy.Environment) -> Generator[simpy.Event, None, None]:
        """Decode until nothing is left; the world is told the time whenever the loop comes back."""
        self.state.clock[0] = env.now
        why = LOG_FULL
        while why == LOG_FULL:
            why = self.decode(until_s=np.inf)
            yield env.timeout(self.clock_s - env.now)

    def decode(self, until_s: float) -> int:
        """Run forwards up to `until_s` (see sim/decode.py); why it stopped."""
        if self._drafting is None:
            return self._decode(until_s)
        self._limits[MOST_FORWARDS] = 1
        while True:
            self._drafting.draft(self.batch, self.state)
            why = self._decode(until_s)
            self._drafting.learn(self.batch, self.state)
            if why != PAUSED:
                return why

    def _decode(self, until_s: float) -> int:
        why: int = run(
            self.batch,
            self._handles,
            self.state,
            self._profile.drafted,
            self._profile.matched,
            self._profile.offsets,
            self._shape,
            self._rule,
            self._told,
            self._told_params,
            self._latency,
            self._params,
            self._covered,
            self._limits,
            until_s,
            self._log,
        )
        logged = self.state.n[LOGGED]
        if logged:
            self._pages.append(
                (self._log.seconds[:logged].copy(), self._log.counts[:logged].copy())
            )
            self.state.n[LOGGED] = 0
        return why

    @property
    def clock_s(self) -> float:
        """Seconds since the RL step began."""
        return float(self.state.clock[0])

    @property
    def forwards(self) -> int:
        """Engine iterations so far."""
        return int(self.state.n[FORWARDS])

    @property
    def tokens(self) -> int:
        """Tokens processed so far, prefill and rejected drafts included."""
        return int(self.state.n[TOKENS])

    @property
    def outside(self) -> int:
        """Forwards that the latency model was not measured for."""
        return int(self.state.n[OUTSIDE])

    @property
    def drafted(self) -> tuple[int, int]:
        """Draft tokens of all forwards, and how many of them were accepted."""
        return int(self.state.n[DRAFTED]), int(self.state.n[ACCEPTED])

    @property
    def preemptions(self) -> int:
        """How often a request lost its KV cache."""
        return int(self.state.n[PREEMPTED])

    @property
    def log(self) -> dict[str, np.ndarray]:
        """Columns begin_s, forward_s and LOG_COLUMNS, one entry per forward; empty without a
        log.
        """
        if not self._pages:
            return {}
        seconds = np.concatenate([page[0] for page in self._pages])
        counts = np.concatenate([page[1] for page in self._pages])
        columns = {"begin_s": seconds[:, 0], "forward_s": seconds[:, 1]}
        return columns | {name: counts[:, i] for i, name in enumerate(LOG_COLUMNS)}

    @property
    def positions(self) -> np.ndarray:
        """int64[B, 3]: decode forwards, drafted, accepted by position // POSITION_BIN, if
        logged.
        """
        return self._log.positions
