"""Drafts of a model are made as long as pays, but for tries that take little in all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.policies.batch import MAX_DRAFT
from longtail.policies.budgets.depth import SHARE, depth_state, next_longest
from longtail.policies.compiled import jit
from longtail.policies.drafters.cost import FREE, DraftCost

FORWARD_S, WHOLE, N = 1e-2, 8, 4
STEPS = DraftCost(step_s=1e-3)
drafting = st.builds(
    DraftCost,
    once_s=st.sampled_from([0.0, 1e-3, 5e-2]),
    step_s=st.sampled_from([1e-4, 1e-3]),
    most_steps=st.sampled_from([4.0, np.inf]),
    token_s=st.sampled_from([0.0, 1e-5]),
)


@jit()
def ask(state, cost, left_s, made, n, forward_s):
    return next_longest(state, cost, left_s, made, n, forward_s)


def run(cost: DraftCost, left_s: list[float], forwards: int) -> list[int]:
    """How long drafts were, by forward, if each place always leaves the same."""
    state, longest, lengths = depth_state(), MAX_DRAFT, []
    worth = np.zeros(MAX_DRAFT)
    worth[:WHOLE] = left_s
    for _ in range(forwards):
        made = min(longest, WHOLE)
        lengths.append(made)
        seen = np.where(np.arange(MAX_DRAFT) < made, worth, 0.0)
        longest = ask(state, cost.array, seen, made, N, FORWARD_S)
    return lengths


def net_s(cost: DraftCost, left_s: list[float], length: int) -> float:
    """What drafts of this length leave."""
    took = cost.once_s + cost.step_s * min(length, cost.most_steps) + cost.token_s * N * length
    return sum(left_s[:length]) - (took if length else 0.0)


worths = st.lists(st.floats(-1e-2, 1e-2), min_size=WHOLE, max_size=WHOLE)


@settings(deadline=None)
@given(drafting, worths)
def test_they_are_as_long_as_leaves_most_but_for_tries(
    cost: DraftCost, left_s: list[float]
) -> None:
    lengths = run(cost, left_s, 400)
    nets = [net_s(cost, left_s, k) for k in range(WHOLE + 1)]
    best_s = max(nets)
    assert all(k == WHOLE or nets[k] == pytest.approx(best_s, abs=1e-12) for k in lengths)
    best = nets.index(best_s)
    if nets[WHOLE] < best_s - 1e-12:
        more_s = net_s(cost, [0.0] * WHOLE, best) - net_s(cost, [0.0] * WHOLE, WHOLE)
        assert more_s * (lengths.count(WHOLE) - 2) <= SHARE * FORWARD_S * len(lengths) + 1e-9


def test_what_costs_nothing_is_made_whole() -> None:
    assert set(run(FREE, [-1.0] * WHOLE, 20)) == {WHOLE}


def test_known_by_hand() -> None:
    """3 ms, 2 ms, then nothing: two steps of 1 ms leave 3 ms, one leaves 2, eight -3."""
    lengths = run(STEPS, [3e-3, 2e-3, *[0.0] * 6], 300)
    again = round(6e-3 / (SHARE * FORWARD_S))  # six steps more, forwards
    assert lengths[0] == WHOLE and lengths[1:again] == [2] * (again - 1)
    assert WHOLE in lengths[again : again + 3] and 2 <= lengths.count(WHOLE) <= 1 + 299 // again


def test_they_grow_when_they_pay_again() -> None:
    state, worth = depth_state(), np.zeros(MAX_DRAFT)
    longest, lengths = MAX_DRAFT, []
    for forward in range(400):
        made = min(longest, WHOLE)
        lengths.append(made)
        worth[:] = 0.0
        worth[:made] = 5e-3 if forward >= 200 else 0.0
        longest = ask(state, STEPS.array, worth, made, N, FORWARD_S)
    assert lengths[1:40] == [0] * 39 and lengths[-50:] == [WHOLE] * 50
