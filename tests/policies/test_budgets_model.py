"""Budgets that weigh gain against cost: each rule against its definition in plain Python."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from budget_definitions import COSTS, Acceptance, algorithm_1, forward_s
from hypothesis import event, given, settings
from hypothesis import strategies as st
from small_workloads import random_rollouts, workload_of

from longtail.policies.batch import DECODING, NO_CAP, TREES, Batch, Plan, empty_batch, read_only
from longtail.policies.components import BUDGETS
from longtail.policies.drafters.cost import FREE, DraftCost
from longtail.policies.handles import pack
from longtail.policies.latency.presets import make_latency
from longtail.policies.profile import Profile
from longtail.policies.view import PastStep, StepView
from longtail.sim.simulate import Setup, simulate

MINE = ("adaptive_verification", "classes", "fastgrpo", "goodput", "mba")
LINEAR = make_latency({"name": "linear", **COSTS})
STEPPED = make_latency("piecewise:capture=4/8/16/32/64")
COST = DraftCost(once_s=1e-3, step_s=4e-4, most_steps=3, token_s=2e-5)
DEAR = DraftCost(once_s=1e-2, step_s=5e-3, most_steps=3, token_s=5e-4)
SIBLINGS, K = 3, 6  # requests of a prompt; longest draft

seeds = st.integers(0, 1 << 30)


def view(n: int, past: tuple[PastStep, ...] = (), cost: DraftCost = FREE, k: int = K) -> StepView:
    prompt = np.arange(n, dtype=np.int32) // SIBLINGS
    cap = np.full(n, NO_CAP, np.int32)
    return StepView(1, prompt, prompt + 5, cap, k, past, lambda t, r: 1e-2 + 1e-4 * t, cost=cost)


def ask(budget: Any, plan: Plan, batch: Batch, latency: Any = LINEAR) -> np.ndarray:
    """The rule's answer, -1 for whoever was not answered for."""
    answer = np.full(len(batch.slots), -1, np.int32)
    budget.rule(pack(batch, plan, answer), latency.seconds, latency.params)
    return answer


def decode(batch: Batch, who: np.ndarray) -> None:
    batch.slots[: len(who)], batch.counts[DECODING] = who, len(who)


def step_of(rng: np.random.Generator, rl_step: int = 0, longest: int = 40) -> PastStep:
    """A random RL step that is over."""
    length = rng.integers(1, longest, 6).astype(np.int32)
    offsets = np.concatenate([[0], length.cumsum()]).astype(np.int64)
    drafted = rng.integers(0, K + 1, offsets[-1]).astype(np.uint8)
    left = np.repeat(offsets[1:], length) - np.arange(offsets[-1])
    matched = np.minimum(rng.integers(0, K + 1, offsets[-1]), np.minimum(drafted, left))
    profile = Profile(drafted, matched.astype(np.uint8), offsets)
    return PastStep(rl_step, np.arange(6, dtype=np.int32) // SIBLINGS, length, profile)


@pytest.mark.parametrize("spec", ["goodput", "mba", "mba:benefit=survival,most=3,priority=1.2"])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, cold=st.floats(0.05, 0.95), warm=st.booleans())
def test_draft_lengths_by_tokens_per_second(spec: str, seed: int, cold: float, warm: bool) -> None:
    rng = np.random.default_rng(seed)
    n, half_life = int(rng.integers(1, 13)), float(rng.uniform(1, 20))
    cost = COST if rng.random() < 0.5 else FREE
    known = Acceptance(cold, half_life)
    past = (step_of(rng),) if warm else ()
    for step in past:
        known.learn_step(step)
    sep = "," if ":" in spec else ":"
    budget = BUDGETS.make(f"{spec}{sep}cold={cold!r},half_life={half_life!r}")
    # A step before the last one is history no more.
    plan = budget.plan(view(n, (*(step_of(rng, -1) for _ in past), *past), cost))
    batch = empty_batch(rng.integers(1, 500, n), np.full(n, NO_CAP))
    # Prefilled; what was verified with the prompt is no draft of ours.
    batch.forwards[:], batch.generated[:], batch.drafted[:], batch.accepted[:] = 1, 9, 20, 8
    unseen: dict[int, tuple[int, int]] = {}  # outcomes show when a request decodes again
    good = rng.random()
    for _ in range(12):
        who = rng.permutation(np.flatnonzero(rng.random(n) < 0.8)).astype(np.int32)
        if not len(who):
            continue
        decode(batch, who)
        known.seen.append([unseen.pop(i) for i in who.tolist() if i in unseen])
        answer = ask(budget, plan, batch)
        assert (np.delete(answer, who) == -1).all()
        alpha = known.rate(0, K)
        per_token = [
            forward_s(batch, who, k, cost) / sum(alpha**j for j in range(k + 1))
            for k in range(K + 1)
        ]
        if budget.name == "goodput":
            (k,) = set(answer[who].tolist())
            assert per_token[k] <= min(per_token) * (1 + 1e-9)
            event(f"k = {k}")
        else:
            survive = [math.prod(known.rate(p, p + 1) for p in range(j)) for j in range(K + 1)]
            probes = [i for i in who.tolist() if i % SIBLINGS == 0]
            high, low, beta = len(probes), len(who) - len(probes), survive + [0.0] * 130
            gamma = int(np.argmin(per_token))
            given_to = {i in probes: int(answer[i]) for i in who.tolist()}
            assert answer[who].tolist() == [given_to[i in probes] for i in who.tolist()]
            for line_4 in (high, high + low):  # in arXiv v3, and in the OSDI text: the same
                allowed = [
                    algorithm_1(gamma, high, low, beta, budget.most, lam, budget.benefit, line_4)
                    for lam in budget.priority * (1 + 1e-9 * np.arange(-1, 2))  # rounding at ties
                ]
                assert any(
                    (given_to.get(True, g_h), given_to.get(False, g_l)) == (g_h, g_l)
                    for g_h, g_l in allowed
                )
            more = given_to.get(True, 0) > given_to.get(False, 0)
            event(f"probes get {'more' if more else 'no more'}")
        for i in who.tolist():
            d = min(int(answer[i]), K) if rng.random() < 0.7 else int(rng.integers(0, K + 1))
            d = min(d, int(answer[i]))
            a = next((p for p in range(d) if rng.random() > good), d)
            batch.generated[i] += a + 1
            batch.forwards[i] += 1
            batch.drafted[i] += d
            batch.accepted[i] += a
            unseen[i] = d, a


@pytest.mark.parametrize("name", ["goodput", "mba"])
def test_drafting_is_tried_again(name: str) -> None:
    """After bad luck nothing is drafted; what was seen fades, and drafts are back."""
    budget, n = BUDGETS.make(f"{name}:cold=0.9,half_life=4"), 2
    plan, batch = budget.plan(view(n)), empty_batch(np.full(n, 5), np.full(n, NO_CAP))
    decode(batch, np.arange(n, dtype=np.int32))
    lengths = []
    for _ in range(60):
        k = ask(budget, plan, batch, make_latency("linear:base=0.001,token=0.0009"))[0]
        lengths.append(int(k))
        batch.forwards[:] += 1
        batch.generated[:] += 1
        batch.drafted[:] += k
    first = lengths.index(0)
    assert lengths[0] > 0 and any(lengths[first:])


def test_goodput_knows_its_extremes() -> None:
    """A token as dear as a forward is not worth a draft, one for nothing always is."""
    batch = empty_batch(np.full(4, 5), np.full(4, NO_CAP))
    decode(batch, np.arange(4, dtype=np.int32))
    for latency, k in (("linear:base=0,token=0.01", 0), ("linear:base=0.01,token=0", K)):
        budget = BUDGETS.make("goodput")
        answer = ask(budget, budget.plan(view(4)), batch, make_latency(latency))
        assert answer.tolist() == [k] * 4


def offer(rng: np.random.Generator, n: int, longest: int, trees: bool = False) -> Batch:
    """A batch of n decoding requests with drafts at hand."""
    batch = empty_batch(rng.integers(1, 300, n), np.full(n, NO_CAP))
    labels, few = rng.integers(0, 256, n * longest).astype(np.uint8), rng.random() < 0.5
    chances = rng.choice([0.0, 0.25, 0.5, 1.0], 256) if few else rng.beta(3, 1, 256)  # ties, none
    batch = batch._replace(labels=read_only(labels), chances=chances)
    batch.generated[:] = rng.integers(1, 300, n)
    batch.offered[:] = rng.integers(0, longest + 1, n)
    batch.labels_at[:] = np.arange(n) * longest
    batch.counts[TREES] = trees
    decode(batch, rng.permutation(n).astype(np.int32))
    return batch


def scores(batch: Batch, i: int) -> list[float]:
    at = int(batch.labels_at[i])
    own = batch.chances[batch.labels[at : at + batch.offered[i]]].tolist()
    return list(itertools.accumulate(own, min if batch.counts[TREES] else lambda a, b: a * b))


def per_second(batch: Batch, taken: list[int], latency: Any, cost: DraftCost) -> float:
    """Expected tokens over seconds if request i verifies taken[i] tokens."""
    n, m = len(taken), sum(taken)
    held = int((batch.prompt_len + batch.generated).sum())
    seconds = latency.seconds(n + m, n, held + m, int(held + m * (held / n)), 0, m, latency.params)
    if deepest := int(batch.offered.max()):
        seconds += cost.once_s + cost.step_s * min(deepest, cost.most_steps)
        seconds += cost.token_s * int(batch.offered.sum())
    tokens = sum(sum(scores(batch, i)[:d]) for i, d in enumerate(taken))
    return (n + tokens) / seconds


@pytest.mark.parametrize("latency", [LINEAR, STEPPED], ids=["linear", "stepped"])
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_no_other_budgets_verify_more_per_second(latency: Any, seed: int) -> None:
    """Against every way to cut the drafts of few requests."""
    rng = np.random.default_rng(seed)
    n, cost = int(rng.integers(1, 5)), DEAR if rng.random() < 0.5 else FREE
    batch = offer(rng, n, 4)
    budget = BUDGETS.make("adaptive_verification")
    answer = ask(budget, budget.plan(view(n, cost=cost)), batch, latency).tolist()
    every = itertools.product(*(range(d + 1) for d in batch.offered.tolist()))
    best = max(per_second(batch, list(taken), latency, cost) for taken in every)
    assert per_second(batch, answer, latency, cost) >= best * (1 - 1e-12)
    event(f"{sum(answer) / max(int(batch.offered.sum()), 1):.1f} of the drafts")


@settings(max_examples=60, deadline=None)
@given(seed=seeds, trees=st.booleans())
def test_adaptive_verification_ranks_all_tokens(seed: int, trees: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    batch = offer(rng, n, 16, trees)
    budget = BUDGETS.make("adaptive_verification")
    answer = ask(budget, budget.plan(view(n, k=16)), batch, STEPPED).tolist()
    order = batch.slots[:n].tolist()
    ranked = sorted(
        ((-score, order.index(i), t) for i in order for t, score in enumerate(scores(batch, i))),
    )
    counts = [[0] * n]
    for _, place, _ in ranked:
        counts.append(counts[-1].copy())
        counts[-1][order[place]] += 1
    rates = [per_second(batch, taken, STEPPED, FREE) for taken in counts]
    assert answer == counts[sum(answer)]  # the best of all requests, equals in the engine's order
    assert rates[sum(answer)] >= max(rates) * (1 - 1e-12)


def test_adaptive_verification_drafts_only_for_more() -> None:
    """Where forwards cost nothing but their tokens, certain ones are no gain."""
    batch = offer(np.random.default_rng(0), 4, 4)
    batch.chances[:], batch.offered[:] = 1.0, 4
    budget = BUDGETS.make("adaptive_verification")
    for base, expected in (("0", [0] * 4), ("0.01", [4] * 4)):
        latency = make_latency(f"linear:base={base},token={2**-10}")
        assert ask(budget, budget.plan(view(4)), batch, latency).tolist() == expected


def test_fastgrpo_by_hand() -> None:
    """Requests: tokens of a chain and nodes of a tree, in the paper and as released."""
    cases = {
        1: (5, 128, 5, 128),  # 160 each: log2(213) is cut to L_max, a tree to what vLLM verifies
        8: (4, 19, 4, 19),  # 20: log2(26.7) = 4.7
        16: (3, 9, 3, 9),  # 10: log2(13.3) = 3.7
        32: (2, 4, 3, 4),  # 5: log2(6.7) = 2.7, released no less than 3
        53: (2, 2, 2, 2),  # 3: log2(4) = 2
        80: (1, 1, 1, 1),  # 2: one draft token is all there is room for
        81: (0, 0, 0, 0),
        500: (0, 0, 0, 0),
    }
    for n, expected in cases.items():
        answers = []
        for form, trees in itertools.product(("paper", "released"), (False, True)):
            budget = BUDGETS.make(f"fastgrpo:form={form}")
            batch = empty_batch(np.full(n, 5), np.full(n, NO_CAP))
            batch.counts[TREES] = trees
            decode(batch, np.arange(n, dtype=np.int32))
            (answer,) = set(ask(budget, budget.plan(view(n)), batch).tolist())
            answers.append(answer)
        assert tuple(answers) == expected


def test_fastgrpo_asks_the_latency_model() -> None:
    """t / (b + c t) has 95 % of its value at 256 where t = 0.95 b 256 / (b + 0.05 c 256)."""
    plan = BUDGETS.make("fastgrpo:capacity=0").plan(view(3))
    b, c = 1e-2, 1e-4
    assert plan.values[0] == math.ceil(0.95 * b * 256 / (b + 0.05 * c * 256))
    wide = BUDGETS.make("fastgrpo:capacity=0,width=1,quality=0.1,most=128")
    batch = empty_batch(np.full(3, 5), np.full(3, NO_CAP))
    batch.counts[TREES] = 1
    decode(batch, np.arange(3, dtype=np.int32))
    verify = int(plan.values[0]) // 3
    depth = math.floor(math.log2(verify / 0.1))
    assert ask(wide, wide.plan(view(3)), batch).tolist() == [depth] * 3  # a tree of width 1


def past_lengths(rl_step: int, lengths: dict[int, list[int]]) -> PastStep:
    prompt = np.array([p for p, many in lengths.items() for _ in many], np.int32)
    length = np.array([n for many in lengths.values() for n in many], np.int32)
    nothing = np.zeros(int(length.sum()), np.uint8)
    offsets = np.concatenate([[0], length.cumsum()]).astype(np.int64)
    return PastStep(rl_step, prompt, length, Profile(nothing, nothing, offsets))


def test_classes_by_hand() -> None:
    """Averages: 0.2 * 1500 + 0.8 * 1000 = 1100 is long, 255 short, 256 medium, and so is 0.2 * 1100
    + 0.8 * 1000 = 1020; prompt 4 is new.
    """
    past = (
        past_lengths(-3, {0: [1000], 1: [255], 3: [1000]}),
        past_lengths(0, {0: [1500], 2: [256], 3: [1100]}),
    )
    budget, n = BUDGETS.make("classes"), 5 * SIBLINGS
    batch = empty_batch(np.full(n, 5), np.full(n, NO_CAP))
    decode(batch, np.arange(n, dtype=np.int32))
    plan = budget.plan(view(n, past))
    for generated, expected in (
        (255, [24, 0, 8, 8, 8]),
        (256, [24, 8, 8, 8, 8]),
        (1023, [24, 8, 8, 8, 8]),
        (1024, [24] * 5),
    ):
        batch.generated[:] = generated
        assert ask(budget, plan, batch)[::SIBLINGS].tolist() == expected
    batch.generated[:] = 1
    assert ask(budget, budget.plan(view(n)), batch).tolist() == [8] * n  # cold
    for active, expected in ((n, [8] * n), (n - 1, [0] * n)):
        crowded = BUDGETS.make(f"classes:active={active}")
        assert ask(crowded, crowded.plan(view(n)), batch).tolist() == expected
    with pytest.raises(Exception, match="below short"):
        BUDGETS.make("classes:short=300,long=200")


@pytest.mark.parametrize("name", MINE)
@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_answers_are_bounded_and_the_same_again(name: str, seed: int) -> None:
    def play() -> list[list[int]]:
        rng = np.random.default_rng(seed)
        n, answers = int(rng.integers(1, 30)), []
        past = (step_of(rng),) if rng.random() < 0.5 else ()
        budget, batch = BUDGETS.make(name), offer(rng, n, 16, bool(rng.random() < 0.3))
        plan = budget.plan(view(n, past, k=16))
        for _ in range(8):
            who = rng.permutation(n)[: rng.integers(1, n + 1)].astype(np.int32)
            decode(batch, who)
            answer = ask(budget, plan, batch, STEPPED)
            assert (answer[who] >= 0).all() and (answer[who] <= 128).all()
            assert (np.delete(answer, who) == -1).all()
            d = rng.integers(0, answer[who] + 1)
            a = rng.integers(0, d + 1)
            batch.generated[who] += (a + 1).astype(np.int32)
            batch.forwards[who] += 1
            batch.drafted[who] += d.astype(np.int32)
            batch.accepted[who] += a.astype(np.int32)
            answers.append(answer.tolist())
        return answers

    assert play() == play()


@pytest.mark.parametrize("drafter", ["suffix:scope=both,max=8", "suffix:paths=3", "ngram:k=4"])
@pytest.mark.parametrize("name", MINE)
def test_simulations_run_to_their_end(name: str, drafter: str) -> None:
    load = workload_of(random_rollouts(3, 3, 3, 4, 60, 3))
    setup = Setup.of(drafter=drafter, budget=name, latency=LINEAR)
    result = simulate(load, setup)
    assert result.total("finished") == result.total("requests") == len(load.lengths)
    assert result.total("output_tokens") == int(load.lengths.output_len.sum())
    plain = simulate(load, replace(setup, budget=BUDGETS.make("fixed:k=0")))
    assert result.total("forwards") < plain.total("forwards")
    again = simulate(load, setup)
    for one, other in zip(result.steps, again.steps, strict=True):
        assert one.makespan_s == other.makespan_s
        assert one.drafted.tolist() == other.drafted.tolist()
