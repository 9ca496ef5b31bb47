"""Intervals of speed-ups: how often they hold what is true, and that they are of ratios.

`python -m pytest tests/analysis/test_advise_intervals.py -s` prints the coverage.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from longtail.analysis.advice.bench import Bench
from longtail.analysis.advice.choices import Choice, off
from longtail.analysis.advice.intervals import LEVEL, Measured, measure
from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.sim.simulate import Setup
from longtail.sim.workload import Workload
from longtail.tests.conformance.small_workloads import Rollout, workload_of

NONE = off()
DRAFTS = Choice(
    DRAFTERS.make("ngram:k=8"), BUDGETS.make("fixed:k=4"), PLACEMENTS.make("fcfs"), None
)
SETUP = Setup.of(latency="linear:base=1e-2,token=5e-4")


def drawn(
    seed: int, steps: int, prompts: int, samples: int, recur: bool, drift: float = 0.0
) -> Workload:
    """Prompts drawn at random, each with a length of its own and a share of text that repeats;
    drift: spread of the RL steps' log length.
    """
    rng = random.Random(seed)
    kinds: dict[int, tuple[float, float]] = {}
    made = []
    for step in range(steps):
        longer = rng.gauss(0, drift)
        for p in range(prompts):
            prompt = p if recur else step * prompts + p
            again, size = kinds.setdefault(prompt, (rng.random(), rng.gauss(0, 0.6)))
            for _ in range(samples):
                length = max(2, int(40 * np.exp(longer + size + rng.gauss(0, 0.5))))
                made.append(Rollout(step, prompt, [1, 2, 3], text(rng, length, again)))
    return workload_of(made)


def text(rng: random.Random, length: int, again: float) -> list[int]:
    out: list[int] = []
    while len(out) < length:
        if out and rng.random() < again:
            start = rng.randrange(len(out))
            out += out[start : start + rng.randint(4, 12)]
        else:
            out.append(rng.randrange(50))
    return out[:length]


def bench_of(load: Workload) -> Bench:
    return Bench.of(load, load.rl_steps, SETUP, most_tokens=10**9)


@pytest.mark.parametrize(
    ("steps", "prompts", "recur", "drift"),
    [(1, 16, False, 0.0), (4, 12, False, 0.4), (3, 12, True, 0.0)],
)
def test_the_truth_lies_within(steps: int, prompts: int, recur: bool, drift: float) -> None:
    """True is what as many RL steps take with ever new prompts, none over drafts."""
    many = [
        bench_of(drawn(10_000 + i, steps, prompts, 2, recur, drift)).totals([NONE, DRAFTS])
        for i in range(60)
    ]
    truth = np.divide(*np.sum(many, axis=0))
    found = []
    for seed in range(30):
        bench = bench_of(drawn(seed, steps, prompts, 2, recur, drift))
        found.append(measure(bench, [NONE, DRAFTS], 8 * bench.tokens).ratio(0, 1))
    covered = np.mean([r.low <= truth <= r.high for r in found])
    half = np.mean([np.log(r.high / r.low) / 2 for r in found])
    spread = 1.96 * np.std([np.log(r.value) for r in found])
    print(
        f"\n{steps} RL steps, {prompts} prompts{' that come again' * recur}, drift {drift}: "
        f"{covered:.0%} of the intervals hold the truth ({LEVEL:.0%} wanted), half a width "
        f"{half:.3f}, 1.96 standard deviations {spread:.3f}"
    )
    assert covered >= 0.8
    assert 0.6 * spread < half < 2.5 * spread


def test_a_ratio_of_ratios() -> None:
    bench = bench_of(drawn(3, 3, 8, 2, True))
    other = replace(DRAFTS, budget=BUDGETS.make("fixed:k=2"))
    found = measure(bench, [NONE, DRAFTS, other, DRAFTS], 8 * bench.tokens)
    for a in range(4):
        for b in range(4):
            there, back = found.ratio(a, b), found.ratio(b, a)
            assert there.low <= there.value <= there.high
            assert there.value == pytest.approx(found.total_s[a] / found.total_s[b])
            assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))
    same = found.ratio(1, 3)
    assert (same.low, same.value, same.high) == (1.0, 1.0, 1.0)  # of the same prompts, always
    paired, loose = found.ratio(1, 2), (found.ratio(0, 1), found.ratio(0, 2))
    width = np.log(paired.high / paired.low)
    assert width < max(np.log(r.high / r.low) for r in loose)


def test_few_tokens_to_draw_are_spent_on_few_steps() -> None:
    bench = bench_of(drawn(5, 6, 6, 2, False))
    some, all_of_them = (measure(bench, [NONE, DRAFTS], n) for n in (1, 10**9))
    assert some.again_s.shape == (2, 1, 8) and all_of_them.again_s.shape == (2, 6, 20)
    assert (some.makespan_s == all_of_them.makespan_s).all()


@pytest.mark.parametrize(
    ("prompts", "steps", "known"), [(1, 1, False), (1, 2, True), (2, 1, True), (9, 9, True)]
)
def test_one_prompt_once_tells_nothing(prompts: int, steps: int, known: bool) -> None:
    rng = np.random.default_rng(0)
    makespan = rng.uniform(1, 2, (2, steps))
    again = np.repeat(makespan[:, :, None], 8, axis=2)
    if prompts > 1:
        again = again * rng.uniform(0.9, 1.1, again.shape)
    made = Measured((NONE, DRAFTS), ((), ()), makespan, again, prompts)
    assert np.isfinite(made.ratio(0, 1).high) == known
    assert made.ratio(0, 0).high == 1.0
    assert (made.spread[0, 1] > 0) == known
