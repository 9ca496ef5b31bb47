"""Makespan ≥ clairvoyant ≥ perfect, and what the clairvoyant bound is made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from small_setups import BASE, LINEAR, TOKEN, budgets, closed_form, drafters
from small_workloads import Rollout, traces, workload_of

from longtail.policies.profile import Profile
from longtail.sim.simulate import Setup, simulate


def fewest_forwards(profile: Profile) -> list[int]:
    """Each rollout alone, with the best cut of every draft, by dynamic programming."""
    fewest = []
    for first, after in zip(profile.offsets, profile.offsets[1:], strict=False):
        matched = profile.matched[first:after].tolist()
        length = len(matched)
        best = [0] * (length + 1)
        for g in range(length - 1, 0, -1):
            best[g] = 1 + min(best[min(g + j + 1, length)] for j in range(matched[g] + 1))
        fewest.append(1 + (best[1] if length > 1 else 0))
    return fewest


@settings(max_examples=150, deadline=None)
@given(rollouts=traces, drafter=drafters, budget=budgets)
def test_nobody_beats_the_best_cuts(rollouts: list[Rollout], drafter: str, budget: str) -> None:
    """The true bound of a drafter without limits: forwards, and tokens that all are needed."""
    load, setup = workload_of(rollouts), Setup.of(drafter=drafter, budget=budget, latency=LINEAR)
    profile = load.profile(setup.drafter)
    floor = closed_form(load, 0.0, TOKEN)
    result = simulate(load, setup)
    for step in result.steps:
        rows = load.rows(step.rl_step)
        fewest = fewest_forwards(profile.part(rows.start, rows.stop))
        assert (step.request_forwards >= fewest).all()
        bound = BASE * max(fewest) + floor[step.rl_step]
        assert step.makespan_s >= bound * (1 - 1e-9)
        assert result.bounds.clairvoyant_s[step.rl_step] == pytest.approx(bound, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(rollouts=traces, drafter=drafters, budget=budgets)
def test_makespan_is_above_clairvoyant_is_above_perfect(
    rollouts: list[Rollout], drafter: str, budget: str
) -> None:
    result = simulate(
        workload_of(rollouts), Setup.of(drafter=drafter, budget=budget, latency=LINEAR)
    )
    for step in result.steps:
        clairvoyant_s = result.bounds.clairvoyant_s[step.rl_step]
        assert step.makespan_s >= clairvoyant_s * (1 - 1e-12)
        assert clairvoyant_s >= result.bounds.perfect_s[step.rl_step] * (1 - 1e-12)


def bounded(rollouts: list[Rollout], **setup: Any) -> None:
    result = simulate(workload_of(rollouts), Setup.of(**setup))
    assert result.makespan_s >= result.clairvoyant_s - 1e-12
    assert result.clairvoyant_s >= result.perfect_s - 1e-12


def test_clairvoyant_wastes_no_token_on_the_end() -> None:
    """Where the bonus token is the end token, a draft for it is paid for and gains nothing."""
    bounded([Rollout(0, 0, [0], [0, 0])], drafter="ngram:k=1,min=1", budget="fixed:k=0",
            latency=LINEAR)  # fmt: skip


def test_clairvoyant_is_no_better_than_perfect() -> None:
    bounded([Rollout(0, 0, [0, 1, 2, 3], [0, 1, 2, 3, 4])], drafter="ngram:k=4,min=1",
            latency=LINEAR)  # fmt: skip


def test_clairvoyant_is_not_beaten_by_a_shorter_draft() -> None:
    """Accepting less may lead to a place where more is drafted."""
    bounded(BEATEN, drafter="ngram:k=4,min=1,max=3", budget="fixed:k=2", latency=LINEAR)


BEATEN = [Rollout(0, 0, [0, 0], [0, 0, 2, 0, 0, 0, 0, 0, 2, 2])]  # 5 forwards, not 6


def test_clairvoyant_with_costly_drafts() -> None:
    bounded([Rollout(0, 0, [0] * 5, [0] * 5)], drafter="ngram:k=4,min=1", budget="fixed:k=0",
            latency="linear:base=1e-3,draft=1e-2")  # fmt: skip
