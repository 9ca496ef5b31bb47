"""Which choices there are, and which of them are worth simulating on everything: on a part of the
prompts, first every drafter with the plainest budgets, then the best drafters with every budget,
then the best of both under other limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...policies.budgets.speeds import speed_table
from ...policies.components import BUDGETS, DRAFTERS, PLACEMENTS, sees_drafts
from ...policies.drafters.cost import cost_of
from ...policies.latency import bound
from ...policies.registry import ComponentError, brief, spec_of
from ...policies.view import PastStep
from ...sim.workload import Workload
from ..drafters import candidates
from .bench import Bench
from .choices import (
    LONGTAIL,
    NGRAM,
    PLAIN,
    STOCK,
    VLLM,
    Choice,
    budgets_of,
    lengths_of,
    off,
    placements,
    speculative_config,
)

EXAMPLE = BUDGETS.make("schedule")
DRAFTERS_KEPT = 3  # of the plug-in's, with which every budget is tried
FINAL, FINAL_DRAFTERS = 10, 3  # choices, and their drafters, beside no speculation; more
# drafters only where each rank's best has another
BEST = 2  # of each rank, tried under other limits
FEWER = (2, 4)  # of max_num_seqs, tried: a half, a quarter
WORTH = 0.01  # less of the makespan is no reason to change limits
TIMED_TOKENS = 300_000  # above, drafters whose drafts depend on timing have to be asked for


@dataclass
class Found:
    """Choices with their seconds on a bench."""

    seconds: dict[Choice, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def best(self, of: Callable[[Choice], bool]) -> list[Choice]:
        """Those that satisfy `of`, the fastest first; of equals the simpler."""
        some = [choice for choice in self.seconds if of(choice)]
        return sorted(some, key=lambda choice: (self.seconds[choice], choice.rank))

    def least(self, drafter: Any) -> float:
        """Seconds of the best choice with this drafter."""
        return min(s for choice, s in self.seconds.items() if choice.drafter == drafter)


def drafters_for(
    load: Workload, engine: str, specs: Sequence[str]
) -> tuple[list[tuple[Any, str]], list[str]]:
    """((drafter, who would draft) of all that can be turned on, what is left out and why).

    Raises ComponentError for a drafter asked for that nobody can run.
    """
    have = load.tokens is not None or (load.trace is not None and load.trace.has_tokens)
    if not specs and not have:
        why = "drafters that look at text: the trace has lengths only"
        return [], [why, "learned: name a measured table (--drafter learned:table=FILE,step=…)"]
    asked, left_out = candidates(load, specs)
    found: dict[str, tuple[Any, str]] = {}
    if not specs:
        found = {spec: (DRAFTERS.make(spec), VLLM) for spec in STOCK}
        asked = [DRAFTERS.make(NGRAM) if d.name == "ngram" else d for d in asked]
    for drafter in asked:
        problem = _problem(drafter, engine, int(load.lengths.output_len.sum()), bool(specs))
        if problem and specs:
            raise ComponentError(f"drafter '{brief(drafter)}': {problem}")
        if problem:
            left_out.append(f"{brief(drafter)}: {problem}")
            continue
        found.setdefault(spec_of(drafter), (drafter, VLLM if _stock(drafter) else LONGTAIL))
    return list(found.values()), left_out


def _problem(drafter: Any, engine: str, tokens: int, asked: bool) -> str:
    """Why it cannot be turned on, or is too dear to simulate unasked."""
    if getattr(drafter, "trees", False):
        return "drafts trees, and vLLM verifies chains"
    if _stock(drafter):
        return ""
    if not drafter.in_engine:
        return "no engine runs it"
    if engine == VLLM:
        return "vLLM has no such method of its own (--engine longtail has)"
    if drafter.timed and not asked and tokens > TIMED_TOKENS:
        return "its drafts depend on timing, which takes long to simulate (ask for it: --drafter)"
    return ""


def _stock(drafter: Any) -> bool:
    """Whether vLLM drafts like this by itself."""
    return speculative_config(drafter, BUDGETS.make("unlimited")) is not None


def search(
    bench: Bench,
    engine: str,
    drafters: Sequence[tuple[Any, str]],
    budgets: Sequence[str],
    progress: Callable[[float], None] = lambda share: None,
) -> Found:
    """Simulate on the bench what can be turned on with these drafters. `progress` is told how much
    of the search is done, from 0 to 1.
    """
    found, alike = Found(), Found()
    allowed = budgets_of(budgets)
    deciding = [b for b in allowed if b.name not in PLAIN]
    seqs, usual = bench.setup.limits.max_num_seqs, PLACEMENTS.make("fcfs")

    def try_all(into: Found, drafter: Any, some: Sequence[Any], who: str) -> None:
        made = [Choice(drafter, budget, usual, seqs, who) for budget in some]
        _try(into, bench, [choice for choice in made if choice.speculates])

    _try(found, bench, [off(max_num_seqs=seqs)])
    seeing = [b for b in deciding if sees_drafts(b)] if engine == LONGTAIL else []
    for done, (drafter, who) in enumerate(drafters):
        if seeing and drafter.in_engine:  # once, with what will be wanted of it
            bench.profile(Choice(drafter, seeing[0], usual, seqs))
        try_all(alike, drafter, lengths_of(drafter, allowed), who)
        if who == VLLM and speculative_config(drafter, EXAMPLE):
            own = [b for b in deciding if b.name == "schedule"]
            try_all(found, drafter, own if budgets else [solve_schedule(bench, drafter)], who)
        progress(0.6 * (done + 1) / len(drafters))
    if len(deciding) < len(allowed):
        found.seconds |= alike.seconds
    if engine == LONGTAIL:
        mine = [drafter for drafter, _ in drafters if drafter.in_engine and not drafter.trees]
        for drafter in sorted(mine, key=lambda d: alike.least(d))[:DRAFTERS_KEPT]:
            try_all(found, drafter, deciding, LONGTAIL)
    progress(0.9)
    _other_limits(found, bench)
    progress(1.0)
    return found


def _try(found: Found, bench: Bench, choices: Sequence[Choice]) -> None:
    if choices:
        found.seconds |= dict(zip(choices, bench.totals(choices).tolist(), strict=True))


def _other_limits(found: Found, bench: Bench) -> None:
    """The best of each rank with fewer at once, and with other placements: kept where they gain."""
    limit = bench.setup.limits.max_num_seqs
    most = min(limit or max(bench.count.values()), max(bench.count.values()))
    some = {choice for rank in {c.rank for c in found.seconds} for choice in
            found.best(lambda c, rank=rank: c.rank == rank)[:BEST]}  # type: ignore[misc]  # fmt: skip
    others = [
        replace(choice, placement=placement, max_num_seqs=seqs, changed=True)
        for choice in sorted(some, key=lambda choice: choice.name)
        for placement in placements()
        for seqs in (limit, *(max(most // part, 1) for part in FEWER))
        if (placement, seqs) != (choice.placement, limit)
    ]
    tried = Found()
    _try(tried, bench, others)
    for choice, seconds in tried.seconds.items():
        before = replace(choice, placement=PLACEMENTS.make("fcfs"), max_num_seqs=limit,
                         changed=False)  # fmt: skip
        if seconds * (1 + WORTH) < found.seconds[before]:
            found.seconds[choice] = seconds


def finalists(found: Found) -> list[Choice]:
    """No speculation, the best of each rank, and the fastest of all, with few drafters among them;
    the simplest first.
    """
    plain = [choice for choice in found.seconds if not choice.speculates]
    ranks = sorted({choice.rank for choice in found.seconds if choice.speculates})
    chosen = [found.best(lambda c, rank=rank: c.rank == rank)[0] for rank in ranks]  # type: ignore[misc]
    drafters = {spec_of(choice.exact().drafter) for choice in chosen}
    for choice in found.best(lambda choice: choice.speculates):
        drafter = spec_of(choice.exact().drafter)
        few = drafter in drafters or len(drafters) < FINAL_DRAFTERS
        if choice not in chosen and few:
            if len(chosen) >= FINAL:
                break
            chosen.append(choice)
            drafters.add(drafter)
    exact = {choice.exact(): None for choice in chosen}
    return sorted([*plain, *exact], key=lambda choice: (choice.rank, choice.name))


def solve_schedule(bench: Bench, drafter: Any) -> Any:
    """vLLM's draft length by batch size for most tokens per second, from the bench's RL steps:
    ReSpec's solver (policies/budgets/respec.py) at batch sizes that double.
    """
    load, longest = bench.load, drafter.longest_draft
    choice = Choice(drafter, BUDGETS.make("unlimited"), None, None)
    past: tuple[PastStep, ...] = load.past(max(bench.steps) + 1, bench.profile(choice))
    lengths, gain, drafted = speed_table([p for p in past if p.rl_step in bench.steps], longest)
    outputs = np.concatenate([p.output_len for p in past]).astype(float)
    context = load.lengths.prompt_len.mean() + (outputs**2).sum() / (2 * outputs.sum())
    model = bound(bench.setup.latency, drafter)
    cost = cost_of(drafter)

    def speed(count: int, i: int) -> float:
        drafts = math.ceil(count * drafted[i])
        kv, pairs = int(count * context) + drafts, int((count + drafts) * context)
        seconds = model.seconds(count + drafts, count, kv, pairs, 0, drafts, model.params)
        seconds += cost.whole_s(int(lengths[i])) if drafts else 0.0
        return float(count * gain[i] / seconds)

    most = max(bench.count.values())
    sizes = [1 << i for i in range(most.bit_length())]
    best = [int(lengths[max(range(len(lengths)), key=lambda i: speed(n, i))]) for n in sizes]
    ranges: list[tuple[int, int, int]] = []
    for first, last, k in zip(sizes, [2 * n - 1 for n in sizes], best, strict=True):
        if ranges and ranges[-1][2] == k:
            first = ranges.pop()[0]
        ranges.append((first, last, k))
    return BUDGETS.make("schedule:ranges=" + "_".join(f"{a}-{b}:{k}" for a, b, k in ranges))
