"""Which drafter to choose: candidates, rows, the sentence, and how history ages."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.acceptance import NOTHING, Decoded, decode_after, decode_beside, large_groups
from longtail.analysis.drafters import (
    Row,
    advise,
    candidates,
    compare_drafters,
    costs,
    makespan,
)
from longtail.analysis.reliability import BINS, Reliability
from longtail.analysis.staleness import (
    Pair,
    by_age,
    choose_pairs,
    fit_decay,
    fit_half_life,
    measure,
    versions_per_step,
)
from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.live import Ints
from longtail.policies.drafters.suffix_live import LiveSuffix
from longtail.policies.registry import ComponentError
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate
from longtail.sim.workload import Workload
from longtail.traces import TraceError

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from small_workloads import random_rollouts, workload_of

EMPTY = Reliability(np.zeros((BINS, 5)))
OWN, HISTORY, GROUP = "suffix:scope=own", "suffix:scope=both", "grouped"


@pytest.fixture(scope="module")
def load() -> Workload:
    return workload_of(random_rollouts(7, 4, 3, 4, 60, 6))


def row(spec: str, makespan_s: float, k: int = 4, us: float | None = 2.0) -> Row:
    return Row(DRAFTERS.make(spec), NOTHING, EMPTY, us, 0.0, makespan_s, k)


# -- the sentence ----------------------------------------------------------------------------------


def test_off_if_nothing_is_faster() -> None:
    said = advise([row(OWN, 120.0), row(HISTORY, 105.0, k=1)], 100.0)
    assert said.startswith("Leave speculation off: no drafter here is faster")
    assert "suffix:scope=both with 1 draft token (0.95x) comes nearest" in said


def test_off_if_the_gain_is_within_a_percent() -> None:
    said = advise([row(HISTORY, 99.5)], 100.0)
    assert said.startswith("Leave speculation off") and "gains less than 1 %" in said


def test_the_fastest_without_history() -> None:
    said = advise([row(OWN, 50.0, k=2), row(HISTORY, 60.0)], 100.0)
    assert said.startswith(
        "Choose suffix:scope=own with 2 draft tokens (--budget fixed:k=2): 2.00x"
    )
    assert "the fastest here" in said and "needs no history" in said


def test_the_fastest_needs_history_and_another_does_not() -> None:
    said = advise([row(HISTORY, 50.0), row(OWN, 80.0, k=1), row(GROUP, 90.0)], 100.0)
    assert "Choose suffix:scope=both" in said
    assert "where there is none choose suffix:scope=own with 1 draft token (1.25x)" in said


def test_the_fastest_needs_history_and_without_it_nothing_gains() -> None:
    said = advise([row(HISTORY, 50.0), row(OWN, 99.9)], 100.0)
    assert said.endswith("where there is none leave speculation off.")


def test_a_cheaper_one_as_fast() -> None:
    said = advise([row(HISTORY, 50.0, us=10.0), row(OWN, 50.4, us=1.0)], 100.0)
    assert said.startswith("Choose suffix:scope=own")
    assert "within 1 % of the fastest, suffix:scope=both" in said and "1.0 us against 10.0" in said
    barely = advise([row(HISTORY, 50.0, us=10.0), row(OWN, 50.4, us=9.0)], 100.0)
    assert barely.startswith("Choose suffix:scope=both")
    slower = advise([row(HISTORY, 50.0, us=10.0), row(OWN, 51.0, us=1.0)], 100.0)
    assert slower.startswith("Choose suffix:scope=both")


def test_of_equally_cheap_ones_the_fastest() -> None:
    """A cost that is a little lower by chance decides nothing."""
    rows = [row("das", 50.2, us=1.9), row(HISTORY, 50.1, us=1.95), row(GROUP, 50.0, us=9.0)]
    assert advise(rows, 100.0).startswith("Choose suffix:scope=both")


def test_siblings_are_needed_beside() -> None:
    assert "other rollouts running beside" in advise([row(GROUP, 50.0)], 100.0)


def test_a_model_of_unknown_cost() -> None:
    said = advise([row("learned", 50.0, us=None), row(OWN, 60.0)], 100.0)
    assert said.startswith("Choose learned") and "is not known and counts as nothing" in said
    near = advise([row("learned", 50.0, us=None), row(OWN, 50.1)], 100.0)
    assert near.startswith("Choose suffix:scope=own") and "against an unknown cost" in near


def test_one_rl_step_shows_no_history() -> None:
    assert "is not seen here" in advise([row(OWN, 50.0)], 100.0, history=False)


@given(
    st.lists(
        st.tuples(st.sampled_from([OWN, HISTORY, GROUP, "learned"]), st.floats(1, 200)),
        min_size=1,
        max_size=6,
    )
)
def test_always_one_sentence_and_never_a_slow_choice(found: list[tuple[str, float]]) -> None:
    rows = [row(spec, seconds) for spec, seconds in found]
    said, best = advise(rows, 100.0), min(seconds for _, seconds in found)
    assert said.endswith(".") and ". " not in said
    assert said.startswith("Leave") == (best * 1.01 > 100.0)
    if said.startswith("Choose"):
        names = {r.name for r in rows if r.makespan_s <= 1.01 * best}
        assert said.removeprefix("Choose ").partition(" with")[0] in names


# -- rows ------------------------------------------------------------------------------------------


def test_every_usable_drafter_of_the_registry(load: Workload) -> None:
    chosen, left_out = candidates(load, ())
    compared, refused = {d.name for d in chosen}, {line.partition(":")[0] for line in left_out}
    assert compared | refused == set(DRAFTERS.classes) - {"none"}
    assert {"ngram", "suffix", "das", "grouped"} <= compared
    assert {"diffusion", "learned"} <= refused
    reasons = " ".join(left_out)
    assert "give rate= or table=" in reasons and "--drafter learned" in reasons
    assert any(d.trees for d in chosen)


def test_lengths_alone() -> None:
    bare = replace(workload_of(random_rollouts(1, 2, 2, 2, 20, 4)), tokens=None)
    with pytest.raises(TraceError, match="lengths only"):
        candidates(bare, ())
    with pytest.raises(TraceError, match="needs tokens"):
        compare_drafters(bare, ["ngram"])
    assert len(compare_drafters(bare, ["learned", "diffusion:rate=0.5"]).rows) == 2


def test_what_is_asked_for(load: Workload) -> None:
    chosen, left_out = candidates(load, ["suffix:scope=own+both", "ngram", "ngram"])
    assert [d.name for d in chosen] == ["suffix", "suffix", "ngram"] and not left_out
    assert [d.name for d in candidates(load, ["none", "ngram"])[0]] == ["ngram"]
    with pytest.raises(ComponentError, match="name a drafter that drafts"):
        candidates(load, ["none", "suffix:max=0"])
    with pytest.raises(ComponentError, match="did you mean"):
        candidates(load, ["ngrm"])
    with pytest.raises(ComponentError, match="give rate= or table="):
        compare_drafters(load, ["diffusion"])


def test_rows_are_what_the_simulator_says(load: Workload) -> None:
    limits = Limits(max_num_seqs=3)
    seen: list[tuple[int, int]] = []
    specs = ["ngram:k=3", "suffix:scope=both,paths=2,max=6", "grouped"]
    found = compare_drafters(
        load, specs, limits=limits, progress=lambda done, of: seen.append((done, of))
    )
    assert found.judged == (1, 2, 3) and found.present == (0, 1, 2, 3)
    assert seen[-1][0] == seen[-1][1]
    plain = simulate(load, Setup.of(limits=limits), rl_steps=[1, 2, 3])
    assert found.plain_s == pytest.approx(plain.makespan_s)
    assert [r.makespan_s for r in found.rows] == sorted(r.makespan_s for r in found.rows)
    for made in found.rows:
        for k in (1, 2, 4, 8, 16):
            setup = replace(Setup.of(budget=f"fixed:k={k}", limits=limits), drafter=made.drafter)
            seconds = simulate(load, setup, rl_steps=[1, 2, 3]).makespan_s
            assert made.makespan_s <= seconds + 1e-9
            if k == made.k:
                assert made.makespan_s == pytest.approx(seconds)
        assert made.draft_us is not None and made.draft_us > 0 and made.extend_us >= 0


def test_a_makespan_does_not_depend_on_the_ones_before(load: Workload) -> None:
    setup = Setup.of(drafter="best_of:of=ngram(k=8;min=1)|suffix(scope=problem)")
    parts = {step: load.profile(setup.drafter) for step in (1, 3)}
    alone = makespan(load, setup, {3: parts[3]})
    makespan(load, setup, {1: parts[1]})
    assert makespan(load, setup, {3: parts[3]}) == alone


def test_what_a_drafter_knows_when_it_is_timed(load: Workload, monkeypatch: Any) -> None:
    """All rollouts of the RL steps before that it looks at, rewards included."""
    told: list[tuple[int, float]] = []
    learn = LiveSuffix.learn

    def heard(self: LiveSuffix, prompt_id: Hashable, output: Ints, reward: float) -> None:
        told.append((len(output), reward))
        learn(self, prompt_id, output, reward)

    monkeypatch.setattr(LiveSuffix, "learn", heard)
    costs(load, DRAFTERS.make("histospec:window=2"), 3)
    rows = slice(load.rows(1).start, load.rows(2).stop)
    wanted = zip(load.lengths.output_len[rows], load.lengths.reward[rows], strict=True)
    assert repr(told) == repr([(int(n), float(reward)) for n, reward in wanted])


def test_acceptance_is_that_of_the_walks(load: Workload) -> None:
    """Up to 32 tokens `Profile.walks` counts the same."""
    drafter = DRAFTERS.make("suffix:scope=both,max=32")
    profile = drafter.profile(load.lengths, load.tokens)
    done, count = Decoded.of(profile), len(load.lengths)
    forwards, drafted, accepted = profile.walks[:, -1].sum(axis=0).tolist()
    assert (done.forwards, done.drafted, done.accepted) == (forwards - count, drafted, accepted)


def test_the_only_rl_step_is_judged_without_history() -> None:
    single = workload_of(random_rollouts(2, 1, 2, 3, 30, 4))
    found = compare_drafters(single, [HISTORY])
    assert found.judged == (0,) and not found.pairs and "is not seen here" in found.advice


def test_rl_steps_that_are_asked_for(load: Workload) -> None:
    found = compare_drafters(load, ["ngram"], rl_steps=[0, 2])
    assert found.judged == (0, 2) and {p.now for p in found.pairs} == {2}
    with pytest.raises(TraceError, match="no RL step 9"):
        compare_drafters(load, ["ngram"], rl_steps=[9])


def test_what_a_model_costs(load: Workload) -> None:
    assert costs(load, DRAFTERS.make("learned"), 1) == (None, 0.0)
    model = DRAFTERS.make("learned:table=nemo-eagle3,k=4,step=32e-6,token=1e-6")
    assert costs(load, model, 1)[0] == pytest.approx(4 * 32 / 32 + 4)


# -- references and age ----------------------------------------------------------------------------


def test_references_one_at_a_time() -> None:
    load = workload_of(random_rollouts(11, 1, 3, 6, 50, 5))
    drafter = DRAFTERS.make(HISTORY)
    assert load.tokens is not None
    groups = large_groups(load.lengths, 5)
    assert len(groups) == 3 and not large_groups(load.lengths, 7)
    done = decode_beside(drafter, load.lengths, load.tokens, groups, 3, 2)
    alone = NOTHING
    for group in groups:
        for target in group[:2]:
            alone += decode_after(drafter, load.lengths, load.tokens, group[2:5], target[None])
    assert done == alone


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 40), min_size=1, max_size=14),
    st.none() | st.integers(1, 4),
    st.data(),
)
def test_pairs_chosen(known: set[int], most: int | None, data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from(sorted(known)), min_size=1))
    chosen = choose_pairs(known, wanted, most)
    assert len(set(chosen)) == len(chosen)
    assert all(a < b and a in known and b in wanted for a, b in chosen)
    every = sorted({b - a for b in wanted for a in known if a < b})[:8]
    assert sorted({b - a for a, b in chosen}) == every
    for age in every:
        count = sum(b - a == age for a, b in chosen)
        there = sum(b - age in known for b in wanted)
        assert count == (there if most is None else min(most, there))


def test_age_by_rl_step_and_by_policy_version(load: Workload) -> None:
    assert load.tokens is not None
    drafter = DRAFTERS.make("suffix:scope=problem")
    pairs = measure(load.lengths, load.tokens, [2, 3], versions=3.0 * load.lengths.rl_step)
    assert {(p.by, p.age) for p in pairs} == {
        *(("rl_step", age) for age in (1, 2, 3)),
        *(("policy_version", age) for age in (3, 6, 9)),
    }
    assert versions_per_step(pairs) == 3
    rows = [np.flatnonzero(load.lengths.rl_step == step) for step in range(4)]
    expected = sum(
        (decode_after(drafter, load.lengths, load.tokens, rows[b - 2], rows[b]) for b in (2, 3)),
        NOTHING,
    )
    assert by_age(pairs)[2] == by_age(pairs, "policy_version")[6] == expected
    assert all(p.history == load.lengths.output_len[rows[p.past]].sum()
               for p in pairs if p.by == "rl_step")  # fmt: skip
    mixed = np.where(np.arange(len(load.lengths)) % 2, 5.0, load.lengths.rl_step)
    pairs = measure(load.lengths, load.tokens, [2, 3], versions=mixed)
    assert versions_per_step(pairs) is None and by_age(pairs, "policy_version")
    pairs = measure(load.lengths, load.tokens, [2, 3], versions=np.full(len(mixed), np.nan))
    assert not by_age(pairs, "policy_version") and versions_per_step(pairs) is None


def test_new_prompts_have_no_history() -> None:
    load = workload_of(random_rollouts(3, 2, 2, 2, 30, 4))
    assert load.tokens is not None
    new = replace(load.lengths, prompt=load.lengths.prompt + 2 * load.lengths.rl_step)
    assert measure(new, load.tokens, [1]) == []


def decaying(lost: float, seed: int, forwards: int = 20_000, scatter: float = 0.0) -> list[Pair]:
    """Pairs of 9 RL steps, each with an acceptance of its own."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.3, 0.8, 9)
    pairs = []
    for now in range(1, 9):
        for past in range(now):
            share = level[now] * (1 - lost) ** (now - past) * np.exp(rng.normal(0, scatter))
            done = replace(NOTHING, forwards=forwards, hits=int(rng.binomial(forwards, share)))
            pairs.append(Pair("rl_step", past, now, 1, done))
    return pairs


@pytest.mark.parametrize("scatter", [0.0, 0.02])
def test_decay_is_within_its_interval_as_often_as_it_says(scatter: float) -> None:
    found = [fit_decay(decaying(0.03, seed, scatter=scatter)) for seed in range(100)]
    assert all(d.low <= d.lost <= d.high for d in found)
    assert 0.88 <= np.mean([d.low <= 0.03 <= d.high for d in found]) <= 1
    assert np.mean([d.lost for d in found]) == pytest.approx(0.03, abs=0.002)


def test_scatter_widens_the_interval() -> None:
    plain, noisy = (fit_decay(decaying(0.03, 1, scatter=s)) for s in (0.0, 0.05))
    assert noisy.high - noisy.low > 2 * (plain.high - plain.low)


def test_too_few_pairs() -> None:
    for pairs in ([], decaying(0.03, 1)[:1], decaying(0.03, 1)[:3]):
        with pytest.raises(ValueError, match="two different ages"):
            fit_decay(pairs)


def test_half_life_of_one_level() -> None:
    pairs = [
        Pair("rl_step", 0, age, 1, replace(NOTHING, forwards=50_000, hits=int(50_000 * share)))
        for age in (1, 2, 4, 8, 16, 32)
        for share in [0.2 + 0.5 * 0.5 ** (age / 4)]
    ]
    assert fit_half_life(pairs).half_life == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match="different staleness"):
        fit_half_life(pairs[:2])
