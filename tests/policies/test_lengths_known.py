"""Who knows lengths: nobody but the oracle, which only a simulation gives what it asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from little_views import view_of, worlds
from small_workloads import Rollout, random_rollouts, workload_of

from longtail.engine.settings import LiveSettings
from longtail.policies.batch import Batch
from longtail.policies.budgets.das import Das
from longtail.policies.components import BUDGETS
from longtail.policies.lengths import PREDICTORS
from longtail.policies.registry import ComponentError, spec_of
from longtail.policies.view import StepView
from longtail.sim.simulate import Setup, simulate

ALL = list(PREDICTORS.classes)
HONEST = [name for name in ALL if name != "oracle"]


@pytest.mark.parametrize("name", HONEST)
@settings(max_examples=30, deadline=None)
@given(world=worlds)
def test_only_the_oracle_looks_at_recorded_lengths(
    name: str, world: tuple[StepView, Batch]
) -> None:
    view, _ = world
    assert view.recorded_len is not None
    plans = [
        PREDICTORS.make(name).plan(replace(view, recorded_len=told))
        for told in (view.recorded_len, view.recorded_len[::-1].copy(), None)
    ]
    for plan in plans[1:]:
        assert np.array_equal(plan.values, plans[0].values)
        assert np.array_equal(plan.request, plans[0].request)


def lengthened(rollouts: list[Rollout], which: int) -> list[Rollout]:
    longer = replace(rollouts[which], output=rollouts[which].output + [0, 1] * 40)
    return [*rollouts[:which], longer, *rollouts[which + 1 :]]


def first_difference(name: str, seed: int) -> tuple[int, int]:
    """(forward in which drafts first differ, forward in which one rollout ends) between two worlds
    in one of which that rollout goes on.
    """
    free = random_rollouts(seed, rl_steps=2, prompts=3, samples=4, longest=60, alphabet=2)
    rollouts = [replace(r, cap=1000) for r in free]
    setup = Setup.of(drafter="suffix:scope=both", budget=f"tail:lengths={name},refresh=1,trust=1")
    last = rollouts[-1].rl_step
    which = max(
        (i for i, r in enumerate(rollouts) if r.rl_step == last),
        key=lambda i: len(rollouts[i].output),
    )
    one, other = (
        simulate(workload_of(world), setup, rl_steps=[last], log=True).steps[0]
        for world in (rollouts, lengthened(rollouts, which))
    )
    first = next(i for i, r in enumerate(rollouts) if r.rl_step == last)
    ends = int(one.request_forwards[which - first])
    assert one.log is not None and other.log is not None
    differ = one.log["drafted"].to_numpy()[:ends] != other.log["drafted"].to_numpy()[:ends]
    return (int(differ.argmax()) if differ.any() else ends), ends


def test_what_is_yet_to_come_changes_no_draft_but_the_oracles() -> None:
    for name in HONEST:
        for seed in range(4):
            differs, ends = first_difference(name, seed)
            assert differs == ends, (name, seed)
    assert any(
        differs < ends for differs, ends in (first_difference("oracle", s) for s in range(9))
    )


class Told(Das):
    """Keeps what it is told."""

    views: list[StepView] = []  # noqa: RUF012

    def plan(self, view: StepView) -> Any:
        self.views.append(view)
        return super().plan(view)


def test_recorded_lengths_are_told_to_who_asks() -> None:
    load = workload_of(random_rollouts(1, 2, 2, 2, 20, 2))
    for knows in (False, True):
        budget = type("Knowing", (Told,), {"views": [], "knows_lengths": knows})()
        simulate(load, replace(Setup.of(), budget=budget))
        assert [view.recorded_len is not None for view in budget.views] == [knows] * 2


def test_an_engine_refuses_the_oracle() -> None:
    with pytest.raises(ComponentError, match=r"'tail:lengths=oracle' knows .* simulate it") as info:
        LiveSettings(budget="tail:lengths=oracle")
    assert "\n" not in str(info.value)
    for name in HONEST:
        assert LiveSettings(budget=f"tail:lengths={name}").budget.in_engine
    with pytest.raises(ComponentError, match="which only a simulation has"):
        PREDICTORS.make("oracle").plan(view_of([0], ()))


def test_results_say_so() -> None:
    for name in ALL:
        notes = Setup.of(budget=f"tail:lengths={name}").notes
        assert len(notes) == (name == "oracle") and all(name in note for note in notes)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(ComponentError, match="'oracel' is not one of classes, group, history"):
        BUDGETS.make("tail:lengths=oracel")
    with pytest.raises(ComponentError, match="did you mean 'oracle'"):
        PREDICTORS.make("oracel")


def test_options_of_the_one_chosen() -> None:
    predictor = BUDGETS.make("tail:general=.4,spread=.5").predictor
    assert spec_of(predictor) == "mixture:general=0.4,spread=0.5"
    assert BUDGETS.make("tail:lengths=noise,seed=3").predictor.seed == 3


def test_some_requests_alone() -> None:
    view = view_of([4, 5, 6], (), recorded_len=np.array([7, 8, 9], np.int32))
    part = view.take(np.array([2, 0]))
    assert part.prompt.tolist() == [6, 4] and len(part.cap) == len(part.prompt_len) == 2
    assert part.recorded_len is not None and part.recorded_len.tolist() == [9, 7]
    assert replace(view, recorded_len=None).take(np.array([1])).recorded_len is None
