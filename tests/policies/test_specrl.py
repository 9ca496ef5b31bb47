"""The previous response as one draft: how much of it is reused, and what that costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import random_rollouts, workload_of

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.specrl import GENERATED, PLAIN, SpecRl, accepted, chance_for
from longtail.sim.limits import CapacityError, Limits
from longtail.sim.simulate import Setup, simulate
from longtail.sim.workload import Workload


def many(count: int = 400, steps: int = 3) -> Workload:
    """Long responses of many lengths, each prompt's own."""
    rng = np.random.default_rng(0)
    rollouts = random_rollouts(0, steps, count, 1, 2, 2)
    lengths = rng.geometric(1 / 300, len(rollouts)).tolist()
    return workload_of(
        [replace(r, output=[1] * n, cap=1 << 30) for r, n in zip(rollouts, lengths, strict=True)]
    )


@pytest.mark.parametrize("log_lenience", [0.0, 0.25, 0.5])
def test_the_papers_share_is_reused(log_lenience: float) -> None:
    """Between the paper's two leniences it is interpolated."""
    load = many()
    drafter = SpecRl(lenience=math.exp(log_lenience), seed=3)
    shares = {x: 1 - tokens / PLAIN for x, tokens in GENERATED.items()}
    wanted = np.interp(log_lenience, list(shares), list(shares.values()))
    heads = drafter.profile(load.lengths, None).heads
    later = load.lengths.rl_step > 0
    most = np.minimum(heads[later, 0], load.lengths.output_len[later]).sum()
    assert heads[later, 1].sum() / most == pytest.approx(wanted, abs=0.06)
    assert (heads[~later] == 0).all()


def test_half_the_tokens_in_half_the_forwards() -> None:
    """A request alone: a verified head is a prefill, the rest is decoded token by token."""
    length, prompt = 100, 7
    rollouts = [
        replace(r, output=[1] * length, prompt=[1] * prompt, cap=1 << 30)
        for r in random_rollouts(0, 2, 1, 1, 2, 2)
    ]
    load = workload_of(rollouts)
    drafter = SpecRl(reuse=0.5, seed=1)
    head, matched = drafter.profile(load.lengths, None).heads[1].tolist()
    assert head == length and 0 < matched < length
    setup = Setup.of(latency="linear:base=0.01,token=1e-5", budget="unlimited")
    result = simulate(load, replace(setup, drafter=drafter))
    plain, reused = result.steps
    assert plain.forwards == length and plain.draft_tokens == 0
    assert reused.forwards == length - matched
    assert (reused.draft_tokens, reused.accepted_tokens) == (length, matched)
    tokens = prompt + head + reused.forwards - 1
    assert reused.makespan_s == pytest.approx(0.01 * reused.forwards + 1e-5 * tokens)
    cut = 0.01 * reused.forwards + 1e-5 * (tokens - head + matched)
    assert result.bounds.clairvoyant_s[1] == pytest.approx(cut)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    reuse=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    limits=st.builds(
        Limits,
        max_num_seqs=st.none() | st.integers(1, 4),
        max_num_batched_tokens=st.none() | st.integers(4, 30),
        kv_tokens=st.integers(90, 150),
        block_size=st.sampled_from([1, 4]),
        replicas=st.integers(1, 2),
    ),
)
def test_conserved_under_limits(seed: int, reuse: float, limits: Limits) -> None:
    load = workload_of(random_rollouts(seed, 3, 2, 3, 30, 3))
    drafter = SpecRl(reuse=reuse, seed=seed)
    result = simulate(load, replace(Setup.of(limits=limits), drafter=drafter))
    heads = drafter.profile(load.lengths, None).heads
    heads = np.minimum(heads, load.cap[:, None] - 1)
    assert result.total("output_tokens") == load.lengths.output_len.sum()
    assert result.total("draft_tokens") == heads[:, 0].sum()
    assert result.total("accepted_tokens") == heads[:, 1].sum()
    if reuse == 1.0:
        most = np.minimum(heads[:, 0], load.lengths.output_len)
        assert (heads[:, 1] == most).all()
    for step in result.steps:
        assert step.acceptance_length == 1.0
        assert result.bounds.perfect_s[step.rl_step] <= result.bounds.clairvoyant_s[step.rl_step]


def test_a_response_that_would_never_fit() -> None:
    load = many(3, 2)
    longest = int(load.lengths.output_len[load.rows(0)].max())
    with pytest.raises(CapacityError):
        simulate(load, replace(Setup.of(limits=Limits(kv_tokens=longest)), drafter=SpecRl()))


@settings(deadline=None)
@given(
    most=st.lists(st.integers(0, 60), min_size=1, max_size=20).map(np.array),
    chance=st.floats(0.05, 0.995),
)
def test_the_chance_that_gives_so_many(most: np.ndarray, chance: float) -> None:
    mean = sum(chance**j for n in most.tolist() for j in range(1, n + 1))
    again = chance_for(mean, most)
    assert sum(again**j for n in most.tolist() for j in range(1, n + 1)) == pytest.approx(mean)


def test_what_is_drawn_is_geometric() -> None:
    draws = np.random.default_rng(0).random(200_000)
    counts = accepted(draws, 0.9)
    for j in (1, 2, 5, 20):
        assert (counts >= j).mean() == pytest.approx(0.9**j, abs=0.005)


def test_others_in_the_trace_change_no_draws() -> None:
    """Only the chance depends on who else there is."""
    load = many(20, 2)
    drafter = SpecRl(reuse=1.0)
    heads = drafter.profile(load.lengths, None).heads
    rows = np.flatnonzero(load.lengths.prompt < 10)
    part = load.lengths.select(rows)
    assert (drafter.profile(part, None).heads == heads[rows]).all()


@pytest.mark.parametrize("options", ["lenience=2", "reuse=-0.5", "lenience=0.5", "delay=0"])
def test_refused(options: str) -> None:
    with pytest.raises(ValueError):
        DRAFTERS.make(f"specrl:{options}")
