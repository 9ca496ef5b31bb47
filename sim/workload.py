"""A trace made ready to be simulated: lengths, caps, and each drafter's profile once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from ..policies.batch import NO_CAP
from ..policies.components import sees_drafts
from ..policies.drafters.live import LiveDrafter
from ..policies.profile import Profile
from ..policies.registry import brief, spec_of
from ..policies.view import PastStep
from ..traces.rollouts import Lengths, Tokens
from ..traces.schema import TraceError
from ..traces.store import Trace
from .drafting import Drafting
from .step import Requests

logger = logging.getLogger(__name__)

GROUP = 16  # rollouts of a prompt, where only some requests are simulated

StepDrafts: TypeAlias = Profile | Callable[[int, np.ndarray], Drafting]


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
    _most: int | None = None  # requests of an RL step, see at_most
    _profiles: dict[tuple[str, bool], Profile] = field(default_factory=dict, repr=False)
    _parts: dict[tuple[Profile, int, int | None], Profile] = field(default_factory=dict, repr=False)
    _past: dict[tuple[Profile, int], PastStep] = field(default_factory=dict, repr=False)
    _live: dict[tuple[str, int], tuple[int, LiveDrafter]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_trace(
        cls, trace: Trace, *, cap: int | None = None, rl_steps: Sequence[int] | None = None
    ) -> Workload:
        """Read a trace's lengths, up to the last of the RL steps wanted (all by default).

        Every request has the same limit: `cap`, or what the trace's sampling parameters say, or
        what cut the longest, and none where nothing was cut (see `Lengths.limit`). Raises
        TraceError for an RL step that is not there and for a `cap` that a rollout ended beyond.
        """
        began = time.perf_counter()
        wanted = choose_steps(rl_steps, trace.rl_steps, trace.path)
        whole = trace.lengths()
        lengths = whole.select(slice(0, int(np.searchsorted(whole.rl_step, wanted[-1], "right"))))
        longest = int(lengths.output_len[~lengths.capped].max(initial=0))
        if cap is not None and longest > cap:
            raise TraceError(
                f"a rollout ended by itself after {longest} tokens, beyond the cap of {cap}",
                file=trace.path,
                remedy=f"give --cap {longest} or more",
            )
        limit = min(whole.limit(cap or trace.meta.sampling.get("max_tokens")) or NO_CAP, NO_CAP)
        load = cls(lengths, np.full(len(lengths), limit, np.int32), trace)
        load.wall_s["read"] = time.perf_counter() - began
        logger.info(
            "lengths of %d rollouts in %d RL steps read in %.2f s",
            len(lengths),
            len(load.rl_steps),
            load.wall_s["read"],
        )
        return load

    @property
    def provenance(self) -> dict[str, str]:
        """The trace's name and origin (recorded, imported or synthetic), for every result."""
        if self.trace is None:
            return {"trace": "arrays", "origin": "synthetic"}
        return {"trace": self.trace.path.name, "origin": self.trace.meta.origin}

    @property
    def rl_steps(self) -> list[int]:
        """The RL steps present, ascending."""
        return [int(s) for s in np.unique(self.lengths.rl_step)]

    def at_most(self, requests: int) -> Workload:
        """The same, of each RL step to be simulated only so many requests; history stays whole.

        They are those of groups drawn at random (`GROUP` rollouts at most of each); profiles are
        shared with this workload.
        """
        return replace(self, _most=requests)

    def chosen(self, rl_step: int) -> np.ndarray:
        """int64[N]: the rows of the rollouts of an RL step that are simulated, ascending."""
        rows = np.arange(self.rows(rl_step).start, self.rows(rl_step).stop)
        if self._most is None or len(rows) <= self._most:
            return rows
        prompt = self.lengths.prompt[rows]
        drawn = np.random.default_rng(rl_step).permutation(np.unique(prompt))
        groups = [rows[prompt == each][:GROUP] for each in drawn]
        return np.sort(np.concatenate(groups)[: self._most])

    def rows(self, rl_step: int) -> slice:
        """Where an RL step's rollouts stand."""
        first, last = np.searchsorted(self.lengths.rl_step, [rl_step, rl_step + 1])
        return slice(int(first), int(last))

    def requests(self, rl_step: int) -> Requests:
        """The rollouts of an RL step as requests to come."""
        rows, lengths = self.chosen(rl_step), self.lengths
        return Requests(
            rl_step,
            lengths.prompt[rows],
            lengths.prompt_len[rows],
            lengths.output_len[rows],
            self.cap[rows],
        )

    def profile(self, drafter: Any, labels: bool = False) -> Profile:
        """The drafter's profile of all rollouts, computed once per configuration, and once more
        if labels are wanted.

        Raises TraceError if the drafter needs tokens and the trace has none.
        """
        key = (spec_of(drafter), labels)
        if key not in self._profiles:
            if drafter.needs_tokens:
                self._have_tokens(drafter)
            began = time.perf_counter()
            self._profiles[key] = drafter.profile(self.lengths, self.tokens, cores(), labels)
            took = time.perf_counter() - began
            self.wall_s["profile"] += took
            logger.info("profile of %s computed in %.2f s", brief(drafter), took)
        return self._profiles[key]

    def prepare(self, drafter: Any, budget: Any) -> None:
        """Compute now what simulating this drafter under this budget takes from the trace: of one
        that drafts in the loop the profile only if the budget looks back on it.
        """
        if not drafter.timed or budget.past_steps != 0:
            self.profile(drafter, sees_drafts(budget))
        elif drafter.needs_tokens:
            self._have_tokens(drafter)

    def drafts(
        self, drafter: Any, rl_step: int, *, in_vain: bool = True, labels: bool = False
    ) -> StepDrafts:
        """The drafter's drafts for one RL step, as the decode loop takes them.

        in_vain: whether more is drafted than will be accepted, as it is unless for a bound.
        labels: whether the budget sees drafts.
        """
        if not drafter.timed:
            part = self._chosen_part(rl_step, self.profile(drafter, labels))
            return part if in_vain else part.clairvoyant()
        rows = self.chosen(rl_step)
        tokens = self._have_tokens(drafter)

        def drafting(replica: int, which: np.ndarray) -> Drafting:
            live = self.live_at(drafter, replica, rl_step)
            if hasattr(live, "assign"):  # it drafts from a profile, too
                live.assign(rows[which])
            return Drafting(
                live,
                self.lengths,
                tokens,
                rows[which],
                trees=drafter.trees,
                in_vain=in_vain,
                labels=labels,
            )

        return drafting

    def forget(self) -> None:
        """Let the next RL step begin with drafters that know what was recorded, and nothing of what
        was simulated before.
        """
        self._live.clear()

    def live_at(self, drafter: Any, replica: int, rl_step: int) -> LiveDrafter:
        """A drafter that knows the RL steps before `rl_step` as they were recorded, and of those
        simulated since `forget` how its drafts fared.
        """
        tokens = self._have_tokens(drafter)
        key = (spec_of(drafter), replica)
        begun, live = self._live.get(key) or (-1, self._face(drafter, tokens))
        if begun >= rl_step:
            begun, live = -1, self._face(drafter, tokens)
        depends = drafter.history_steps
        first = -1 if depends is None else rl_step - depends
        for step in self.rl_steps:
            if max(first, begun) <= step < rl_step:
                if begun != step:
                    live.start_step(step)
                for row in range(self.rows(step).start, self.rows(step).stop):
                    reward = float(self.lengths.reward[row])
                    live.learn(int(self.lengths.prompt[row]), tokens.output(row), reward)
        live.start_step(rl_step)
        self._live[key] = (rl_step, live)
        return live

    def _face(self, drafter: Any, tokens: Tokens) -> LiveDrafter:
        """A live face that knows nothing yet."""
        face: LiveDrafter = (
            drafter.live()
            if not hasattr(drafter, "replayed")
            else drafter.replayed(tokens, lambda each: self.profile(each, labels=True))
        )
        return face

    def _have_tokens(self, drafter: Any) -> Tokens:
        """The trace's tokens, read once."""
        if self.tokens is None:
            began = time.perf_counter()
            self.tokens = self._read_tokens(drafter)
            self.wall_s["read"] += time.perf_counter() - began
        return self.tokens

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
                key = (profile, step)
                if key not in self._past:
                    rows = self.rows(step)
                    prompt, output_len = self.lengths.prompt[rows], self.lengths.output_len[rows]
                    part = self._part(step, rows, profile)
                    self._past[key] = PastStep(step, prompt, output_len, part)
                past.append(self._past[key])
        return tuple(past)

    def _part(self, step: int, rows: slice, profile: Profile) -> Profile:
        """One step's profile, kept so that what is derived from it is derived once."""
        key = (profile, step, None)
        if key not in self._parts:
            self._parts[key] = profile.part(rows.start, rows.stop)
        return self._parts[key]

    def _chosen_part(self, step: int, profile: Profile) -> Profile:
        """As much of it as is simulated."""
        whole, rows = self.rows(step), self.chosen(step)
        if len(rows) == whole.stop - whole.start:
            return self._part(step, whole, profile)
        key = (profile, step, self._most)
        if key not in self._parts:
            self._parts[key] = profile.take(rows, self.lengths.output_len[rows])
        return self._parts[key]

    def choose(self, wanted: Sequence[int] | None) -> list[int]:
        """The RL steps to simulate: those wanted, or all. Raises TraceError for one not there."""
        return choose_steps(wanted, self.rl_steps, self.trace.path if self.trace else None)

    def judged(self, wanted: Sequence[int] | None) -> list[int]:
        """As `choose`, but by default without the first RL step, which has no history, unless it
        is the only one.
        """
        chosen = self.choose(wanted)
        return chosen if wanted is not None or len(chosen) == 1 else chosen[1:]


def choose_steps(
    wanted: Sequence[int] | None, present: Sequence[int], file: object | None
) -> list[int]:
    """Those wanted, or all that are present, ascending. Raises TraceError for one not present."""
    if wanted is None:
        return list(present)
    there = f"the trace has {len(present)} RL steps, {present[0]} … {present[-1]}"
    if not wanted:
        raise TraceError("no RL steps are wanted", file=file, remedy=there)
    for step in wanted:
        if step not in present:
            raise TraceError(f"no RL step {step}", file=file, remedy=there)
    return sorted(set(wanted))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
