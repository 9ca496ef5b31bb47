"""The product against a simulator of fewer than 100 lines, written from the definition."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import brute_force
import pytest
from brute_drafts import Counts, ngram_draft, suffix_draft
from brute_force import Request
from hypothesis import event, given, settings
from hypothesis import strategies as st
from small_workloads import Rollout, random_rollouts, workload_of

from longtail.policies.drafters.ngram import Ngram
from longtail.policies.drafters.suffix import Suffix
from longtail.policies.view import StepView
from longtail.sim.limits import Limits
from longtail.sim.replica import Replica
from longtail.sim.simulate import Setup, simulate
from longtail.sim.state import IDLE
from longtail.sim.step import StepResult
from longtail.sim.workload import Workload

DRAFTERS = ("none", "ngram", "suffix:problem", "suffix:own", "suffix:both", "specrl")
BUDGETS = ("fixed", "unlimited", "das")
COSTS = {
    "base": 1e-2,
    "token": 3e-5,
    "kv_token": 1e-7,
    "pair": 4e-8,
    "request": 2e-4,
    "prefill": 7e-6,
    "draft": 5e-6,
}
LATENCY = {"name": "linear", **COSTS}


def request_s(computed: int, tokens: int, drafts: int, decoding: bool) -> float:
    """What a request costs in a forward: its KV read once, its queries each against its keys."""
    pairs = sum(computed + i for i in range(1, tokens + 1))  # causal
    counts = {
        "token": tokens,
        "kv_token": computed + tokens,
        "pair": pairs,
        "request": 1,
        "prefill": 0 if decoding else tokens,
        "draft": drafts,
    }
    return sum(COSTS[name] * count for name, count in counts.items())


@dataclass(frozen=True)
class Case:
    rollouts: list[Rollout]
    setup: Setup
    seen: Counter[str] = field(default_factory=Counter)  # what happened while it ran


def draft_by_definition(drafter: Any, r: Request) -> list[int]:
    text = r.prompt + r.output[: r.generated]
    if isinstance(drafter, Ngram):
        return ngram_draft(text, drafter.min, drafter.max, drafter.k)
    if not isinstance(drafter, Suffix):
        return []
    options = (drafter.depth, drafter.max, drafter.factor, drafter.min_prob)
    picks = []
    if drafter.scope != "problem":
        picks.append(suffix_draft(text, Counts([text]), *options))
    if drafter.scope != "own":
        picks.append(suffix_draft(text[1:], Counts(r.history), *options))  # all but the first token
    return max(picks, key=lambda pick: pick[0])[1]  # the first of equals: own text


def budget_by_definition(setup: Setup, view: StepView, kind: dict[Request, int]) -> Any:
    if setup.budget.name != "das":
        return lambda r: setup.budget.k
    values = setup.budget.plan(view).values.tolist()
    granted: Counter[Request] = Counter()

    def das(r: Request) -> int:
        medium, long = values[3 + 2 * kind[r] : 5 + 2 * kind[r]]
        now = 2 if r.generated >= long else max(kind[r], int(r.generated >= medium))
        granted[r] += values[now]
        return int(min(max(granted[r] - r.drafted + 1e-9, 0), 128))

    return das


def view_of(case: Case, load: Workload, step: int) -> StepView:
    latency, requests = case.setup.latency, load.requests(step)
    return StepView(
        rl_step=step,
        prompt=requests.prompt,
        prompt_len=requests.prompt_len,
        cap=requests.cap,
        longest_draft=case.setup.drafter.longest_draft,
        past=load.past(step, load.profile(case.setup.drafter)),
        forward_s=lambda tokens, count: float(
            latency.seconds(tokens, count, 0, 0, 0, 0, latency.params)
        ),
    )


def by_definition(case: Case, load: Workload, view: StepView) -> tuple[list[Request], int, float]:
    window = getattr(case.setup.drafter, "window", 0)
    step, limits = view.rl_step, case.setup.limits
    requests = []
    for rollout in case.rollouts:
        if rollout.rl_step == step:
            history = [
                r.output
                for r in case.rollouts
                if r.prompt_id == rollout.prompt_id
                and r.rl_step < step
                and (window == 0 or r.rl_step >= step - window)
            ]
            requests.append(Request(rollout.prompt, rollout.output, rollout.cap, history))
    heads = load.profile(case.setup.drafter).heads[load.rows(step)]
    for r, (head, matched) in zip(requests if len(heads) else (), heads.tolist(), strict=True):
        r.head = min(head, r.cap - 1)
        r.head_matched = min(matched, r.head)
    initial = case.setup.budget.plan(view).request[:, 0].astype(int).tolist()
    budget = budget_by_definition(case.setup, view, dict(zip(requests, initial, strict=True)))
    memory: dict[tuple[Request, int], list[int]] = {}

    def draft(r: Request) -> list[int]:
        key = r, r.generated
        if key not in memory:
            memory[key] = draft_by_definition(case.setup.drafter, r)
        d = memory[key]
        case.seen["draft beyond the end"] += r.generated + len(d) > len(r.output)
        case.seen["draft beyond the cap"] += r.generated + len(d) >= r.cap
        return d

    forwards, makespan_s = brute_force.simulate(
        list(requests),
        draft,
        budget,
        limits.max_num_seqs or math.inf,
        limits.max_num_batched_tokens or 1 << 60,
        limits.block_size,
        math.inf if limits.kv_tokens is None else limits.kv_tokens // limits.block_size,
        COSTS["base"],
        request_s,
    )
    return requests, forwards, makespan_s


def preemptions_of(case: Case, load: Workload, view: StepView) -> list[int]:
    requests, rows = load.requests(view.rl_step), load.rows(view.rl_step)
    replica = Replica(
        view=view,
        output_len=requests.output_len,
        profile=load.profile(case.setup.drafter).part(rows.start, rows.stop),
        budget=case.setup.budget,
        latency=case.setup.latency,
        told=case.setup.latency,
        limits=case.setup.limits,
    )
    assert replica.decode(until_s=math.inf) == IDLE
    counts: list[int] = replica.state.preemptions.tolist()
    return counts


def check(case: Case) -> None:
    load = workload_of(case.rollouts)
    result = simulate(load, case.setup, log=True)
    for step in result.steps:
        view = view_of(case, load, step.rl_step)
        requests, forwards, makespan_s = by_definition(case, load, view)
        assert step.request_forwards.tolist() == [r.forwards for r in requests]
        assert step.drafted.tolist() == [r.drafted for r in requests]
        assert step.accepted.tolist() == [r.accepted for r in requests]
        assert preemptions_of(case, load, view) == [r.preemptions for r in requests]
        assert step.preemptions == sum(r.preemptions for r in requests)
        assert step.forwards == forwards
        assert step.finish_s == pytest.approx([r.finish_s for r in requests], rel=1e-9)
        assert step.makespan_s == pytest.approx(makespan_s, rel=1e-9)
        note(case, step)


def note(case: Case, step: StepResult) -> None:
    """Which corners this RL step has been in."""
    rollouts = [r for r in case.rollouts if r.rl_step == step.rl_step]
    most = case.setup.limits.max_num_batched_tokens or 1 << 60
    assert step.log is not None
    case.seen["preemption"] += step.preemptions > 0
    case.seen["chunked prefill"] += any(len(r.prompt) > most for r in rollouts)
    case.seen["token starvation"] += bool((step.log["requests"] < step.log["running"]).any())
    case.seen["queue"] += bool((step.log["waiting"] > 0).any())
    case.seen["acceptance"] += step.accepted_tokens > 0
    case.seen["rejection"] += step.accepted_tokens < step.draft_tokens


def drafter_spec(kind: str, draw: Callable[..., Any]) -> str:
    if kind == "none":
        return "none"
    if kind == "ngram":
        low = draw(1, 3)
        return f"ngram:k={draw(0, 6)},min={low},max={low + draw(0, 3)}"
    if kind == "specrl":
        return f"specrl:reuse={draw(0, 10) / 10},delay={draw(1, 2)},seed={draw(0, 99)}"
    factor, min_prob = (0.3, 0.5, 1.0, 2.0)[draw(0, 3)], (0.0, 0.1, 0.4, 0.7)[draw(0, 3)]
    return (
        f"suffix:scope={kind[7:]},window={draw(0, 2)},depth={draw(2, 10)},factor={factor},"
        f"min_prob={min_prob},max={draw(0, 8)}"
    )


def budget_spec(kind: str, draw: Callable[..., Any]) -> str:
    if kind == "fixed":
        return f"fixed:k={draw(0, 5)}"
    if kind == "unlimited":
        return "unlimited"
    form = ("corrected", "printed")[draw(0, 1)]
    return f"das:form={form},cold={draw(1, 8) / 3},window={draw(0, 2)},short={draw(2, 6) / 10}"


def limits_of(rollouts: list[Rollout], draw: Callable[..., Any], heads: bool) -> Limits:
    block = draw(1, 4)
    need = max(len(r.prompt) + len(r.output) - 1 for r in rollouts)
    if heads:  # another rollout's output is verified with a prompt
        need = max(len(r.prompt) for r in rollouts) + max(len(r.output) for r in rollouts)
    fits = -(-need // block) * block  # the largest rollout, and little more
    return Limits(
        max_num_seqs=draw(1, 6) if draw(0, 2) == 0 else None,
        max_num_batched_tokens=(None, draw(1, 6), draw(4, 20), draw(15, 60))[draw(0, 3)],
        kv_tokens=(None, fits + draw(0, 6), fits + draw(0, 60))[draw(0, 2)],
        block_size=block,
    )


def build(drafter: str, budget: str, draw: Callable[..., Any]) -> Case:
    shape = draw(1, 3), draw(1, 3), draw(1, 4), draw(1, 25), draw(2, 4)
    rollouts = random_rollouts(draw(0, 1 << 30), *shape)
    setup = Setup.of(
        drafter=drafter_spec(drafter, draw),
        budget=budget_spec(budget, draw),
        latency=LATENCY,
        limits=limits_of(rollouts, draw, heads=drafter == "specrl"),
    )
    return Case(rollouts, setup)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("drafter", DRAFTERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_same_as_brute_force(drafter: str, budget: str, data: st.DataObject) -> None:
    case = build(drafter, budget, lambda low, high: data.draw(st.integers(low, high)))
    check(case)
    for corner, times in case.seen.items():
        if times:
            event(corner)


def test_every_corner_is_visited() -> None:
    """The same generator, driven by a fixed seed, comes by everything that may go wrong."""
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    for i in range(60):
        case = build(DRAFTERS[1 + i % 4], BUDGETS[i % 3], rng.randint)
        check(case)
        seen.update({corner: 1 for corner, times in case.seen.items() if times})
    corners = ("preemption", "chunked prefill", "token starvation", "queue", "acceptance")
    corners += ("rejection", "draft beyond the end", "draft beyond the cap")
    assert {corner: seen[corner] for corner in corners if seen[corner] < 5} == {}


@pytest.mark.parametrize("drafter", ["ngram:k=4,min=1,max=3", "suffix:scope=both"])
def test_cap_cuts_drafts(drafter: str) -> None:
    """A rollout cut by length never drafts its last token: the bonus token is due there."""
    rollouts = [Rollout(step, 0, [0, 1, 2], [0, 1, 2] * 7, cap=21) for step in range(2)]
    tight = Case(rollouts, Setup.of(drafter=drafter, latency=LATENCY))
    check(tight)
    assert tight.seen["draft beyond the cap"]
    loose = replace(tight, rollouts=[replace(r, cap=100) for r in rollouts])
    check(loose)
    drafted = [
        simulate(workload_of(case.rollouts), case.setup).total("draft_tokens")
        for case in (tight, loose)
    ]
    assert drafted[0] < drafted[1]


def test_last_admitted_preempts_itself() -> None:
    """A draft that does not fit while alone costs the request its own cache, and it still ends."""
    rollouts = [Rollout(0, 0, [0, 1, 0, 1, 0, 1], [0, 1] * 5)]
    limits = Limits(kv_tokens=15, block_size=1)
    case = Case(rollouts, Setup.of(drafter="ngram:k=8,min=1,max=2", latency=LATENCY, limits=limits))
    check(case)
    assert case.seen["preemption"]


def test_das_spends_what_it_was_granted() -> None:
    """Cold: one third of a token per forward, saved up until whole."""
    rollouts = [Rollout(0, 0, [0, 1], [0, 1] * 20)]
    setup = Setup.of(drafter="ngram:k=8,min=1,max=2", budget="das:cold=0.3333333", latency=LATENCY)
    check(Case(rollouts, setup))
    result = simulate(workload_of(rollouts), setup).steps[0]
    assert result.draft_tokens == int(0.3333333 * (result.forwards - 1) + 1e-9)


def test_brute_force_is_short_and_alone() -> None:
    text = Path(brute_force.__file__).read_text()
    assert len(text.splitlines()) < 100
    assert "longtail" not in text
