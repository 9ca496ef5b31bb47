"""A trace made ready to be simulated: lengths, caps, and each drafter's profile once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..policies.batch import NO_CAP
from ..policies.profile import Profile, blank_profile
from ..policies.registry import spec_of
from ..policies.view import PastStep
from ..traces.rollouts import Lengths, Tokens
from ..traces.schema import TraceError
from ..traces.store import Trace
from .step import Requests


@dataclass
class Workload:
    """n rollouts in ascending RL step, `lengths` as in the trace; profiles are computed when asked
    for.
    """

    lengths: Lengths
    cap: np.ndarray  # int32[n] output tokens, NO_CAP where there is none
    trace: Trace | None = None
    tokens: Tokens | None = field(default=None, repr=False)
    wall_s: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "profile": 0.0})
    _profiles: dict[str, Profile] = field(default_factory=dict, repr=False)

    @classmethod
    def from_trace(
        cls,
        trace: Trace,
        *,
        cap: int | None = None,
        last_step: int | None = None,
    ) -> Workload:
        """Read a trace's lengths, up to RL step `last_step`.

        A rollout cut by length has its own length as cap; the others have `cap`, or what the
        trace's sampling parameters say, or none.
        """
        began = time.perf_counter()
        lengths = trace.lengths()
        if last_step is not None:
            lengths = lengths.select(
                slice(0, int(np.searchsorted(lengths.rl_step, last_step, "right")))
            )
        cap = cap or trace.meta.sampling.get("max_tokens")
        general = np.int32(min(cap, int(NO_CAP))) if cap else NO_CAP
        own = np.where(lengths.capped, lengths.output_len, np.maximum(general, lengths.output_len))
        load = cls(lengths, own.astype(np.int32), trace)
        load.wall_s["read"] = time.perf_counter() - began
        return load

    @property
    def rl_steps(self) -> list[int]:
        """The RL steps present, ascending."""
        return [int(s) for s in np.unique(self.lengths.rl_step)]

    def rows(self, rl_step: int) -> slice:
        """Where an RL step's rollouts stand."""
        first, last = np.searchsorted(self.lengths.rl_step, [rl_step, rl_step + 1])
        return slice(int(first), int(last))

    def requests(self, rl_step: int) -> Requests:
        """The rollouts of an RL step as requests to come."""
        rows, lengths = self.rows(rl_step), self.lengths
        return Requests(
            rl_step,
            lengths.prompt[rows],
            lengths.prompt_len[rows],
            lengths.output_len[rows],
            self.cap[rows],
        )

    def profile(self, drafter: Any) -> Profile:
        """The drafter's profile of all rollouts, computed once per configuration.

        Raises TraceError if the drafter needs tokens and the trace has none.
        """
        key = spec_of(drafter)
        if key not in self._profiles:
            if drafter.needs_tokens and self.tokens is None:
                began = time.perf_counter()
                self.tokens = self._read_tokens(drafter)
                self.wall_s["read"] += time.perf_counter() - began
            began = time.perf_counter()
            if drafter.needs_tokens:
                threads = max(1, os.cpu_count() or 1)
                self._profiles[key] = drafter.profile(self.lengths, self.tokens, threads=threads)
            else:
                self._profiles[key] = blank_profile(self.lengths.output_len)
            self.wall_s["profile"] += time.perf_counter() - began
        return self._profiles[key]

    def _read_tokens(self, drafter: Any) -> Tokens:
        if self.trace is None or not self.trace.has_tokens:
            raise TraceError(
                f"the trace has lengths only, and the drafter '{drafter.name}' needs tokens",
                file=self.trace.path if self.trace else None,
                remedy="import the rollouts' text or token ids, or use --drafter none",
            )
        return self.trace.tokens(self.rl_steps)

    def past(self, rl_step: int, profile: Profile) -> tuple[PastStep, ...]:
        """The RL steps before `rl_step`, as a budget may look back on them."""
        past = []
        for step in self.rl_steps:
            if step < rl_step:
                rows = self.rows(step)
                past.append(
                    PastStep(
                        step,
                        self.lengths.prompt[rows],
                        self.lengths.output_len[rows],
                        self._part(step, rows, profile),
                    )
                )
        return tuple(past)

    def _part(self, step: int, rows: slice, profile: Profile) -> Profile:
        """One step's profile, kept so that what is derived from it is derived once."""
        cache = profile.__dict__.setdefault("_parts", {})
        if step not in cache:
            cache[step] = profile.part(rows.start, rows.stop)
        part: Profile = cache[step]
        return part

    def choose(self, wanted: Sequence[int] | None) -> list[int]:
        """The RL steps to simulate: those wanted, or all. Raises TraceError for one that is not
        there.
        """
        present = self.rl_steps
        for step in wanted or ():
            if step not in present:
                raise TraceError(
                    f"no RL step {step}",
                    file=self.trace.path if self.trace else None,
                    remedy=f"the trace has {present[0]} … {present[-1]}",
                )
        return sorted(set(wanted)) if wanted else present
