"""Whatever fails in a policy costs drafts only, and what is granted is never exceeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fake_policy import DRAFT, VOCAB, Bench, CountingBudget, FakeBudget, FakeDrafter

from longtail.policies.batch import DECODING, NO_CAP, Batch, Plan
from longtail.policies.view import StepView

# Drafters that fail


@pytest.mark.parametrize("method", ["start_step", "begin", "extend", "draft", "finish"])
def test_a_drafter_that_raises_costs_drafts_only(method: str) -> None:
    bench = Bench(FakeDrafter(bad=method))
    for rl_step in (1, 2, 3):
        bench.policy.start_step(rl_step)
        bench.prefill("a", "b")
        for _ in range(2):
            drafts = bench.forward()
            undrafted = method in ("begin", "extend", "draft")
            assert drafts == {name: [] if undrafted else DRAFT for name in "ab"}
        bench.leave("a")
        bench.leave("b")
    counts = {"start_step": 3, "begin": 6, "extend": 3, "draft": 9, "finish": 6}
    assert bench.faults == {method: counts[method]}
    (warning,) = bench.warnings
    assert f"{method} is broken" in warning


def test_one_request_that_cannot_be_drafted_does_not_stop_the_others() -> None:
    def made(requests: Sequence[str]) -> list[np.ndarray]:
        if "bad" in requests:
            raise KeyError("bad")
        return [np.array(DRAFT) for _ in requests]

    bench = Bench(FakeDrafter(made))
    bench.prefill("a", "bad", "b")
    for _ in range(3):
        assert bench.forward() == {"a": DRAFT, "bad": [], "b": DRAFT}
    assert bench.faults == {"draft": 2}  # all three, then the one: it is not asked again
    bench.prefill("c")
    assert bench.forward()["c"] == DRAFT


def test_requests_that_come_after_a_failure_are_drafted() -> None:
    bench = Bench(FakeDrafter(bad="extend"))
    bench.prefill("a")
    bench.drafter.bad = ""
    bench.prefill("b")
    assert bench.forward() == {"a": [], "b": DRAFT}
    bench.leave("a")
    bench.leave("b")
    assert [name for name, _ in bench.drafter.learnt] == ["b"]  # of a, it missed a part


@pytest.mark.parametrize(
    ("made", "expected", "fault"),
    [
        ([1, 2], [1, 2], None),
        ((3,), [3], None),
        (np.array([1, 2], np.uint8), [1, 2], None),
        (np.array([], float), [], None),
        ([], [], None),
        ([1, -1, 2], [1], "junk"),
        ([1, 2, VOCAB], [1, 2], "junk"),
        (np.array([1, 2**40]), [1], "junk"),
        ([-1], [], "junk"),
        ([1.5, 2.0], [], "draft"),
        (np.array([1.0]), [], "draft"),
        (np.array([True, False]), [], "draft"),
        (None, [], "draft"),
        (5, [], "draft"),
        ("12", [], "draft"),
        (["1"], [], "draft"),
        ([1, None], [], "draft"),
        ([2**80], [], "draft"),
        ([[1, 2], [3, 4]], [], "draft"),
        (np.array([[1, 2]]), [], "draft"),
        ([[1], [2, 3]], [], "draft"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4], "length"),
        (np.arange(200, dtype=np.int32) % 9, [0, 1, 2, 3], "length"),
        ([1, 2, 3, 4, 5, -6], [1, 2, 3, 4], "length"),
    ],
)
@pytest.mark.parametrize("company", [False, True])
def test_what_cannot_be_verified_is_cut(
    made: Any, expected: list[int], fault: str | None, company: bool
) -> None:
    """Alone, and beside a request whose drafts are sound."""
    names = ["a", "b"] if company else ["a"]
    sound = np.array(DRAFT, np.int32)
    bench = Bench(FakeDrafter(lambda requests: [made if r == "a" else sound for r in requests]))
    bench.prefill(*names)
    drafts = bench.forward()
    assert drafts["a"] == expected
    assert all(type(token) is int for token in drafts["a"])
    assert not company or drafts["b"] == DRAFT
    assert fault is None if not bench.faults else fault in bench.faults
    assert len(bench.warnings) == len(bench.faults)


@pytest.mark.parametrize("made", [None, 3, [], [np.array([1])], [[1]] * 3, "ab", {"a": [1]}])
def test_a_wrong_number_of_drafts(made: Any) -> None:
    bench = Bench(FakeDrafter(lambda requests: made))
    bench.prefill("a", "b")
    drafts = bench.forward()
    assert set(drafts) == {"a", "b"} and all(d in ([], [1]) for d in drafts.values())
    assert bench.faults["draft"]


def test_drafts_may_come_in_any_iterable() -> None:
    bench = Bench(FakeDrafter(lambda requests: (np.array(DRAFT) for _ in requests)))
    bench.prefill("a", "b")
    assert bench.forward() == {"a": DRAFT, "b": DRAFT}
    assert not bench.faults


def test_an_aborted_request_is_not_learnt() -> None:
    bench = Bench()
    bench.prefill("a", "b")
    bench.leave("a", learn=False)
    bench.leave("b")
    assert bench.drafter.learnt == [("b", [1, 2, 5])]


def test_what_the_drafter_is_told() -> None:
    """A request begins with its first token, and hears of all of them."""
    bench = Bench()
    bench.arrive("a", "never ran")
    bench.running.remove("never ran")
    assert bench.drafter.texts == {}
    bench.policy.gained(["a"], [[5]], [0], [0])
    bench.policy.gained(["a"], [[6, 7, 8]], [3], [2])
    assert bench.drafter.texts == {"a": [1, 2, 5, 6, 7, 8]}
    request = bench.policy.leave("a", [5, 6, 7, 8])
    assert bench.policy.counts(request) == (2, 3, 2)
    bench.policy.leave("never ran", [], learn=False)
    assert not bench.faults


# Budgets that fail


def test_a_rule_that_raises_costs_drafts_only() -> None:
    bench = Bench(budget=FakeBudget(bad="rule"))
    bench.prefill("a")
    for _ in range(3):
        assert bench.forward() == {"a": []}
    assert bench.faults == {"rule": 3} and len(bench.warnings) == 1
    bench.policy.settings.budget.bad = ""
    assert bench.forward() == {"a": DRAFT}


@pytest.mark.parametrize("bad", ["plan", "rows"])
def test_a_plan_that_fails_costs_drafts_only(bad: str) -> None:
    bench = Bench(budget=FakeBudget(bad=bad))
    bench.prefill("a")
    for _ in range(3):
        assert bench.forward() == {"a": []}
    assert bench.faults == {"plan": 1} and len(bench.warnings) == 1
    bench.policy.settings.budget.bad = ""
    bench.prefill("b")
    assert bench.forward() == {"a": DRAFT, "b": DRAFT}


def test_nobody_inherits_a_row_where_a_plan_fails() -> None:
    bench = Bench(budget=CountingBudget())
    bench.prefill("a")
    for _ in range(5):
        bench.forward()
    bench.leave("a")
    bench.policy.settings.budget.bad = "plan"
    bench.prefill("b")
    assert bench.forward() == {"b": []}


def test_a_profile_that_raises_is_a_fault_and_the_past_is_empty() -> None:
    budget = FakeBudget(past_steps=None)
    bench = Bench(budget=budget)
    bench.prefill("a")
    bench.leave("a")
    bench.policy.start_step(1)
    bench.prefill("b")
    assert bench.forward() == {"b": DRAFT}
    assert bench.faults == {"history": 1}
    assert budget.views[-1].past == ()


# Budgets are obeyed


@pytest.mark.parametrize(
    ("grant", "size"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (128, 3), (-1, 0), (-(2**31), 0)]
)
def test_no_more_than_granted(grant: int, size: int) -> None:
    bench = Bench(budget=FakeBudget(grant))
    bench.prefill("a")
    assert bench.forward() == {"a": DRAFT[:size]}
    assert bool(bench.drafter.asked) == (grant > 0)  # nobody is asked in vain


@pytest.mark.parametrize(
    ("override", "size"), [(0, 0), (2, 2), (3, 3), (1 << 40, 3), (-5, 0), (None, 1)]
)
def test_a_request_may_bring_its_own_budget(override: int | None, size: int) -> None:
    bench = Bench(budget=FakeBudget(1))
    bench.prefill("a", budget=override)
    bench.prefill("b")
    assert bench.forward() == {"a": DRAFT[:size], "b": DRAFT[:1]}
    bench.leave("a")
    bench.prefill("c")  # in the same seat
    assert bench.forward()["c"] == DRAFT[:1]


def test_no_draft_beyond_the_cap() -> None:
    bench = Bench()
    bench.prefill("a", cap=5)
    bench.prefill("b", cap=int(NO_CAP) + 7)
    bench.prefill("c", cap=-(2**40))
    sizes = []
    for _ in range(4):
        drafts = bench.forward()
        sizes.append(len(drafts["a"]))
        assert drafts["b"] == DRAFT and drafts["c"] == []
    assert sizes == [3, 2, 1, 0]  # the last token is the bonus


def test_k_is_the_policys() -> None:
    bench = Bench(longest_draft=2)
    bench.prefill("a", budget=4)
    assert bench.forward() == {"a": DRAFT[:2]}
    assert not bench.faults  # it is the budget that cuts, not a drafter that errs
    silent = Bench(longest_draft=0)
    silent.prefill("a")
    assert silent.forward() == {"a": []} and silent.drafter.asked == []


def test_rows_survive_growth_and_later_arrivals() -> None:
    """Each request's row counts its own forwards, whoever comes and goes."""
    drafter = FakeDrafter(lambda requests: [np.array([1, 2, 3, 4]) for _ in requests])
    bench = Bench(drafter, CountingBudget())
    age: dict[str, int] = {}
    for turn in range(40):
        for j in range(7):
            bench.prefill(f"{turn}.{j}")
            age[f"{turn}.{j}"] = 0
        drafts = bench.forward()
        assert {name: len(draft) for name, draft in drafts.items()} == {
            name: min(count, 4) for name, count in age.items()
        }
        age = {name: count + 1 for name, count in age.items()}
        for name in list(age)[:: 20 if turn % 2 else 30]:
            bench.leave(name)
            del age[name]
    assert len(age) > 64 and not bench.faults


def test_the_values_of_the_largest_plan_stay() -> None:
    class Crowd(FakeBudget):
        """Grants as many tokens as there were requests to plan for."""

        def plan(self, view: StepView) -> Plan:
            return Plan(np.array([float(len(view.prompt))]), np.zeros((len(view.prompt), 1)))

        def answer(self, batch: Batch, plan: Plan, budget: np.ndarray) -> None:
            budget[batch.slots[: batch.counts[DECODING]]] = int(plan.values[0])

    bench = Bench(budget=Crowd())
    bench.prefill("a", "b")
    assert bench.forward() == {"a": DRAFT[:2], "b": DRAFT[:2]}
    bench.leave("a")
    bench.leave("b")
    bench.prefill("c")
    assert bench.forward() == {"c": DRAFT[:2]}
    bench.policy.start_step(1)  # c runs on
    assert bench.forward() == {"c": DRAFT[:1]}


def test_what_a_plan_sees() -> None:
    budget = FakeBudget()
    bench = Bench(budget=budget, latency="linear:base=2,token=3", longest_draft=3)
    bench.policy.start_step(4)
    bench.arrive("a", "b", prompt_id="p")
    bench.arrive("c", prompt_id="q", cap=9)
    bench.policy.propose([], waiting=3, prefilling=0, kv_tokens=0)
    (view,) = budget.views
    assert (view.rl_step, view.longest_draft, view.past) == (4, 3, ())
    assert view.prompt[0] == view.prompt[1] != view.prompt[2]
    assert view.prompt_len.tolist() == [2, 2, 2]
    assert view.cap.tolist() == [NO_CAP, NO_CAP, 9]
    assert view.forward_s(10, 2) == 32.0
