"""How fast history would have been with drafts of one length or another, by hand."""

from __future__ import annotations

import numpy as np

from longtail.policies.budgets.speeds import speed_table
from longtail.policies.profile import Profile
from longtail.policies.view import PastStep


def test_two_rollouts_by_hand() -> None:
    """One of 6 tokens, whose drafts of 3 match once, then twice, then not; and one of 2 without."""
    drafted = np.array([0, 3, 3, 3, 3, 0, 0, 0], np.uint8)
    matched = np.array([0, 1, 1, 2, 0, 0, 0, 0], np.uint8)
    profile = Profile(drafted, matched, np.array([0, 6, 8]))
    past = PastStep(0, np.zeros(2, np.int32), np.array([6, 2], np.int32), profile)
    none, one, two = speed_table([past], 2).T.tolist()
    assert none == [0.0, 1.0, 0.0]
    # k=1: at 1 one of one (to 3), at 3 one of one (to 5), at 5 none; the other one at 1.
    assert one == [1.0, 6 / 4, 2 / 4]
    # k=2: at 1 one of two (to 3), at 3 two of two, to the end at 6; the other one at 1.
    assert two == [2.0, 6 / 3, 4 / 3]


def test_without_history_nothing_is_known() -> None:
    assert speed_table([], 16).T.tolist() == [[0.0, 1.0, 0.0]]
