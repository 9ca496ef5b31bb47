"""`tail` is the rule of docs/tail.md, computed here once more in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_views import past_of, view_of
from small_workloads import random_rollouts, workload_of

from longtail.policies.batch import (
    DECODING,
    MAX_DRAFT,
    NEXT_LONGEST,
    TREES,
    WAITING,
    Batch,
    empty_batch,
    read_only,
)
from longtail.policies.budgets.speeds import speed_table
from longtail.policies.budgets.tail import Tail
from longtail.policies.compiled import jit
from longtail.policies.drafters.cost import FREE, DraftCost
from longtail.policies.handles import pack
from longtail.policies.latency.presets import make_latency
from longtail.policies.lengths import PREDICTORS
from longtail.policies.lengths.ahead import left_of
from longtail.policies.lengths.known import POOL, SCENES
from longtail.policies.lengths.last import draw as draw_compiled
from longtail.policies.profile import perfect_profile
from longtail.policies.view import StepView
from longtail.sim.simulate import Setup, simulate

BASE_S, TOKEN_S = 1e-2, 1e-3
LATENCY = make_latency(f"linear:base={BASE_S},token={TOKEN_S}")


@jit()
def draw(j, s):
    return draw_compiled(j, s)


def test_each_request_has_each_quantile_once() -> None:
    orders = {tuple(draw(j, s) for s in range(SCENES)) for j in range(200)}
    assert all(sorted(order) == list(range(SCENES)) for order in orders)
    assert len(orders) > 60  # and they are not in step


def ask(tail: Tail, batch: Batch, view: StepView, budget: np.ndarray, told: Any = LATENCY) -> None:
    plan = tail.plan(view)  # kept until the rule has answered
    tail.rule(pack(batch, plan, budget), told.seconds, told.params)


def weights(left: list[np.ndarray], sharp: float) -> tuple[list[float], float, float]:
    n, result, expected, together = len(left), [0.0] * len(left), 0.0, 0.0
    for s in range(SCENES):
        now = [left[j][draw(j, s)] for j in range(n)]
        longest = max(1.0, *now)
        shares = [math.exp(sharp * (x / longest - 1)) for x in now]
        for j in range(n):
            result[j] += shares[j] / sum(shares) / SCENES
        expected += longest / SCENES
        together += sum(shares) ** 2 / sum(x * x for x in shares) / SCENES
    return result, expected, together


def pace(view: StepView, told: Any, n: int, context: int) -> tuple[float, float, int]:
    """Seconds per token, tokens per forward and draft length of n requests, all of whose drafts
    have the best same length; none where that is hardly faster than none.
    """
    paces = []
    for length, speed, drafts in speed_table(view.past[-1:], view.longest_draft).T.tolist():
        verified = round(n * drafts)
        tokens = n + verified
        now_s = seconds(told, tokens, n, n * context + verified, tokens * context, verified)
        if verified:
            cost = view.cost
            steps = min(length, cost.most_steps)
            now_s += cost.once_s + cost.step_s * steps + cost.token_s * verified
        paces.append((now_s / speed, speed, int(length)))
    best = min(paces, key=lambda each: each[0])
    return best if 1.1 * best[0] < paces[0][0] else (*best[:2], 0)


def seconds(told: Any, tokens: int, n: int, kv: int, pairs: int, drafts: int) -> float:
    return float(told.seconds(tokens, n, kv, pairs, 0, drafts, told.params))


def chances_of(batch: Batch, slots: list[int]) -> list[list[float]]:
    chances: list[list[float]] = []
    for i in slots:
        mine, chance = [], 1.0
        for t in range(int(batch.offered[i])):
            own_chance = float(batch.chances[batch.labels[batch.labels_at[i] + t]])
            chance = min(chance, own_chance) if batch.counts[TREES] else chance * own_chance
            mine.append(chance)
        chances.append(mine)
    return chances


def decided(
    tail: Tail, batch: Batch, view: StepView, told: Any, counts: list[float] | None = None
) -> tuple[list[int], int, list[float]]:
    """The rule as docs/tail.md has it: budgets, how long drafts are wished for by history, and who
    counts how much (looked up, unless given as `counts`).
    """
    n = int(batch.counts[DECODING])
    slots = batch.slots[:n].tolist()
    known = tail.predictor.plan(view)
    left, pool = list(left_of(known, batch)), known.values[POOL:]
    weight, longest, together = weights(left, tail.sharp)
    mean = float(pool.mean()) if len(pool) else 0.0
    trust = tail.trust * (1 - min(1.0, float(batch.counts[WAITING]) * mean / (n * longest)))
    counted = counts or [trust * w + (1 - trust) / n for w in weight]
    m = min(n, max(1, round(together)))
    kv = int((batch.prompt_len[slots] + batch.generated[slots]).sum())
    context, more = kv // n, max(1, n // 4)
    plain_s = seconds(told, n, n, kv, kv, 0)
    token_s = (seconds(told, n + more, n, kv, kv, 0) - plain_s) / more
    last_s, speed, wish = pace(view, told, m, context)
    common_s = token_s
    if n > m and not view.cost.free:
        now_s, _, wish = pace(view, told, n, context)
        common_s = max((now_s - last_s) / (n - m), token_s)
    elif n > 1:
        without_s = seconds(told, n - 1, n - 1, kv - context, kv - context, 0)
        common_s += max(plain_s - token_s - without_s, 0.0) / speed
    last_s = max(last_s - m * common_s, 0.0)
    chances = chances_of(batch, slots)
    usual = 1 + sum(map(sum, chances)) / n
    tokens = []  # class, expected gain, request, place in its draft
    for j, mine in enumerate(chances):
        worth_s = counted[j] * last_s + common_s - token_s
        each_s = token_s + worth_s * math.sqrt(usual / (1 + sum(mine)))
        for t, chance in enumerate(mine):
            gain_s = chance * each_s
            tokens.append((class_of(gain_s), gain_s, j, t))
    # One class after the other, a few tokens at a time: which count leaves most?
    tokens.sort(key=lambda token: -token[0])
    best_s, count, gain_s, done = 0.0, 0, 0.0, 0
    for _, group in groupby(tokens, key=lambda token: token[0]):
        members = list(group)
        mean_s = sum(token[1] for token in members) / len(members)
        for k in range(1, len(members) + 1):
            if k % max(1, n // 8) == 0 or k == len(members):
                size = done + k
                longer_s = seconds(told, n + size, n, kv + size, kv + size * context, size)
                now_s = gain_s + k * mean_s - (longer_s - plain_s)
                if now_s > best_s + 1e-15:
                    best_s, count = now_s, size
        gain_s, done = gain_s + len(members) * mean_s, done + len(members)
    chosen, budgets = {token[2:] for token in tokens[:count]}, [0] * n
    for j in range(n):
        while (j, budgets[j]) in chosen:
            budgets[j] += 1
    return budgets, wish, counted


def class_of(gain_s: float) -> int:
    return math.floor(4 * math.log2(gain_s / 1e-9)) if gain_s > 1e-9 else 0


TOLD = (
    LATENCY,
    make_latency("linear:base=1e-2,token=1e-4,request=2e-4,kv_token=1e-6,pair=1e-8"),
    make_latency("roofline:model=qwen2.5-32b,gpu=h100"),  # draft tokens are free up to a knee
)


def some_batch(
    seed: int, n: int, trees: bool, history: bool, cost: DraftCost, waiting: int
) -> tuple[StepView, Batch, np.ndarray]:
    """Some of whom decode, some of whom are over; and who decodes."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, 3, n).tolist()
    past = past_of([rng.integers(1, 90, 5).tolist() for _ in range(3)]) if history else ()
    if past:  # with drafts that history had
        full = replace(
            past[0], profile=perfect_profile(past[0].output_len, int(rng.integers(1, 9)))
        )
        past = (full,)
    view = view_of(prompt, past, cost=cost)
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    labels = rng.integers(0, 256, 16 * n).astype(np.uint8)
    chances = rng.random(256) ** 0.3
    if trees:  # the likeliest nodes come first
        chances = np.sort(chances)[::-1].copy()
        labels = np.sort(labels.reshape(n, 16)).ravel()
    batch = batch._replace(labels=read_only(labels), chances=chances)
    decoding = rng.permutation(n)[: rng.integers(1, n + 1)]
    over = np.setdiff1d(np.arange(n), decoding)
    batch.ended[over] = rng.integers(1, 90, len(over))
    batch.slots[: len(decoding)] = decoding
    batch.generated[:] = rng.integers(1, 60, n)
    batch.offered[:], batch.labels_at[:] = rng.integers(0, 17, n), 16 * np.arange(n)
    batch.counts[[DECODING, WAITING, TREES]] = len(decoding), waiting, trees
    return view, batch, decoding


COSTS = (FREE, DraftCost(2e-3, 1e-3, 4.0, 1e-4))
batches = st.builds(
    some_batch,
    seed=st.integers(0, 1 << 30),
    n=st.integers(1, 12),
    trees=st.booleans(),
    history=st.booleans(),
    cost=st.sampled_from(COSTS),
    waiting=st.sampled_from([0, 3]),
)


@settings(max_examples=300, deadline=None)
@given(batches, st.sampled_from(TOLD), st.sampled_from([0.0, 0.7, 1.0]))
def test_the_rule_by_definition(
    made: tuple[StepView, Batch, np.ndarray], told: Any, trust: float
) -> None:
    view, batch, decoding = made
    tail, budget = Tail(trust=trust), np.full(len(view.prompt), -1, np.int32)
    ask(tail, batch, view, budget, told)
    budgets, wish, _ = decided(tail, batch, view, told)
    assert budget[decoding].tolist() == budgets
    longest = batch.counts[NEXT_LONGEST]
    assert longest == MAX_DRAFT if view.cost.free else wish <= longest <= MAX_DRAFT
    assert (np.delete(budget, decoding) == -1).all()


@pytest.mark.parametrize("refresh", [1, 16])
def test_who_counts_is_looked_up_now_and_then(refresh: int) -> None:
    """Between two looks those who have just come count 1/n, and the others what they did."""
    past = past_of([[10, 11, 12], [400, 420, 500], [90, 300]])
    view = view_of([0, 1, 2] * 6, past)
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    batch = batch._replace(labels=read_only(np.zeros(16, np.uint8)))
    batch.chances[0], batch.offered[:], batch.generated[:] = 0.6, 8, 1
    batch.slots[:], batch.counts[DECODING] = np.arange(18), 17
    tail, budget = Tail(refresh=refresh), np.zeros(18, np.int32)
    plan = tail.plan(view)
    handles = pack(batch, plan, budget)
    tail.rule(handles, LATENCY.seconds, LATENCY.params)
    first, _, before = decided(tail, batch, view, LATENCY)
    assert budget[:17].tolist() == first
    batch.counts[DECODING], batch.generated[:17] = 18, 40
    tail.rule(handles, LATENCY.seconds, LATENCY.params)
    then, _, _ = decided(tail, batch, view, LATENCY, None if refresh == 1 else [*before, 1 / 18])
    assert budget.tolist() == then


def test_alone_a_token_is_drafted_if_its_odds_pay() -> None:
    """P / (1 - P) > c_tok / c_base, whatever is known of lengths."""
    view = view_of([0], ())
    for ratio in (0.02, 0.5, 2.0):
        latency = make_latency(f"linear:base=1e-2,token={1e-2 * ratio}")
        for chance, wanted in ((0.99 * ratio / (1 + ratio), 0), (1.01 * ratio / (1 + ratio), 1)):
            batch = empty_batch(view.prompt_len, view.cap, view.prompt)
            batch = batch._replace(labels=read_only(np.zeros(1, np.uint8)))
            batch.chances[0], batch.offered[0], batch.counts[DECODING] = chance, 1, 1
            tail, budget = Tail(), np.zeros(1, np.int32)
            ask(tail, batch, view, budget, latency)
            assert budget[0] == wanted


def test_who_has_more_to_go_gets_more() -> None:
    view = view_of([0, 1], past_of([[10, 11, 12], [400, 420, 500]]))
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    batch = batch._replace(labels=read_only(np.zeros(16, np.uint8)))
    batch.chances[0], batch.offered[:], batch.counts[DECODING] = 0.6, 8, 2
    batch.slots[:], batch.generated[:] = [0, 1], 1
    budget, tail = np.zeros(2, np.int32), Tail(general=0.2)
    ask(tail, batch, view, budget)
    assert budget[1] > budget[0]


@pytest.mark.parametrize("seed", range(3))
def test_it_runs_to_the_end_and_shortens(seed: int) -> None:
    rollouts = random_rollouts(seed, rl_steps=3, prompts=4, samples=4, longest=120, alphabet=2)
    load = workload_of(rollouts)
    results: dict[str, Any] = {}
    for budget in ("fixed:k=0", "tail", "tail:trust=1,refresh=1"):
        setup = Setup.of(drafter="suffix:scope=both", budget=budget)
        results[budget] = simulate(load, setup).makespan_s
        assert results[budget] == simulate(load, setup).makespan_s  # the same again
    assert results["tail"] < 0.9 * results["fixed:k=0"]


@pytest.mark.parametrize("lengths", PREDICTORS.classes)
def test_it_runs_to_the_end_with_any_lengths(lengths: str) -> None:
    rollouts = random_rollouts(5, rl_steps=3, prompts=4, samples=4, longest=120, alphabet=2)
    load = workload_of(rollouts)
    drafter, budget = "suffix:scope=both", f"tail:lengths={lengths}"
    result = simulate(load, Setup.of(drafter=drafter, budget=budget))
    assert result.total("finished") == len(rollouts)
    assert result.total("output_tokens") == sum(len(r.output) for r in rollouts)
    assert (
        result.makespan_s < simulate(load, Setup.of(drafter=drafter, budget="fixed:k=0")).makespan_s
    )
    assert result.to_json()["notes"] == list(result.setup.budget.notes)
