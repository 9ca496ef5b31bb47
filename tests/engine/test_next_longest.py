"""A rule that sees drafts says how long the next ones are to be made, and whether any are."""

from __future__ import annotations

from typing import Any

import numpy as np
from fake_policy import DRAFT, Bench, FakeBudget, FakeDrafter

from longtail.policies.batch import LABELS, NEXT_LONGEST, Batch, Plan


class SeenDrafter(FakeDrafter):
    """Its labels mean nothing."""

    def prior(self) -> np.ndarray:
        return np.zeros(LABELS)


class Sees(FakeBudget):
    """Grants everything, and has the next drafts made as long as it was told."""

    sees_drafts = True

    def __init__(self, longest: list[int]) -> None:
        super().__init__()
        self.longest = iter(longest)
        self.offered: list[int] = []

    def answer(self, batch: Batch, plan: Plan, budget: np.ndarray) -> None:
        super().answer(batch, plan, budget)
        self.offered.append(int(batch.offered[batch.slots[0]]))
        batch.counts[NEXT_LONGEST] = next(self.longest)


def test_drafts_are_as_long_as_the_rule_said() -> None:
    budget = Sees([1, 0, 0, 128, 2, 0])
    bench = Bench(SeenDrafter(), budget)
    bench.prefill("a")
    got: list[Any] = []
    for _ in range(5):
        bench.drafter.asked.clear()
        got.append((bench.forward()["a"], bool(bench.drafter.asked)))
    # All of it at first; one token; none, and nobody is asked; none again; all.
    assert got == [(DRAFT, True), (DRAFT[:1], True), ([], False), ([], False), (DRAFT, True)]
    assert budget.offered == [3, 1, 0, 0, 3]


def test_an_rl_step_begins_with_drafts() -> None:
    bench = Bench(SeenDrafter(), Sees([0, 0, 0]))
    for rl_step in (1, 2):
        bench.policy.start_step(rl_step)
        bench.prefill("a")
        assert bench.forward() == {"a": DRAFT}
        bench.leave("a")
