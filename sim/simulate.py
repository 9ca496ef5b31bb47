"""A whole trace under one configuration: RL steps one after the other, with their bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..policies.components import BUDGETS, DRAFTERS, PLACEMENTS, sees_drafts
from ..policies.drafters.cost import cost_of
from ..policies.latency import bound
from ..policies.latency.presets import make_latency
from ..policies.profile import Profile, blank_profile, perfect_profile
from ..policies.registry import spec_of
from ..policies.view import StepView
from .limits import Limits
from .step import Requests, StepResult, simulate_step
from .workload import StepDrafts, Workload


@dataclass(frozen=True)
class Setup:
    """Everything that decides a result, apart from the trace."""

    drafter: Any = field(default_factory=lambda: DRAFTERS.make("none"))
    budget: Any = field(default_factory=lambda: BUDGETS.make("unlimited"))
    latency: Any = field(default_factory=lambda: make_latency("h100-7b"))
    placement: Any = field(default_factory=lambda: PLACEMENTS.make("fcfs"))
    limits: Limits = field(default_factory=Limits)
    told: Any = None  # latency that the budget is told, where not the clock's
    skew: float = 1.0  # chances of acceptance that the budget is told, over those known

    @classmethod
    def of(
        cls,
        *,
        drafter: Any = "none",
        budget: Any = "unlimited",
        latency: Any = "h100-7b",
        placement: Any = "fcfs",
        limits: Limits | None = None,
        told: Any = None,
        skew: float = 1.0,
    ) -> Setup:
        """From inline specifications, such as `suffix:scope=both`, or mappings.

        Raises ComponentError for an unknown name or option.
        """
        return cls(
            DRAFTERS.make(drafter),
            BUDGETS.make(budget),
            make_latency(latency),
            PLACEMENTS.make(placement),
            limits or Limits(),
            None if told is None else make_latency(told),
            skew,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the latency model was not measured for, what the drafter leaves out, and what the
        budget knows that no engine does.
        """
        latency: tuple[str, ...] = getattr(bound(self.latency, self.drafter), "notes", ())
        return latency + getattr(self.drafter, "notes", ()) + getattr(self.budget, "notes", ())

    @property
    def row(self) -> dict[str, Any]:
        """The full configuration, one column each."""
        return {
            "drafter": spec_of(self.drafter),
            "budget": spec_of(self.budget),
            "latency": spec_of(self.latency),
            "placement": spec_of(self.placement),
            "max_num_seqs": self.limits.max_num_seqs,
            "max_num_batched_tokens": self.limits.max_num_batched_tokens,
            "kv_tokens": self.limits.kv_tokens,
            "block_size": self.limits.block_size,
            "replicas": self.limits.replicas,
            **({} if self.told is None else {"told": spec_of(self.told)}),
            **({} if self.skew == 1.0 else {"skew": self.skew}),
        }


@dataclass(frozen=True)
class Bounds:
    """What no budget can beat, per RL step, seconds.

    For drafts that depend on timing (siblings') the clairvoyant one is without drafts in vain, but
    its timing is its own.

    Exactly so without limits and for a latency that is linear and charges nothing for drafting and
    KV; otherwise it is what a budget that knows the future would reach.
    """

    clairvoyant_s: dict[int, float]  # this drafter, no token drafted in vain, or none at all
    perfect_s: dict[
        int, float
    ]  # every draft accepted, at the best length up to the drafter's longest


@dataclass(frozen=True)
class Result:
    """RL steps run one after the other; totals are sums."""

    setup: Setup
    steps: tuple[StepResult, ...]
    bounds: Bounds
    provenance: dict[str, str]  # trace and origin
    wall_s: dict[str, float]

    @property
    def makespan_s(self) -> float:
        """Seconds of all RL steps."""
        return sum(s.makespan_s for s in self.steps)

    @property
    def clairvoyant_s(self) -> float:
        """Seconds with no token drafted in vain."""
        return sum(self.bounds.clairvoyant_s.values())

    @property
    def perfect_s(self) -> float:
        """Seconds with every draft accepted."""
        return sum(self.bounds.perfect_s.values())

    @property
    def regret(self) -> float:
        """Makespan over the clairvoyant one, minus 1."""
        return self.makespan_s / self.clairvoyant_s - 1 if self.clairvoyant_s else 0.0

    def total(self, name: str) -> Any:
        """A StepResult's field summed over the steps."""
        return sum(getattr(s, name) for s in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The object that `simulate --json` prints."""
        per_step = [
            {
                "rl_step": s.rl_step,
                **{name: getattr(s, name) for name in SUMS},
                "clairvoyant_s": self.bounds.clairvoyant_s[s.rl_step],
                "perfect_s": self.bounds.perfect_s[s.rl_step],
                "acceptance_length": s.acceptance_length,
            }
            for s in self.steps
        ]
        return {
            **self.provenance,
            **{name: self.total(name) for name in SUMS},
            "clairvoyant_s": self.clairvoyant_s,
            "perfect_s": self.perfect_s,
            "regret": self.regret,
            "acceptance_source": self.setup.drafter.acceptance,
            "configuration": self.setup.row,
            "notes": list(self.setup.notes),
            "rl_steps": per_step,
            "wall_s": self.wall_s,
        }


SUMS = (
    "makespan_s",
    "forwards",
    "output_tokens",
    "draft_tokens",
    "accepted_tokens",
    "requests",
    "finished",
    "tail_s",
    "preemptions",
    "processed_tokens",
    "outside",
)


def simulate(
    workload: Workload,
    setup: Setup,
    *,
    rl_steps: Sequence[int] | None = None,
    log: bool = False,
    bounds: Bounds | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Simulate the wanted RL steps of a workload, each with all earlier ones as history.

    bounds: from `simulate_bounds` where several setups share them; computed here otherwise.
    progress is called with each RL step that is done. Raises TraceError, ComponentError or
    CapacityError for unusable input and ConservationError for a result that does not add up.
    """
    chosen = workload.choose(rl_steps)
    workload.prepare(setup.drafter, setup.budget)
    began = time.perf_counter()
    if bounds is None:
        bounds = simulate_bounds(workload, setup, rl_steps=chosen)
    results = tuple(simulate_steps(workload, setup, chosen, log=log, progress=progress))
    wall_s = {**workload.wall_s, "simulate": time.perf_counter() - began}
    return Result(setup, results, bounds, workload.provenance, wall_s)


def simulate_steps(
    workload: Workload,
    setup: Setup,
    rl_steps: Sequence[int],
    *,
    log: bool = False,
    longest_draft: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[StepResult]:
    """The RL steps alone, without their bounds. longest_draft: K where below the drafter's own."""
    workload.prepare(setup.drafter, setup.budget)
    workload.forget()
    longest = setup.drafter.longest_draft
    longest = longest if longest_draft is None else min(longest, longest_draft)
    results = []
    for step in rl_steps:
        back, sees = setup.budget.past_steps != 0, sees_drafts(setup.budget)
        past = workload.past(step, workload.profile(setup.drafter, sees)) if back else ()
        drafts = workload.drafts(setup.drafter, step, labels=sees)
        requests = workload.requests(step)
        results.append(run_step(requests, drafts, setup, step, longest, past=past, log=log))
        if progress:
            progress(step)
    return results


def simulate_bounds(
    workload: Workload,
    setup: Setup,
    *,
    rl_steps: Sequence[int] | None = None,
) -> Bounds:
    """The bounds under this setup's drafter, latency, placement and limits; its budget is not
    used.
    """
    everything = replace(setup, budget=BUDGETS.make("unlimited"))
    silent = replace(everything, drafter=DRAFTERS.make("none"))
    longest = setup.drafter.longest_draft
    clairvoyant, perfect = {}, {}
    workload.forget()
    for step in workload.choose(rl_steps):
        requests = workload.requests(step)

        def seconds(
            profile: StepDrafts, k: int, step: int = step, requests: Requests = requests
        ) -> float:
            drafting = k or not isinstance(profile, Profile) or len(profile.heads)
            setup = everything if drafting else silent
            return run_step(requests, profile, setup, step, k).makespan_s

        plain = seconds(blank_profile(requests.output_len), 0)
        drafts = workload.drafts(setup.drafter, step, in_vain=False)
        heads = isinstance(drafts, Profile) and len(drafts.heads) > 0
        clairvoyant[step] = plain
        if longest or heads:
            clairvoyant[step] = min(plain, seconds(drafts, longest))
        lengths = sorted({k for k in (1, 2, 4, 8, 16, 32, 64) if k < longest} | {longest})
        perfect[step] = min(
            clairvoyant[step],
            *(seconds(perfect_profile(requests.output_len, k), k) for k in lengths),
        )
    return Bounds(clairvoyant, perfect)


def run_step(
    requests: Requests,
    drafts: StepDrafts,
    setup: Setup,
    step: int,
    longest: int,
    past: tuple = (),
    log: bool = False,
) -> StepResult:
    """One RL step of any requests with their drafts; `past` is what the budget looks back on."""
    latency = bound(setup.latency, setup.drafter)
    told = latency if setup.told is None else bound(setup.told, setup.drafter)

    def forward_s(tokens: int, count: int) -> float:
        return float(told.seconds(tokens, count, 0, 0, 0, 0, told.params))

    view = StepView(
        rl_step=step,
        prompt=requests.prompt,
        prompt_len=requests.prompt_len,
        cap=requests.cap,
        longest_draft=longest,
        past=past,
        forward_s=forward_s,
        prior=setup.drafter.prior() if sees_drafts(setup.budget) else None,
        cost=cost_of(setup.drafter),
        skew=setup.skew,
        recorded_len=requests.output_len if getattr(setup.budget, "knows_lengths", False) else None,
    )
    return simulate_step(
        requests,
        drafts,
        budget=setup.budget,
        latency=latency,
        told=told,
        placement=setup.placement,
        limits=setup.limits,
        view=view,
        log=log,
    )
