"""Drafters that are tables: what is drawn has the table's chances, and nothing else decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.acceptance_table import TLT
from longtail.policies.drafters.table_profile import rollout_keys, uniform
from longtail.policies.profile import Profile
from longtail.policies.registry import ComponentError, spec_of
from longtail.traces.rollouts import Lengths

SPECS = [
    "learned",
    "learned:depth=5,topk=4,verify=9",
    "learned:table=nemo-eagle3",
    "learned:table=nemo-eagle3,k=3,half_life=2,every=3,start=0.5,recover=1",
    "diffusion:rate=0.7,k=16",
]


def lengths_of(
    output_len: list[int] | np.ndarray, rl_step: list[int] | None = None, ids: str = "p"
) -> Lengths:
    count = len(output_len)
    return Lengths(
        rl_step=np.array(rl_step or [0] * count, np.int32),
        prompt=(np.arange(count, dtype=np.int32) // 2),
        sample=(np.arange(count, dtype=np.int32) % 2),
        prompt_len=np.full(count, 5, np.int32),
        output_len=np.array(output_len, np.int32),
        finish=np.ones(count, np.int8),
        reward=np.zeros(count, np.float32),
        prompt_ids=[f"{ids}{i}" for i in range(count)],
    )


LONG = lengths_of([10_000] * 8)


def inner(profile: Profile) -> np.ndarray:
    """Positions whose drafts no end of a rollout cuts."""
    position = np.arange(len(profile.drafted)) - np.repeat(
        profile.offsets[:-1], np.diff(profile.offsets)
    )
    left = np.repeat(profile.offsets[1:], np.diff(profile.offsets)) - np.arange(len(position))
    return (position > 0) & (left >= 128)


def accepted(profile: Profile, cut: int) -> np.ndarray:
    """float64[positions inside]: accepted tokens of drafts cut to `cut` tokens."""
    if not len(profile.ranks):
        return np.minimum(profile.matched, cut)[inner(profile)].astype(float)
    owner = np.repeat(np.arange(len(profile.matched)), profile.matched)
    counts = np.bincount(owner[profile.ranks < cut], minlength=len(profile.matched))
    return counts[inner(profile)].astype(float)


def close_to(sample: np.ndarray, mean: float) -> None:
    """Within four standard errors."""
    assert abs(sample.mean() - mean) < 4 * sample.std() / np.sqrt(len(sample)) + 1e-12


@pytest.mark.parametrize("depth", TLT.depths)
def test_tlt_acceptance_lengths(depth: int) -> None:
    """All of the figure's: drafted so, and by cutting the largest tree."""
    largest = DRAFTERS.make(f"learned:depth={depth},verify=128").profile(LONG)
    for verify, length in zip(TLT.verify, TLT.lengths[TLT.depths.index(depth)], strict=True):
        drafter = DRAFTERS.make(f"learned:depth={depth},verify={verify}")
        assert drafter.longest_draft == verify - 1
        own = accepted(drafter.profile(LONG), 128)
        close_to(1 + own, length)
        assert (own == accepted(largest, verify - 1)).all()


def test_cuts_below_the_figure() -> None:
    profile = DRAFTERS.make("learned:depth=8").profile(LONG)
    means = TLT.accepted(8, 8)
    for cut in (1, 2, 5, 9, 14, 20):
        close_to(accepted(profile, cut), means[cut - 1])


def test_nemo_rl_acceptance_lengths() -> None:
    for k, length in ((3, 3.32), (5, 4.35), (7, 5.06)):
        drafter = DRAFTERS.make(f"learned:table=nemo-eagle3,k={k}")
        assert drafter.longest_draft == k and not drafter.trees
        close_to(1 + accepted(drafter.profile(LONG), k), length)


def test_the_numbers_are_even_and_unrelated() -> None:
    keys = rollout_keys(lengths_of([1] * 40), 3)
    u = np.array([[uniform(key, np.int64(g)) for g in range(1, 1001)] for key in keys])
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    assert ((counts - 800) ** 2 / 800).sum() < 100  # 49 degrees of freedom: p about 1e-5
    for a, b in ((u[:, 1:], u[:, :-1]), (u[1:], u[:-1]), (u[:, 7:], u[:, :-7])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.025  # five standard errors
    assert len(np.unique(rollout_keys(lengths_of([1] * 2000), 3))) == 2000
    assert (rollout_keys(lengths_of([1]), 3) != rollout_keys(lengths_of([1]), 4)).all()
    assert (rollout_keys(lengths_of([1]), 3) != rollout_keys(lengths_of([1], [1]), 3)).all()


@settings(deadline=None, max_examples=40)
@given(
    spec=st.sampled_from(SPECS),
    seed=st.integers(0, 2**62),
    sizes=st.lists(st.integers(0, 60), max_size=8),
    threads=st.integers(1, 4),
    data=st.data(),
)
def test_what_a_profile_holds(
    spec: str, seed: int, sizes: list[int], threads: int, data: st.DataObject
) -> None:
    """Full drafts from the first token on, matches up to the end, ranks that a tree can have."""
    drafter: Any = replace(DRAFTERS.make(spec), seed=seed)
    steps = sorted(data.draw(st.lists(st.integers(0, 9), min_size=len(sizes), max_size=len(sizes))))
    lengths = lengths_of(sizes, steps)
    profile = drafter.profile(lengths, None, threads=threads, labels=True)
    k = drafter.longest_draft
    assert profile.drafted.dtype == profile.matched.dtype == np.uint8
    assert len(profile.drafted) == sum(sizes)
    assert len(profile.labels) == profile.drafted.sum(dtype=int)
    at = rank = 0
    for size in sizes:
        for g in range(size):
            assert profile.drafted[at] == (k if g else 0)
            good = int(profile.matched[at])
            assert good <= (min(size - g, k) if g else 0)
            if drafter.trees:
                assert good <= drafter.shape[0]
                places = profile.ranks[rank : rank + good].astype(int)
                assert (places < k).all() and (np.diff(places) > 0).all()
                rank += good
            at += 1
    assert len(profile.ranks) == rank
    assert (profile.labels.reshape(-1, k) == np.arange(k)).all()
    assert len(drafter.profile(lengths).labels) == 0


@settings(deadline=None, max_examples=30)
@given(
    spec=st.sampled_from(SPECS),
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    threads=st.integers(1, 4),
    data=st.data(),
)
def test_only_the_rollout_itself_counts(
    spec: str, sizes: list[int], threads: int, data: st.DataObject
) -> None:
    """Without others, in another order of prompts and on other threads it is drafted alike."""
    drafter = DRAFTERS.make(spec)
    if "every" in spec:
        drafter = replace(drafter, first=0)  # or it depends on the trace's first RL step
    steps = sorted(data.draw(st.lists(st.integers(0, 9), min_size=len(sizes), max_size=len(sizes))))
    lengths = lengths_of(sizes, steps)
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(sizes))), unique=True)), int)
    rows.sort()
    some = lengths.select(rows)
    renumbered = replace(
        some, prompt=len(sizes) - 1 - some.prompt, prompt_ids=some.prompt_ids[::-1]
    )
    whole = drafter.profile(lengths).take(rows, some.output_len)
    part = drafter.profile(renumbered, threads=threads)
    assert (whole.matched == part.matched).all() and (whole.ranks == part.ranks).all()
    assert (whole.offsets == part.offsets).all()


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("learned", "step=0.001"),
        ("learned:table=nemo-eagle3", "token=1e-5"),
        ("diffusion:rate=0.5", "once=0.01"),
    ],
)
def test_a_cost_that_nobody_gave_is_said(spec: str, given: str) -> None:
    (note,) = DRAFTERS.make(spec).notes
    assert note.startswith(f"drafting with {spec.partition(':')[0]} is taken to be free")
    assert not DRAFTERS.make(f"{spec}{',' if ':' in spec else ':'}{given}").notes


def test_a_shorter_chain_and_a_longer_one() -> None:
    """The same draws: what k cuts, a budget cuts alike."""
    profiles = {k: DRAFTERS.make(f"learned:table=nemo-eagle3,k={k}").profile(LONG) for k in (2, 7)}
    assert (profiles[2].matched == np.minimum(profiles[7].matched, 2)).all()


def steps_of(spec: str, count: int) -> list[np.ndarray]:
    """Accepted tokens in each of `count` RL steps."""
    lengths = lengths_of([20_000] * count, list(range(count)))
    profile = DRAFTERS.make(spec).profile(lengths)
    return [accepted(profile.part(i, i + 1), 128) for i in range(count)]


def test_drift_and_updates() -> None:
    """Shares of the rate at the first position, RL step by RL step."""
    chain = "learned:table=nemo-eagle3,k=1,"
    rate = 0.87687055
    for i, got in enumerate(steps_of(chain + "half_life=2,floor=0.5", 5)):
        close_to(got, rate * (0.5 + 0.5 * 2 ** (-i / 2)))
    got = steps_of(chain + "half_life=2,every=2", 5)
    for i, sample in enumerate(got):
        close_to(sample, rate * 2 ** (-(i % 2) / 2))
    for i, sample in enumerate(steps_of(chain + "every=1,start=0.4,recover=2", 5)):
        close_to(sample, rate * (1 - 0.6 * 2 ** (-i / 2)))
    for sample in steps_of(chain + "every=1,half_life=2", 3):  # never stale
        close_to(sample, rate)
    for i, sample in enumerate(steps_of(chain + "half_life=2,first=2", 5)):
        close_to(sample, rate * 2 ** (-max(i - 2, 0) / 2))


def test_trees_drift_too() -> None:
    """Level j of a tree at a share of the rate: share^j of the chance."""
    fresh, stale = steps_of("learned:half_life=1", 2)
    for levels in (1, 2, 5):
        close_to((stale >= levels).astype(float), (fresh >= levels).mean() * 0.5**levels)


def test_measured_staleness(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("position,staleness,rate\n1,0,0.8\n1,4,0.4\n")
    for i, got in enumerate(steps_of(f"learned:table={path}", 5)):
        close_to(got, 0.8 - 0.1 * i)
    with pytest.raises(ComponentError, match=r"5 RL steps old.*t.csv tells of 0 … 4"):
        steps_of(f"learned:table={path}", 6)
    steps_of(f"learned:table={path},every=5", 6)
    with pytest.raises(ComponentError, match="leave out half_life"):
        DRAFTERS.make(f"learned:table={path},half_life=3")


@pytest.mark.parametrize("spec", SPECS[2:])
def test_the_prior_of_a_chain(spec: str) -> None:
    """Equal to what was accepted of the tokens at each place, if those before were."""
    drafter = DRAFTERS.make(spec)
    lengths = lengths_of([30_000])  # one RL step: neither stale nor updated
    got, prior = accepted(drafter.profile(lengths), 128), drafter.prior()
    for j in range(drafter.longest_draft):
        tried = got[got >= j]
        if len(tried) > 100:
            close_to((tried > j).astype(float), prior[j])
    assert (prior[drafter.longest_draft :] == 0).all()


def test_the_prior_of_a_tree() -> None:
    """The prior is what a token more adds, as sums over any stretch of tokens."""
    drafter = DRAFTERS.make("learned:depth=6,verify=64,start=0.9")
    gains, profile = drafter.prior(), drafter.profile(LONG)
    for cut in (1, 4, 10, 63):
        close_to(accepted(profile, cut), gains[:cut].sum())


@pytest.mark.parametrize("spec", SPECS)
def test_no_live_face_but_an_honest_result(spec: str) -> None:
    drafter = DRAFTERS.make(spec)
    with pytest.raises(ComponentError, match=r"cannot draft in an engine; run vLLM's own"):
        drafter.live()
    assert (
        "drawn at random from" in drafter.acceptance and "not from the trace" in drafter.acceptance
    )
    assert ("drift" in drafter.acceptance) == ("half_life" in spec)
    assert not drafter.needs_tokens and not drafter.timed and drafter.history_steps == 0
    assert drafter.prior().shape == (256,) and drafter.prior().dtype == np.float64
    assert DRAFTERS.make(spec_of(drafter)) == drafter


def test_cost() -> None:
    tree = DRAFTERS.make("learned:depth=6,step=0.001,token=0.0001").cost
    assert tree.array.tolist() == [0, 0.001, 6, 0.0001]
    chain = DRAFTERS.make("learned:table=nemo-eagle3,k=5,step=0.001").cost
    assert chain.array.tolist() == [0, 0.001, 5, 0]
    assert DRAFTERS.make("diffusion:rate=0.5,once=0.02").cost.array.tolist() == [0.02, 0, np.inf, 0]
    assert not DRAFTERS.make("learned").cost.array[[0, 1, 3]].any()  # nothing is guessed


def test_diffusion_assumes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="measure it"):
        DRAFTERS.make("diffusion").profile(LONG)
    path = tmp_path / "t.csv"
    path.write_text("position,rate\n1,0.5\n2,1\n")
    drafter = DRAFTERS.make(f"diffusion:table={path},k=2")
    got = accepted(drafter.profile(LONG), 2)
    assert set(np.unique(got)) == {0, 2}
    close_to(got, 1.0)
    with pytest.raises(ComponentError, match="ends at position 2"):
        DRAFTERS.make(f"diffusion:table={path}")
    with pytest.raises(ComponentError, match="not both"):
        DRAFTERS.make(f"diffusion:table={path},k=2,rate=0.5")
    path.write_text("position,staleness,rate\n1,0,0.5\n")
    with pytest.raises(ComponentError, match="use the drafter learned"):
        DRAFTERS.make(f"diffusion:table={path},k=1")
