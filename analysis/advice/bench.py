"""A trace's RL steps, or so many of their prompts that they stand for all, ready to be simulated
under any choice, as recorded or with something changed, whole or drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...policies.components import sees_drafts
from ...policies.profile import Profile
from ...policies.registry import spec_of
from ...sim.simulate import Setup, run_step
from ...sim.step import Requests, StepResult
from ...sim.workload import Workload, cores
from .changes import AS_IT_IS, Change, lengthen, thin
from .choices import Choice


@dataclass
class Bench:
    """`load`: rollouts of some prompts, in all RL steps; `steps`: those judged; `count`: how many
    requests each of these has. Prompts are taken again where they are too few.
    """

    load: Workload
    steps: tuple[int, ...]
    count: Mapping[int, int]
    setup: Setup  # latency and limits
    _profiles: dict[tuple[str, bool, float], Profile] = field(default_factory=dict, repr=False)
    _parts: dict[tuple[Profile, int], Profile] = field(default_factory=dict, repr=False)
    _groups: dict[int, list[np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        load: Workload,
        steps: Sequence[int],
        setup: Setup,
        *,
        most_tokens: int,
        requests: int | None = None,
    ) -> Bench:
        """With prompts drawn at random whose rollouts have `most_tokens` output tokens in all.

        requests: of an RL step, where not as many as recorded.
        """
        rows = {step: load.rows(step) for step in steps}
        count = {step: requests or at.stop - at.start for step, at in rows.items()}
        chosen = _prompts(load, steps, most_tokens)
        part = load if chosen.all() else take_rollouts(load, chosen[load.lengths.prompt])
        return cls(part, tuple(steps), count, setup)

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(np.unique(self.load.lengths.prompt))

    @property
    def tokens(self) -> int:
        """Output tokens of the RL steps judged, as many requests as each has."""
        total = 0
        for step in self.steps:
            rows = self.load.rows(step)
            mean = float(self.load.lengths.output_len[rows].mean())
            total += int(mean * self.count[step])
        return total

    def groups(self, step: int) -> list[np.ndarray]:
        """The rows of each prompt in an RL step, by prompt."""
        if step not in self._groups:
            at = self.load.rows(step)
            prompt = self.load.lengths.prompt[at]
            order = np.argsort(prompt, kind="stable")
            cuts = np.flatnonzero(np.diff(prompt[order])) + 1
            self._groups[step] = np.split(order + at.start, cuts)
        return self._groups[step]

    def rows(self, step: int, order: np.ndarray | None = None, requests: float = 1.0) -> np.ndarray:
        """int64: the rows that stand for an RL step, ascending.

        order: indices into `groups`, which are taken in that order, again from the first where
        that is not enough; all at random by default. requests: factor of how many.
        """
        groups = self.groups(step)
        count = max(round(requests * self.count[step]), 1)
        if order is None:
            order = np.random.default_rng(step).permutation(len(groups))
        once = np.concatenate([groups[i] for i in order])
        return np.sort(np.tile(once, -(-count // len(once)))[:count])

    def prepare(self, choices: Iterable[Choice]) -> None:
        """Compute the drafters' profiles now, side by side: one of a single corpus takes one core.

        Raises TraceError where tokens are missing.
        """
        seeing = sorted(choices, key=lambda choice: sees_drafts(choice.budget))
        each = {spec_of(choice.drafter): choice for choice in seeing}  # the last of a drafter
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(self.profile, each.values()))

    def profile(self, choice: Choice, accept: float = 1.0) -> Profile:
        """The drafter's, of all rollouts, once; with labels if a budget so far wanted them."""
        name, load = spec_of(choice.drafter), self.load
        labels = sees_drafts(choice.budget) or (name, True, 1.0) in self._profiles
        if (name, labels, 1.0) not in self._profiles:
            if choice.drafter.needs_tokens and load.tokens is None:
                load.prepare(choice.drafter, choice.budget)  # reads them, or says what is missing
            made = choice.drafter.profile(load.lengths, load.tokens, cores(), labels)
            self._profiles[name, labels, 1.0] = made
        if (name, labels, accept) not in self._profiles:
            whole = self._profiles[name, labels, 1.0]
            self._profiles[name, labels, accept] = thin(whole, accept)
        return self._profiles[name, labels, accept]

    def simulate(
        self,
        choices: Sequence[Choice],
        cases: Sequence[tuple[int, np.ndarray]],
        change: Change = AS_IT_IS,
        progress: Callable[[], None] = lambda: None,
        kept: Callable[[StepResult], Any] = lambda result: result,
    ) -> list[list[Any]]:
        """For each choice what is kept of each case, an RL step and its rows; on every core.

        Raises CapacityError if a rollout cannot fit.
        """
        self.prepare(choices)
        alike: dict[str, list[int]] = {}  # choices of one drafter, which share their drafts
        for i, choice in enumerate(choices):
            alike.setdefault(spec_of(choice.drafter), []).append(i)
        tasks = [(case, some) for case in range(len(cases)) for some in alike.values()]

        def work(task: tuple[int, list[int]]) -> list[Any]:
            case, some = task
            done = self._simulate([choices[i] for i in some], *cases[case], change)
            progress()
            return [kept(result) for result in done]

        results: list[list[Any]] = [[None] * len(cases) for _ in choices]
        with ThreadPoolExecutor(cores()) as pool:
            for (case, some), done in zip(tasks, pool.map(work, tasks), strict=True):
                for i, result in zip(some, done, strict=True):
                    results[i][case] = result
        return results

    def _simulate(
        self, choices: Sequence[Choice], step: int, rows: np.ndarray, change: Change
    ) -> list[StepResult]:
        """Choices of one drafter on the same rows of an RL step."""
        load, begin, lengths = self.load, self.load.rows(step), self.load.lengths
        seeing = max(choices, key=lambda choice: sees_drafts(choice.budget))
        profile = self.profile(seeing, change.accept)
        drafts = self._part(profile, step)
        if len(rows) != begin.stop - begin.start or (np.diff(rows) != 1).any():
            drafts = drafts.take(rows - begin.start, lengths.output_len[rows])
        requests = Requests(
            step, lengths.prompt[rows], lengths.prompt_len[rows], lengths.output_len[rows],
            load.cap[rows],
        )  # fmt: skip
        if change.longer != 1:
            cut = lengths.capped[rows]
            requests, drafts = lengthen(requests, cut, drafts, change.longer)
        results = []
        for choice in choices:
            setup = replace(choice.setup(self.setup), skew=change.skew)
            clock = change.clock(setup.latency, setup.drafter)
            if clock is not setup.latency:
                setup = replace(setup, latency=clock, told=setup.latency)
            past = load.past(step, profile) if setup.budget.past_steps != 0 else ()
            results.append(run_step(requests, drafts, setup, step, choice.k, past=past))
        return results

    def _part(self, profile: Profile, step: int) -> Profile:
        """An RL step of a profile of this bench, once."""
        key = (profile, step)
        if key not in self._parts:
            at = self.load.rows(step)
            self._parts[key] = profile.part(at.start, at.stop)
        return self._parts[key]

    def cases(self, requests: float = 1.0) -> list[tuple[int, np.ndarray]]:
        """The RL steps judged, as recorded."""
        return [(step, self.rows(step, requests=requests)) for step in self.steps]

    def totals(
        self,
        choices: Sequence[Choice],
        change: Change = AS_IT_IS,
        progress: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """float64[choices]: seconds of all RL steps judged, one after the other."""
        cases = self.cases(change.requests)
        done = self.simulate(choices, cases, change, progress, kept=seconds_of)
        return np.array(done).sum(1)

    def last(self, most_tokens: int, most_steps: int) -> Bench:
        """The same with the last RL steps only, at least one."""
        steps = list(self.steps[-1:])
        for step in self.steps[-2::-1]:
            more = replace(self, steps=(step, *steps))
            if len(steps) == most_steps or more.tokens > most_tokens:
                break
            steps.insert(0, step)
        return replace(self, steps=tuple(steps))

    def forgetful(self, share: float) -> Bench:
        """The last RL step, with a share of the rollouts before it as its history."""
        step, load = self.steps[-1], self.load
        before = load.lengths.rl_step < step
        kept = np.random.default_rng(step).random(len(before)) < share
        return Bench(
            take_rollouts(load, np.where(before, kept, load.lengths.rl_step == step)),
            (step,), self.count, self.setup,
        )  # fmt: skip


def seconds_of(result: StepResult) -> float:
    """Its makespan."""
    return result.makespan_s


def take_rollouts(load: Workload, kept: np.ndarray) -> Workload:
    """A workload of some rollouts (bool[n]) alone."""
    rows = np.flatnonzero(kept)
    tokens = None if load.tokens is None else load.tokens.select(rows)
    return Workload(load.lengths.select(rows), load.cap[rows], load.trace, tokens)


def _prompts(load: Workload, steps: Sequence[int], most_tokens: int) -> np.ndarray:
    """bool[prompts]: drawn at random until they have so many output tokens, and one of each RL
    step. Fewer tokens take some of the same prompts.
    """
    prompt, lengths = load.lengths.prompt, load.lengths.output_len
    sizes = np.bincount(prompt, lengths)
    order = np.random.default_rng(0).permutation(len(sizes))
    chosen = np.zeros(len(sizes), bool)
    chosen[order] = np.cumsum(sizes[order]) - sizes[order] < most_tokens
    for step in steps:
        here = prompt[load.rows(step)]
        if not chosen[here].any():
            chosen[order[np.isin(order, here)][0]] = True
    return chosen
