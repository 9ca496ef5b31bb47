"""Cells: whatever a value is, it is shown, and no digit of a number is lost."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.analysis.report.cells import DASH, grid, number
from longtail.analysis.report.page import Table


@given(st.floats(allow_nan=False) | st.integers(-(10**20), 10**20))
def test_shown_numbers_are_within_six_digits(value: float) -> None:
    shown = float(number(value).replace(",", "").replace("∞", "inf"))
    assert shown == pytest.approx(float(value), rel=2e-5)


@given(
    st.lists(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        min_size=1,
    )
)  # fmt: skip
def test_any_cell_can_be_shown(values: list[object]) -> None:
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object), "b": range(len(values))})
    made = grid(Table("t", frame), 1000)
    assert len(made.rows) == len(values)
    for value, (cell, _) in zip(values, made.rows, strict=True):
        missing = value is None or value != value
        assert (cell.shown == DASH and cell.value == "") == missing
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not missing:
            assert type(value)((cell.value or cell.shown).replace(",", "")) == value


def test_columns_that_never_change_are_said_once() -> None:
    frame = pd.DataFrame({"t": ["x"] * 3, **{f"n{i}": [i, i, i + 1] for i in range(6)}})
    made = grid(Table("t", frame), 2)
    assert made.same == {"t": "x"} and made.heads[0] == ("n0", True)
    assert made.notes == ["The first 2 of 3 rows."]
