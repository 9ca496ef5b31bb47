"""What a drafter's own forwards cost: for what is verified, or for all that was made for a rule to
see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from small_setups import LINEAR
from small_workloads import Rollout, workload_of

from longtail.policies.batch import DECODING, NEXT_LONGEST, NO_CAP, RULE_SIGNATURE, Plan
from longtail.policies.compiled import jit
from longtail.policies.handles import unpack
from longtail.policies.view import StepView
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate

STEP_S, DRAFT_S, K = 1e-3, 1e-4, 3
DRAFTER = f"learned:table=nemo-eagle3,k={K},step={STEP_S},token={DRAFT_S}"
FREE = f"learned:table=nemo-eagle3,k={K}"
EACH_S = K * STEP_S + K * DRAFT_S  # one request's draft
LENGTHS = (9, 5)


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    for j in range(batch.counts[DECODING]):
        budget[batch.slots[j]] = np.int32(plan.values[0])
    batch.counts[NEXT_LONGEST] = np.int64(plan.values[1])


@dataclass(frozen=True)
class Sees:
    """Grants as told, once drafts are made."""

    name: ClassVar[str] = "sees"
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0
    sees_drafts: ClassVar[bool] = True

    grant: int = 0
    then: int = 128

    def plan(self, view: StepView) -> Plan:
        return Plan(np.array([self.grant, self.then], float), np.zeros((len(view.prompt), 1)))


@dataclass(frozen=True)
class Blind(Sees):
    """The same, without a look."""

    sees_drafts: ClassVar[bool] = False


# The second way has every forward in full, the first none but the prefill.
limits = pytest.mark.parametrize("limits", [Limits(), Limits(max_num_batched_tokens=7)])


def run(budget: Any, limits: Limits, drafter: str) -> Any:
    load = workload_of([Rollout(0, p, [0], [1] * n, int(NO_CAP)) for p, n in enumerate(LENGTHS)])
    setup = Setup.of(drafter=drafter, latency=LINEAR, limits=limits)
    return simulate(load, replace(setup, budget=budget))


def makespan_s(budget: Any, limits: Limits, drafter: str = DRAFTER) -> float:
    return float(run(budget, limits, drafter).makespan_s)


@limits
def test_drafts_that_a_rule_sees_are_paid_for_whatever_it_grants(limits: Limits) -> None:
    plain = makespan_s(Sees(grant=0), limits, FREE)
    assert makespan_s(Blind(grant=0), limits) == plain  # none are made
    both, one = min(LENGTHS) - 1, max(LENGTHS) - min(LENGTHS)  # forwards that decode
    made = both * (EACH_S + K * DRAFT_S) + one * EACH_S
    assert makespan_s(Sees(grant=0), limits) == pytest.approx(plain + made, rel=1e-12)


@limits
def test_none_are_made_if_the_rule_said_so(limits: Limits) -> None:
    once = EACH_S + K * DRAFT_S  # in the first forward nothing had been said yet
    for grant in (0, 2):
        paid, free = (run(Sees(grant, then=0), limits, drafter) for drafter in (DRAFTER, FREE))
        assert paid.makespan_s - free.makespan_s == pytest.approx(once, rel=1e-9)
        assert sum(step.draft_tokens for step in paid.steps) == grant * len(
            LENGTHS
        )  # nor verified later


@limits
def test_shorter_drafts_cost_less(limits: Limits) -> None:
    spent = [makespan_s(Sees(0, then), limits) for then in (0, 1, 2, 3, 128)]
    assert spent == sorted(spent) and len(set(spent)) == 4
