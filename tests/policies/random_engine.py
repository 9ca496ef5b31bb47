"""An engine of a random fate that asks a budget's rule before each forward, and what tests of such
budgets share.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from longtail.policies.batch import DECODING, NO_CAP, empty_batch
from longtail.policies.drafters.cost import FREE, DraftCost
from longtail.policies.handles import pack
from longtail.policies.latency.presets import make_latency
from longtail.policies.view import PastStep, StepView

LINEAR = "linear:base=0.01,token=3e-4,kv_token=1e-7,pair=2e-8,draft=1e-5"
LATENCY = make_latency(LINEAR)
COST = DraftCost(once_s=2e-3, step_s=1e-3, most_steps=5, token_s=1e-5)
SIZES = (1, 2, 2, 3, 5, 21, 32, 39)
N, LONGEST = 40, 20
seeds = st.integers(0, 1 << 30)


def seconds(last: list[int]) -> float:
    tokens, requests, kv, pairs, prefill, drafts, _ = last
    return float(LATENCY.seconds(tokens, requests, kv, pairs, prefill, drafts, LATENCY.params))


def view_of(past: tuple[PastStep, ...] = (), cost: DraftCost = FREE, step: int = 3) -> StepView:
    prompt = np.arange(N, dtype=np.int32) % 7
    cap = np.full(N, NO_CAP, np.int32)
    return StepView(step, prompt, prompt + 5, cap, LONGEST, past, lambda t, r: 1.0, cost=cost)


class Engine:
    """Runs forwards of a random fate, and asks the rule before each."""

    def __init__(self, budget: Any, seed: int, view: StepView) -> None:
        self.rule, self.plan = budget.rule, budget.plan(view)
        self.rng, self.batch = random.Random(seed), empty_batch(view.prompt_len, view.cap)
        self.batch.forwards[:], self.batch.generated[:] = 1, 1  # prompts are prefilled
        self.decoding: list[int] = []

    @property
    def last(self) -> list[int]:
        """What the forward before was."""
        return list(map(int, self.batch.last))

    def ask(self, decoding: list[int]) -> list[int]:
        """Budgets of those who decode; nobody else has one."""
        answer = np.full(N, -1, np.int32)
        self.decoding = decoding
        self.batch.slots[: len(decoding)] = decoding
        self.batch.counts[DECODING] = len(decoding)
        self.rule(pack(self.batch, self.plan, answer), LATENCY.seconds, LATENCY.params)
        assert (np.delete(answer, decoding) == -1).all()
        given = answer[decoding].tolist()
        assert all(0 <= d <= 128 for d in given)
        return given

    def run(self, budgets: list[int], luck: float) -> None:
        """The forward: drafts as granted, or shorter; accepted as luck has it; at times a prompt is
        prefilled beside them, or somebody has to stand back.
        """
        rng, batch, requests = self.rng, self.batch, self.decoding
        if rng.random() < 0.1 and len(requests) > 1:
            requests, budgets = requests[:-1], budgets[:-1]
        prefill = rng.randint(1, 50) if rng.random() < 0.1 else 0
        total = good = kv = 0
        for i, most in zip(requests, budgets, strict=True):
            d = most if rng.random() < 0.7 else rng.randint(0, most)
            a = d if rng.random() < luck else rng.randint(0, d)
            kv += int(batch.prompt_len[i] + batch.generated[i]) + d
            batch.generated[i] += a + 1
            batch.drafted[i], batch.accepted[i] = batch.drafted[i] + d, batch.accepted[i] + a
            batch.forwards[i] += 1
            total, good = total + d, good + a
        count = len(requests) + (prefill > 0)
        tokens = len(requests) + total + prefill
        batch.last[:] = (tokens, count, kv, 3 * kv, prefill, total, good)

    def some(self) -> list[int]:
        """Who decodes next: few of them mostly."""
        return self.rng.sample(range(N), self.rng.choice(SIZES))


class Switch:
    """Off until so many pure decode forwards in a row were small; restarts when it turns on."""

    def __init__(self, limit: int, patience: int) -> None:
        self.limit, self.patience, self.row, self.on = limit, patience, 0, False

    def turns_on(self, last: list[int]) -> bool:
        requests, prefill = last[1], last[4]
        if requests and not prefill:
            self.row = self.row + 1 if requests <= self.limit else 0
        turned = not self.on and self.row >= self.patience
        self.on |= turned
        return turned
