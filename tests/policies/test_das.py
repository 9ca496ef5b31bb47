"""DAS's optimum: the worked example, both forms, and a grid search of its cost."""

import math

import numpy as np
import pytest

from longtail.policies.budgets.das_optimum import FORMS, draft_totals, optimal_budgets


def test_das_forms_agree_at_full_capacity() -> None:
    rng = np.random.default_rng(0)
    length, alpha = rng.integers(10, 5000, 50).astype(float), rng.uniform(0.2, 3, 50)
    whole = np.ones(50)
    for forwards in (1.0, 100.0, 2000.0, 6000.0):
        corrected, printed = (draft_totals(length, alpha, whole, forwards, f) for f in FORMS)
        assert corrected == pytest.approx(printed, rel=1e-12)
    (n, p), (m, q) = (optimal_budgets(length, alpha, whole, 1e-2, 1e-5, form) for form in FORMS)
    assert n == pytest.approx(m, rel=1e-9) and p == pytest.approx(q, rel=1e-6)


def test_das_worked_example() -> None:
    one = np.ones(1)
    totals = draft_totals(8000 * one, one, 0.7 * one, 4000.0)
    assert round(float(totals[0])) == 10_022
    accepted = 0.7 * 8000 * (1 - math.exp(-totals[0] / 8000))
    assert 8000 - accepted == pytest.approx(4000, rel=1e-12)


def seconds(
    forwards: np.ndarray, length: np.ndarray, alpha: np.ndarray, capacity: np.ndarray,
    base_s: float, token_s: float,
) -> np.ndarray:  # fmt: skip
    """Eq. 5 for each number of forwards, inf where it cannot be reached; p from eq. 3."""
    wanted = np.maximum(length - forwards[:, None], 0)  # to be accepted
    with np.errstate(divide="ignore", invalid="ignore"):
        totals = -length / alpha * np.log(np.maximum(1 - wanted / (capacity * length), 0))
    return base_s * forwards + token_s * np.where(wanted > 0, totals, 0).sum(1)


def test_das_against_a_grid_search() -> None:
    rng = np.random.default_rng(1)
    inner = 0
    for _ in range(200):
        count = int(rng.integers(1, 40))
        length = np.ceil(rng.lognormal(6, 1, count))
        alpha, capacity = rng.uniform(0.2, 4, count), rng.uniform(0.05, 1, count)
        costs = float(10 ** rng.uniform(-3, -1)), float(10 ** rng.uniform(-6, -3))
        forwards, totals = optimal_budgets(length, alpha, capacity, *costs)
        cost = costs[0] * forwards + costs[1] * float(totals.sum())
        low = float(((1 - capacity) * length).max())
        grid = np.linspace(low, float(length.max()), 20_001)[1:]
        best = float(seconds(grid, length, alpha, capacity, *costs).min())
        assert cost <= best * 1.001
        assert cost >= best * 0.999
        accepted = capacity * length * (1 - np.exp(-alpha * totals / length))
        assert float((length - accepted).max()) <= forwards * (1 + 1e-9)
        inner += forwards < 0.999 * length.max()
    assert inner > 50
