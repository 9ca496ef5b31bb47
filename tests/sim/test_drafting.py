"""Drafts made forward by forward in the modelled world are those of the profile, where there is
one; and a profile by lockstep is the profile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import random_rollouts, traces, workload_of

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.das import Das
from longtail.policies.drafters.histospec import HistoSpec
from longtail.policies.drafters.lockstep import profile_lockstep
from longtail.policies.drafters.ngram import Ngram
from longtail.policies.drafters.suffix import Suffix
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, run_step, simulate_bounds, simulate_steps


@dataclass(frozen=True)
class TimedSuffix(Suffix):
    timed: ClassVar[bool] = True


@dataclass(frozen=True)
class TimedDas(Das):
    timed: ClassVar[bool] = True


@dataclass(frozen=True)
class TimedNgram(Ngram):
    timed: ClassVar[bool] = True


@dataclass(frozen=True)
class TimedHistoSpec(HistoSpec):
    timed: ClassVar[bool] = True


PAIRS = [
    (HistoSpec(), TimedHistoSpec()),
    (Suffix(depth=6, max=5), TimedSuffix(depth=6, max=5)),
    (Suffix(depth=6, max=7, paths=3, factor=3), TimedSuffix(depth=6, max=7, paths=3, factor=3)),
    (Suffix(scope="own", max=4, window=1), TimedSuffix(scope="own", max=4, window=1)),
    (Suffix(scope="all", window=1), TimedSuffix(scope="all", window=1)),
    (Das(half_life=1.0, window=2), TimedDas(half_life=1.0, window=2)),
    (Ngram(k=4, min=1), TimedNgram(k=4, min=1)),
]
limits = st.builds(
    Limits,
    max_num_seqs=st.none() | st.integers(1, 4),
    max_num_batched_tokens=st.none() | st.integers(8, 40),
    kv_tokens=st.none() | st.integers(64, 120),
    block_size=st.sampled_from([1, 4]),
    replicas=st.integers(1, 2),
)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@settings(max_examples=25, deadline=None)
@given(
    rollouts=traces,
    limits=limits,
    budget=st.sampled_from(["unlimited", "fixed:k=2", "das:cold=1.3"]),
)
def test_in_the_loop_as_in_the_profile(pair, rollouts, limits, budget) -> None:  # type: ignore
    load = workload_of(rollouts)
    setup = Setup.of(budget=budget, limits=limits)
    results = []
    for drafter in pair:
        steps = simulate_steps(load, replace(setup, drafter=drafter), load.rl_steps, log=True)
        results.append(steps)
    for known, made in zip(*results, strict=True):
        assert known.log is not None and made.log is not None
        assert known.log.equals(made.log)
        assert (known.drafted == made.drafted).all() and (known.accepted == made.accepted).all()
        assert known.finish_s.tolist() == made.finish_s.tolist()


@pytest.mark.parametrize("drafter", [pair[0] for pair in PAIRS], ids=str)
@settings(max_examples=25, deadline=None)
@given(rollouts=traces)
def test_lockstep_is_the_profile(drafter, rollouts) -> None:  # type: ignore
    load = workload_of(rollouts)
    assert load.tokens is not None
    known = drafter.profile(load.lengths, load.tokens, labels=True)
    made = profile_lockstep(drafter, load.lengths, load.tokens, labels=True)
    for name in ("drafted", "matched", "offsets", "labels", "ranks"):
        assert np.array_equal(getattr(known, name), getattr(made, name)), name
    assert len(known.labels) == known.drafted.sum(dtype=int)


@settings(max_examples=25, deadline=None)
@given(rollouts=traces, limits=limits, every=st.integers(1, 5), delay=st.integers(0, 3))
def test_siblings_in_the_loop(rollouts, limits, every, delay) -> None:  # type: ignore
    """Conserved, and bounded."""
    load = workload_of(rollouts)
    drafter = DRAFTERS.make(f"grouped:every={every},delay={delay},depth=6,max=5")
    setup = replace(Setup.of(limits=limits), drafter=drafter)
    steps = simulate_steps(load, setup, load.rl_steps)
    assert sum(s.output_tokens for s in steps) == load.lengths.output_len.sum()
    bounds = simulate_bounds(load, setup)
    assert all(bounds.clairvoyant_s[s.rl_step] > 0 for s in steps)


@settings(max_examples=25, deadline=None)
@given(rollouts=traces, every=st.integers(1, 5), delay=st.integers(0, 3))
def test_siblings_of_a_budget_of_nothing(rollouts, every, delay) -> None:  # type: ignore
    """Everybody begins at once and grows by a token per forward, which is what lockstep is."""
    load = workload_of(rollouts)
    assert load.tokens is not None
    drafter = DRAFTERS.make(f"grouped:every={every},delay={delay},depth=6,max=5")
    setup = replace(Setup.of(budget="fixed:k=0"), drafter=drafter)
    known = profile_lockstep(drafter, load.lengths, load.tokens)
    for step in load.rl_steps:
        made = []

        def drafts(replica, which, step=step, made=made):  # type: ignore
            made.append(load.drafts(drafter, step)(replica, which))
            return made[-1]

        run_step(load.requests(step), drafts, setup, step, drafter.longest_draft)
        (drafting,), rows = made, load.rows(step)
        part = known.part(rows.start, rows.stop)
        assert np.array_equal(drafting.profile.drafted, part.drafted)
        assert np.array_equal(drafting.profile.matched, part.matched)


def test_siblings_shorten_what_comes_later() -> None:
    """The same text three times: begun at once nobody knows what comes; one after the other the
    later two are drafted from the first.
    """
    text = np.random.default_rng(0).permutation(200).tolist()
    rollouts = random_rollouts(0, 1, 1, 3, 5, 4)
    load = workload_of([replace(r, output=text, cap=1 << 30) for r in rollouts])
    drafter = DRAFTERS.make("grouped:every=1,scope=group")
    one_by_one = replace(Setup.of(limits=Limits(max_num_seqs=1)), drafter=drafter)
    (alone,) = simulate_steps(load, one_by_one, [0])
    (together,) = simulate_steps(load, replace(Setup.of(), drafter=drafter), [0])
    assert together.accepted.sum() == 0
    assert alone.accepted[0] == 0 and (alone.accepted[1:] > 150).all()
