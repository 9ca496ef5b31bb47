"""The rule by which an advice decides."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.analysis.advice.choices import (
    off,
)
from longtail.analysis.advice.decide import clearly, decide, recommend

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import choice

CHOICES = [
    off(),
    choice("ngram", "fixed:k=4", "vllm"),
    choice("suffix:scope=all", "fixed:k=4", "vllm"),
    choice("das", "fixed:k=4"),
    choice("das", "fixed:k=8"),
    choice("das", "tail"),
]


def sure(count: int, noise: float = 0.0) -> np.ndarray:
    return np.full((count, count), 1.0 - noise)


@pytest.mark.parametrize(
    ("seconds", "noise", "expected"),
    [
        ([10, 10, 10, 10, 10, 10], 0.0, 0),
        ([10, 9.95, 9.95, 9.95, 9.95, 9.95], 0.0, 0),  # less than 1 %
        ([10, 8, 7.95, 7.95, 7.95, 7.95], 0.0, 1),  # the rest adds less than 1 %
        ([10, 8, 7, 6, 5.9, 5.88], 0.0, 4),
        ([10, 8, 7, 6, 5.9, 5.5], 0.0, 5),
        ([10, 8, 7, 6, 5.9, 5.5], 0.15, 3 + 1),  # the last is within noise
        ([10, 9, 9, 9, 9, 9], 0.15, 0),  # all of it is
        ([10, 12, 12, 12, 12, 9], 0.0, 5),
    ],
)
def test_the_simplest_that_nothing_clearly_beats(
    seconds: list[float], noise: float, expected: int
) -> None:
    assert recommend(CHOICES, np.array(seconds, float), sure(6, noise)) == expected


@given(
    seconds=st.lists(st.floats(1, 100), min_size=6, max_size=6),
    noise=st.floats(0, 0.5),
)
def test_what_is_recommended_is_clearly_better_than_anything_simpler(
    seconds: list[float], noise: float
) -> None:
    took, spread = np.array(seconds), sure(6, noise)
    found = decide(CHOICES, took, spread)
    best = found.recommended
    if best:
        assert clearly(took, spread, 0, best)
    for i, other in enumerate(CHOICES):
        if other.rank == CHOICES[best].rank:
            assert took[best] <= took[i]
    assert found.runner_up is not None and found.runner_up != best
    assert took[found.runner_up] == min(t for i, t in enumerate(took) if i != best)
