"""Calibration of draft tokens' chances: as its definition in plain Python; its identities."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.acceptance import Decoded, forwards_of
from longtail.analysis.reliability import BINS, Reliability, judged, reliability_of
from longtail.policies.components import DRAFTERS
from longtail.policies.profile import Profile

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from small_workloads import random_rollouts, workload_of

LABELS = 6


@st.composite
def profiles(draw: st.DrawFn, trees: bool) -> Profile:
    """Any rollouts with drafts of up to 40 tokens: more than `Profile.walks` knows."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    drafted, matched, ranks, labels = [], [], [], []
    for length in lengths:
        for g in range(length):
            size = draw(st.integers(0, 40)) if g else 0
            good = draw(st.integers(0, min(size, length - g)))
            drafted.append(size)
            matched.append(good)
            labels += draw(st.lists(st.integers(0, LABELS - 1), min_size=size, max_size=size))
            if trees:
                ranks += sorted(draw(st.permutations(range(size)))[:good])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    bytes_ = [np.array(x, np.uint8) for x in (drafted, matched, labels, ranks)]
    return Profile(bytes_[0], bytes_[1], offsets, bytes_[2], bytes_[3])


def plain_walk(profile: Profile) -> list[tuple[int, int]]:
    """(position, tokens left of its rollout) of every forward that may draft."""
    found = []
    for begin, end in zip(profile.offsets[:-1].tolist(), profile.offsets[1:].tolist(), strict=True):
        at = begin + 1
        while at < end:
            found.append((at, end - at))
            at += int(profile.matched[at]) + 1
    return found


def plain_judged(profile: Profile, rates: np.ndarray, trees: bool) -> list[tuple[float, bool]]:
    """Every draft token that is judged: its chance, and whether it was accepted."""
    found = []
    for at, left in plain_walk(profile):
        size, good = int(profile.drafted[at]), int(profile.matched[at])
        first = int(profile.drafted[:at].sum())
        labels = profile.labels[first : first + size].tolist()
        if trees:
            begin = int(profile.matched[:at].sum())
            ranks = profile.ranks[begin : begin + good].tolist()
            if size <= left:
                found += [(float(rates[label]), j in ranks) for j, label in enumerate(labels)]
            continue
        chance = 1.0
        for j, label in enumerate(labels[:left]):
            chance *= float(rates[label])
            found.append((chance, j < good))
    return found


@settings(max_examples=100, deadline=None)
@given(st.booleans().flatmap(profiles))
def test_whole_drafts_as_a_plain_walk(profile: Profile) -> None:
    walk = [at for at, _ in plain_walk(profile)]
    assert forwards_of(profile).tolist() == walk
    done = Decoded.of(profile)
    assert done.forwards == len(walk)
    assert done.tokens == int(np.diff(profile.offsets).sum()) - (len(profile.offsets) - 1)
    assert done.drafted == sum(int(profile.drafted[at]) for at in walk)
    assert done.accepted == sum(int(profile.matched[at]) for at in walk)
    assert done.drafts == sum(profile.drafted[at] > 0 for at in walk)
    assert done.hits == sum(profile.matched[at] > 0 for at in walk)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_as_defined(data: st.DataObject, trees: bool) -> None:
    profile = data.draw(profiles(trees))
    rates = np.zeros(256)
    rates[:LABELS] = data.draw(st.lists(st.floats(0, 1), min_size=LABELS, max_size=LABELS))
    expected = plain_judged(profile, rates, trees)
    pieces = list(judged(profile, rates, trees))
    chance = np.concatenate([c for c, _ in pieces] or [np.empty(0)])
    good = np.concatenate([a for _, a in pieces] or [np.empty(0, bool)])
    assert chance.tolist() == pytest.approx([c for c, _ in expected], abs=1e-12)
    assert good.tolist() == [a for _, a in expected]

    score = Reliability.of(profile, rates, trees)
    assert score.total == len(expected)
    if not expected:
        assert np.isnan(score.brier) and np.isnan(score.error)
        return
    brier = np.mean([(c - a) ** 2 for c, a in expected])
    assert score.brier == pytest.approx(brier, abs=1e-9)
    inside = [min(int(c * BINS), BINS - 1) for c in chance.tolist()]
    gaps = [abs(sum(c - a for (c, a), i in zip(expected, inside, strict=True) if i == b))
            for b in range(BINS)]  # fmt: skip
    assert score.error == pytest.approx(sum(gaps) / len(expected), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_parts_of_the_brier_score_add_up(tokens: list[tuple[float, bool]]) -> None:
    score = made_of(tokens)
    parts = score.miscalibration - score.resolution + score.uncertainty + score.within
    assert score.brier == pytest.approx(parts, abs=1e-9)
    assert score.error**2 <= score.miscalibration + 1e-9  # a mean of gaps, and of their squares
    assert 0 <= score.resolution <= score.uncertainty + 1e-9


@given(st.lists(st.tuples(st.integers(0, BINS - 1), st.booleans()), min_size=1, max_size=60))
def test_one_chance_per_bin_leaves_nothing_within(tokens: list[tuple[int, bool]]) -> None:
    score = made_of([((b + 0.5) / BINS, good) for b, good in tokens])
    assert score.within == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=20),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=20),
)
def test_scores_of_rl_steps_add_up(
    first: list[tuple[float, bool]], second: list[tuple[float, bool]]
) -> None:
    np.testing.assert_allclose(
        (made_of(first) + made_of(second)).sums, made_of(first + second).sums, atol=1e-9
    )


def made_of(tokens: list[tuple[float, bool]]) -> Reliability:
    """A score of these draft tokens, each a draft of its own with a label of its own."""
    found = Reliability(np.zeros((BINS, 5)))
    for chance, good in tokens:
        bytes_ = [np.array(x, np.uint8) for x in ([0, 1], [0, good], [0])]
        profile = Profile(bytes_[0], bytes_[1], np.array([0, 2]), bytes_[2])
        found += Reliability.of(profile, np.full(256, chance), trees=False)
    return found


def test_always_certain_and_always_right() -> None:
    score = made_of([(1.0, True), (0.0, False)])
    assert score.brier == score.error == 0 and score.resolution == score.uncertainty == 0.25


@pytest.mark.parametrize("spec", ["learned:table=nemo-eagle3", "learned"])
def test_known_acceptance_is_calibrated(spec: str) -> None:
    """Chances that depend on the label alone: what is left is sampling error, 5 of it at most."""
    drafter = DRAFTERS.make(spec)
    load = workload_of(random_rollouts(3, 4, 8, 16, 400, 50))
    profile = drafter.profile(load.lengths, None, labels=True)
    parts = [profile.part(load.rows(s).start, load.rows(s).stop) for s in load.rl_steps]
    score = reliability_of(drafter, parts, [2, 3])
    some = score.tokens >= 200
    assert some.sum() >= 4
    # Tokens of a draft stand and fall together: each forward counts once.
    forwards = sum(Decoded.of(parts[i]).forwards for i in (2, 3))
    chance = score.predicted[some]
    error = np.sqrt(chance * (1 - chance) / np.minimum(score.tokens[some], forwards))
    assert (np.abs(score.observed[some] - chance) <= 5 * error).all()
    assert score.error < 0.02


def test_a_wrong_chance_is_seen() -> None:
    drafter = DRAFTERS.make("learned:table=nemo-eagle3")
    load = workload_of(random_rollouts(3, 2, 8, 16, 400, 50))
    profile = drafter.profile(load.lengths, None, labels=True)
    assert Reliability.of(profile, np.ones(256), trees=False).error > 0.2


def test_only_earlier_rl_steps_teach() -> None:
    """What a later RL step holds changes nothing."""
    drafter = DRAFTERS.make("ngram")
    load = workload_of(random_rollouts(5, 3, 3, 3, 60, 4))
    profile = drafter.profile(load.lengths, load.tokens, labels=True)
    parts = [profile.part(load.rows(s).start, load.rows(s).stop) for s in load.rl_steps]
    once = reliability_of(drafter, parts, [1])
    other = replace(parts[2], matched=np.zeros_like(parts[2].matched))
    np.testing.assert_array_equal(once.sums, reliability_of(drafter, [*parts[:2], other], [1]).sums)
