"""Every budget, found by its file: planned, then called from Python as a live engine does."""

import numpy as np
import pytest

from longtail.policies.batch import DECODING, NO_CAP, empty_batch
from longtail.policies.components import BUDGETS
from longtail.policies.handles import pack
from longtail.policies.latency.presets import make_latency
from longtail.policies.profile import Profile
from longtail.policies.view import PastStep, StepView

N, LONGEST = 6, 8
LATENCY = make_latency("h100-7b")


def view(past: tuple[PastStep, ...], token_s: float = 1e-5) -> StepView:
    prompt = np.array([0, 0, 1, 1, 2, 2], np.int32)
    cap = np.full(N, NO_CAP, np.int32)
    return StepView(1, prompt, prompt + 5, cap, LONGEST, past, lambda t, r: 1e-2 + token_s * t)


def history() -> tuple[PastStep, ...]:
    length = np.array([10, 12, 60, 70, 300, 400], np.int32)
    drafts = np.full(int(length.sum()), 3, np.uint8)
    profile = Profile(drafts, drafts, np.concatenate([[0], length.cumsum()]).astype(np.int64))
    return (PastStep(0, np.array([0, 0, 1, 1, 2, 2], np.int32), length, profile),)


@pytest.mark.parametrize("past", [(), history()], ids=["cold", "with history"])
@pytest.mark.parametrize("name", list(BUDGETS.classes))
def test_a_rule_is_called_forward_by_forward(name: str, past: tuple[PastStep, ...]) -> None:
    budget = BUDGETS.make(name)
    plan = budget.plan(view(past))
    batch = empty_batch(view(past).prompt_len, view(past).cap)
    answer = np.full(N, -1, np.int32)
    for forward in range(50):
        decoding = np.array([4, 1, 3], np.int32)
        batch.slots[:3] = decoding
        batch.counts[DECODING] = 3
        budget.rule(pack(batch, plan, answer), LATENCY.seconds, LATENCY.params)
        assert (answer[decoding] >= 0).all() and (answer[decoding] <= 128).all()
        assert (np.delete(answer, decoding) == -1).all()  # nobody else is answered for
        batch.generated[decoding] += 1 + answer[decoding]
        batch.drafted[decoding] += answer[decoding]
        batch.forwards[decoding] = forward + 1


def test_das_gives_the_long_prompt_more_than_the_short_one() -> None:
    budget = BUDGETS.make("das")
    plan = budget.plan(view(history(), token_s=2e-3))  # dear: not everybody is worth a draft
    batch = empty_batch(view(history()).prompt_len, view(history()).cap)
    answer, granted = np.zeros(N, np.int32), np.zeros(N, np.int64)
    batch.slots[:] = np.arange(N)
    batch.counts[DECODING] = N
    for _ in range(9):
        budget.rule(pack(batch, plan, answer), LATENCY.seconds, LATENCY.params)
        granted += answer
        batch.drafted[:] += answer
    assert granted[4] > granted[0] and granted[5] > granted[1]
