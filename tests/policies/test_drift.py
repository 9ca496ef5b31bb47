"""The drift model: parameters come back from counts with known truth, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.policies.drafters.drift import Drift, age_of, fit_drift, read_outcomes
from longtail.policies.registry import ComponentError

AGES, UPDATES = np.arange(0, 41, 4.0), np.array([0, 1, 2, 4, 8, 16.0])


def measured(
    truth: Drift, seed: int, ages: np.ndarray = AGES, updates: np.ndarray = UPDATES,
    drafted: int = 4000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    s, u = (x.ravel() for x in np.meshgrid(ages, updates))
    rates = np.array([truth.rate(*pair) for pair in zip(s, u, strict=True)])
    n = np.full(len(s), drafted)
    return s, u, n, np.random.default_rng(seed).binomial(n, rates)


def test_what_the_model_says() -> None:
    drift = Drift(start=0.4, top=0.8, recover=2, floor=0.2, half_life=5)
    assert drift.rate(0, 0) == pytest.approx(0.4)
    assert drift.rate(0, 2) == pytest.approx(0.6)
    assert drift.rate(5, 2) == pytest.approx(0.4)
    assert drift.rate(1000, 7) == pytest.approx(0.2)
    assert Drift().rate(1000, 0) == 1
    assert Drift(start=0.5).rate(3, 0) == 0.5 and Drift(start=0.5).rate(3, 1) == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    floor=st.floats(0.1, 0.3),
    start=st.floats(0.45, 0.6),
    top=st.floats(0.75, 0.9),
    half_life=st.floats(3, 12),
    recover=st.floats(1, 4),
)
def test_parameters_come_back(
    seed: int, floor: float, start: float, top: float, half_life: float, recover: float
) -> None:
    """Within 4.5 standard errors, each time; the intervals are of 1.96."""
    truth = Drift(start, top, recover, floor, half_life)
    found = fit_drift(*measured(truth, seed))
    for name, low, high in found.intervals:
        value, true = getattr(found, name), getattr(truth, name)
        assert low <= value <= high
        if name in ("half_life", "recover"):
            low, high, value, true = np.log([low, high, value, true])
        assert abs(value - true) <= 4.5 / 1.96 * max(value - low, high - value), name


def test_intervals_hold_as_often_as_they_say() -> None:
    truth = Drift(0.5, 0.8, 3.0, 0.2, 8.0)
    held = []
    for seed in range(100):
        found = fit_drift(*measured(truth, seed, drafted=1000))
        held += [low <= getattr(truth, name) <= high for name, low, high in found.intervals]
    assert len(held) == 500 and 0.91 <= np.mean(held) <= 0.985


def test_scatter_beyond_chance_widens_the_intervals() -> None:
    s, u, n, good = measured(Drift(0.5, 0.8, 3.0, 0.2, 8.0), 1)
    noise = np.random.default_rng(2).normal(0, 0.05, len(n)) * n
    plain = fit_drift(s, u, n, good)
    noisy = fit_drift(s, u, n, np.clip(good + noise.astype(int), 0, n))
    for (_, a, b), (_, c, d) in zip(plain.intervals, noisy.intervals, strict=True):
        assert d - c > 2 * (b - a)


def test_without_updates_there_is_no_recovery_to_fit() -> None:
    found = fit_drift(*measured(Drift(0.7, 0.7, 0, 0.3, 6.0), 5, updates=np.zeros(1)))
    assert found.start == found.top and found.recover == 0
    assert [name for name, _, _ in found.intervals] == ["floor", "top", "half_life"]
    assert found.half_life == pytest.approx(6, rel=0.25)


def test_a_floor_of_zero() -> None:
    found = fit_drift(*measured(Drift(0.7, 0.7, 0, 0.0, 6.0), 5, updates=np.zeros(1)))
    assert found.floor == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("ages", "updates", "match"),
    [
        ([5.0], UPDATES, "1 different staleness"),
        ([0.0, 5.0], UPDATES, "2 different staleness"),
        (AGES, [0.0, 4.0], "2 different numbers of updates"),
        (AGES / 100, [0.0], "do not determine"),  # all far younger than the half-life
    ],
)
def test_what_cannot_be_determined(ages: np.ndarray, updates: np.ndarray, match: str) -> None:
    truth = Drift(0.5, 0.8, 3.0, 0.2, 8.0)
    with pytest.raises(ValueError, match=match):
        fit_drift(*measured(truth, 3, np.array(ages), np.array(updates), 1000))


def test_no_drift_has_no_half_life() -> None:
    with pytest.raises(ValueError, match="do not determine"):
        fit_drift(*measured(Drift(0.6, 0.6), 3, updates=np.zeros(1), drafted=1000))


def test_counts_that_are_none() -> None:
    s, u, n, good = measured(Drift(0.7, 0.7, 0, 0.3, 6.0), 5)
    for change in (good * 0 - 1, n + 1, good * np.nan):
        with pytest.raises(ValueError, match="these are no counts"):
            fit_drift(s, u, n, change)
    with pytest.raises(ValueError, match="differ in length"):
        fit_drift(s, u, n, good[1:])


def test_shares_of_the_best() -> None:
    share = Drift(0.4, 0.8, 2.0, 0.2, 5.0).share()
    assert (share.start, share.top, share.floor) == (0.5, 1.0, 0.25)
    assert (share.recover, share.half_life) == (2.0, 5.0)
    with pytest.raises(ValueError, match="not below top"):
        Drift(0.9, 0.8).share()


@given(st.integers(0, 500), st.integers(0, 50), st.integers(0, 20))
def test_age(rl_step: int, first: int, every: int) -> None:
    """As if updates were counted one by one."""
    staleness, updates = 0, 0
    for step in range(first + 1, rl_step + 1):
        staleness += 1
        if every and (step - first) % every == 0:
            staleness, updates = 0, updates + 1
    assert age_of(rl_step, first, every) == (staleness, updates)


def test_outcomes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("staleness,updates,drafted,accepted\n0,1,10,8\n5,1,20,9\n")
    assert [x.tolist() for x in read_outcomes(str(path))] == [[0, 5], [1, 1], [10, 20], [8, 9]]
    path.write_text("staleness,drafted,accepted\n0,10,8\n5,20,21\n")
    with pytest.raises(ComponentError, match=r"outcomes.csv, row 3: accepted"):
        read_outcomes(str(path))
    path.write_text("staleness,accepted\n0,10\n")
    with pytest.raises(ComponentError, match=r"row 1: name the columns"):
        read_outcomes(str(path))
