"""Curves, tails, orders and rankings, against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.analysis.composition import (
    active_curve,
    curve_distance,
    finish_order,
    tail_seconds,
)
from longtail.analysis.ranking import rank
from longtail.analysis.validate import Check

Curve = tuple[np.ndarray, np.ndarray]


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    steps = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=8))
    times = np.cumsum([0, *(width for width, _ in steps)]).astype(float)
    return times, np.array([*(height for _, height in steps), 0], float)


def height(curve: Curve, time: float) -> float:
    before = [v for t, v in zip(*curve, strict=True) if t <= time]
    return before[-1] if before else 0.0


@given(curves(), curves())
def test_area_between_curves(a: Curve, b: Curve) -> None:
    """Whole seconds, so that the area is a sum."""
    last = int(max(a[0][-1], b[0][-1]))
    apart = sum(abs(height(a, t) - height(b, t)) for t in range(last))
    under = sum(height(b, t) for t in range(last))
    assert curve_distance(a, b) == pytest.approx(apart / under if under else 0.0)
    assert curve_distance(a, a) == 0


def test_curve_of_a_log() -> None:
    log = pd.DataFrame(
        {"begin_s": [7.0, 8.0, 9.5], "forward_s": [1.0, 1.5, 0.5], "running": [2, 2, 1],
         "waiting": [1, 0, 0]}
    )  # fmt: skip
    times, active = active_curve(log, 2.0)
    assert times.tolist() == [0, 2, 5, 6] and active.tolist() == [3, 2, 1, 0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_tail_is_the_last_tenth(finish: list[float]) -> None:
    order = sorted(finish)
    done = next(s for i, s in enumerate(order, 1) if i >= 0.9 * len(order))
    assert tail_seconds(np.array(finish)) == order[-1] - done


def test_order_of_finishes() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert finish_order(a, 10 * a) == 1 and finish_order(a, -a) == pytest.approx(-1)
    assert finish_order(a[:1], a[:1]) is None and finish_order(0 * a, 0 * a) is None
    ties = np.array([1.0, 1.0, 2.0, 2.0])
    assert finish_order(ties, ties) == pytest.approx(1)
    assert finish_order(a, a[[1, 0, 2, 3]]) == pytest.approx(4 / 6)  # one pair of six


CHECK = Check(
    run="r", policy="p", trace="T", rl_steps="1", batch=8, setting="", held_out=True,
    calibration="all",
    exact=True, forwards=1, tokens="", measured_s=1.0, slow=1.0, predicted_s=1.0, clock_error=0.0,
    forward_error=0.0, makespan_error=0.0, raw_error=0.0, tail_error=0.0, curve=0.0,
    finish_tau=1.0, outside=0.0,
)  # fmt: skip


def check(policy: str, measured_s: float, predicted_s: float, slow: float = 1.0) -> Check:
    return replace(CHECK, policy=policy, measured_s=measured_s, predicted_s=predicted_s, slow=slow)


def test_pairs_count_that_differ_by_more_than_twice_their_spread() -> None:
    runs = {"a": (10.0, 10.2, 9.8), "b": (10.3, 10.1, 10.5), "c": (20.0, 20.2, 19.8)}
    predicted = {"a": 11.0, "b": 10.0, "c": 18.0}
    (ranking,) = rank([check(p, s, predicted[p]) for p, seconds in runs.items() for s in seconds])
    assert [cell.policy for cell in ranking.cells] == ["a", "b", "c"]
    assert ranking.cells[0].spread == pytest.approx(0.02)
    assert (ranking.clear, ranking.right) == (2, 2)  # a and b are too close to say
    predicted["c"] = 10.5
    (ranking,) = rank([check(p, s, predicted[p]) for p, seconds in runs.items() for s in seconds])
    assert (ranking.clear, ranking.right, ranking.wrong) == (2, 1, ("a before c",))


def test_without_repeats_nothing_is_clear() -> None:
    (ranking,) = rank([check("a", 1.0, 1.0), check("b", 9.0, 2.0)])
    assert ranking.clear == 0 and ranking.cells[0].spread is None


def test_seconds_are_compared_at_the_quiet_machines_speed() -> None:
    (ranking,) = rank([check("a", 4.0, 2.0, slow=2.0), check("a", 2.0, 2.0)])
    (cell,) = ranking.cells
    assert cell.measured_s == 2.0 and cell.error == 0 and cell.spread == 0
    assert cell.raw_spread is not None and cell.raw_spread > 0.4
