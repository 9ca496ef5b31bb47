"""Length predictors by their definitions, in plain Python, and what all of them have to keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from little_views import past_of, view_of, worlds
from small_workloads import random_rollouts, workload_of

from longtail.policies.batch import DECODING, NO_CAP, Batch, empty_batch
from longtail.policies.budgets.das import Das
from longtail.policies.lengths import PREDICTORS
from longtail.policies.lengths.ahead import NORMAL, RESIDUE, left_of
from longtail.policies.lengths.known import SCENES, own_lengths, thinned
from longtail.policies.registry import describe, spec_of
from longtail.policies.view import StepView
from longtail.tests.bench.lengths import losses, pinball

ALL = list(PREDICTORS.classes)
Weighted = list[tuple[float, float]]  # lengths and how likely they are


def siblings(batch: Batch, i: int) -> tuple[list[int], list[int]]:
    """How long those became that are over, and how far the others have got."""
    mine = [k for k in range(len(batch.group)) if batch.group[k] == batch.group[i] and k != i]
    over = [int(batch.ended[k]) for k in mine if batch.ended[k]]
    return over, [int(batch.generated[k]) for k in mine if not batch.ended[k]]


def known_of(view: StepView, i: int) -> tuple[list[int], list[int]]:
    """Lengths of the prompt's earlier rollouts, and of everybody's."""
    (past,) = view.past or past_of([[1]])
    pairs = list(zip(past.prompt, past.output_len, strict=True)) if view.past else []
    return [int(n) for p, n in pairs if p == view.prompt[i]], [int(n) for _, n in pairs]


def history(view: StepView, batch: Batch, i: int) -> Weighted:
    return [(n, 1.0) for n in known_of(view, i)[0]]


def mixture(view: StepView, batch: Batch, i: int) -> Weighted:
    own, pool = known_of(view, i)
    ones, general = own + siblings(batch, i)[0], 0.25
    share = (1 + general / (1 - general) * len(ones)) / max(len(pool), 1)
    return [(n, 1.0) for n in ones] + [(n, share) for n in pool]


def group(view: StepView, batch: Batch, i: int) -> Weighted:
    over, pool = siblings(batch, i)[0], known_of(view, i)[1]
    if over:
        return [(max(over), 1.0)]
    if view.cap[i] < NO_CAP:
        return [(float(view.cap[i]), 1.0)]
    return [(max(pool), 1.0)] if pool else []


def classes(view: StepView, batch: Batch, i: int) -> Weighted:
    """P(class | generated, initial class), and within a class the lengths that there were."""
    pool, prompts = known_of(view, i)[1], range(3)
    if not pool:
        return []
    cut = [float(np.quantile(pool, q)) for q in (0.5, 0.9)]
    cut[1] = max(cut[1], cut[0] + 1)

    def kind(length: float) -> int:
        return 2 if length >= cut[1] else 0 if length <= cut[0] else 1

    def lengths(prompt: int) -> list[int]:
        (past,) = view.past
        return past.output_len[past.prompt == prompt].tolist()

    def initial(prompt: int) -> int:
        votes = [kind(n) for n in lengths(prompt) or pool]
        return max(range(3), key=lambda c: (votes.count(c), c))

    alike = [p for p in prompts if initial(p) == initial(int(view.prompt[i]))]
    final = [n for p in alike for n in lengths(p) if n > batch.generated[i]]
    result = []
    for c in range(3):
        within = [n for n in final if kind(n) == c]
        posterior = len(within) / max(len(final), 1)
        result += [(n, posterior / len(within)) for n in within]
    return result


def survival(view: StepView, batch: Batch, i: int) -> Weighted:
    """S(t) = product over event times up to t of 1 - d / n, from the textbook."""
    own, pool = known_of(view, i)
    over, running = siblings(batch, i)
    g, events = int(batch.generated[i]), own + over
    censored = [*running, g]

    def surviving(t: float) -> float:
        result = 1.0
        for at in {n for n in events if n <= t}:
            result *= 1 - events.count(at) / sum(n >= at for n in events + censored)
        return result

    given = surviving(g)
    steps = [(t, (surviving(t - 0.5) - surviving(t)) / given) for t in sorted(set(events)) if t > g]
    latest, rest = max(censored), surviving(max([0, *events])) / given
    if latest > max([g, *events]):
        beyond = [n for n in pool if n > latest] or [1.25 * latest + 1]
        steps += [(n, rest / len(beyond)) for n in beyond]
    return steps


def is_quantile(length: float, level: float, lengths: Weighted) -> bool:
    """Whether that is one of the lengths with a share `level` of the others below it."""
    total = sum(w for _, w in lengths)
    for x, _ in lengths:
        if length == pytest.approx(x):
            below = sum(w for y, w in lengths if y < x) / total
            up_to = sum(w for y, w in lengths if y <= x) / total
            if below - 1e-9 <= level <= up_to + 1e-9:
                return True
    return False


DEFINITIONS = {
    "history": history,
    "mixture:general=0.25,spread=0": mixture,
    "group": group,
    "classes": classes,
    "survival": survival,
}


@pytest.mark.parametrize("spec", DEFINITIONS)
@settings(max_examples=150, deadline=None)
@given(world=worlds)
def test_what_is_left_by_definition(spec: str, world: tuple[StepView, Batch]) -> None:
    view, batch = world
    found = left_of(PREDICTORS.make(spec).plan(view), batch)
    for left, i in zip(found, batch.slots[: len(found)], strict=True):
        g, room = int(batch.generated[i]), int(view.cap[i]) - int(batch.generated[i])
        lengths = [pair for pair in DEFINITIONS[spec](view, batch, i) if pair[0] > g]
        lengths = lengths or [(n, 1.0) for n in known_of(view, i)[1] if n > g]
        for s in range(SCENES):
            level = (s + 0.5) / SCENES
            if not lengths:  # longer than all that is known: exponential
                far = 1 - math.log(1 - level) * max(RESIDUE * g, 1.0)
                assert left[s] == pytest.approx(min(far, room))
            elif left[s] == room:  # its quantile is at the cap, or beyond
                assert (
                    sum(w for n, w in lengths if n < g + room)
                    <= level * sum(w for _, w in lengths) + 1e-9
                )
            else:
                assert is_quantile(left[s] + g, level, lengths)


def test_kaplan_and_meier_by_hand() -> None:
    """Lengths 3, 5, 5+, 8 (+: still running): S falls by 1/4, then 1/3 of 3/4, then to 0."""
    view = view_of([0] * 5, ())
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    batch.ended[:] = [0, 3, 5, 0, 8]
    batch.generated[:] = [1, 3, 5, 5, 8]
    batch.slots[:2], batch.counts[DECODING] = [0, 3], 2
    left = left_of(PREDICTORS.make("survival").plan(view), batch)
    assert left[0].tolist() == [2] * 4 + [4] * 4 + [7] * 8
    assert left[1].tolist() == [3] * 16  # who is at 5 has only 8 to come


@settings(max_examples=60, deadline=None)
@given(world=worlds)
def test_classes_are_those_of_das(world: tuple[StepView, Batch]) -> None:
    """Requests that begin in the same class are told the same, and others are not."""
    view, _ = world
    if view.past and len(view.past[0].output_len):
        began = Das().plan(replace(view, forward_s=lambda t, r: 1e-2 + 1e-4 * t)).request[:, 0]
        rows = PREDICTORS.make("classes").plan(view).request
        for i in range(len(rows)):
            same = [bool((row == rows[i]).all()) for row in rows]
            assert same == (began == began[i]).tolist()


def test_widened_lengths_are_the_same_times_each_quantile_of_the_factor() -> None:
    view = view_of([0], past_of([[10, 20, 30]]))
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    batch.counts[DECODING] = 1
    narrow, wide = (
        left_of(PREDICTORS.make(f"mixture:spread={spread}").plan(view), batch)[0]
        for spread in (0.0, 0.5)
    )
    factors = [math.exp(0.5 * NORMAL[(11 * s + 3) % SCENES]) for s in range(SCENES)]
    assert wide.tolist() == pytest.approx((narrow * factors).tolist())


def test_lengths_kept_of_the_prompt() -> None:
    own = own_lengths(view_of([1, 2, 1], past_of([[9], [3, 1], []])))
    assert own[:, 0].tolist() == [2, 0, 2] and own[0, 1:3].tolist() == [1, 3]
    many = own_lengths(view_of([0], past_of([list(range(1, 101))])))
    assert many[0, 0] == 32 and np.diff(many[0, 1:]).min() > 0
    assert thinned(np.array([3, 1]), 2).tolist() == [1, 3]


# What all of them have to keep


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=80, deadline=None)
@given(world=worlds)
def test_from_one_token_to_what_the_cap_leaves(name: str, world: tuple[StepView, Batch]) -> None:
    view, batch = world
    plan = PREDICTORS.make(name).plan(view)
    left = left_of(plan, batch)
    running = batch.slots[: len(left)]
    room = (view.cap - batch.generated)[running][:, None]
    assert (left >= 1).all() and (left <= room).all()
    # Whoever else waits in the same batch, of no group, is nobody's sibling.
    stranger = Batch(*(np.append(a, a[:1]) if len(a) == len(view.cap) else a for a in batch))
    stranger.group[-1], stranger.ended[-1] = -1, 77
    rows = np.vstack([plan.request, plan.request[:1]])
    assert np.array_equal(left_of(plan._replace(request=rows), stranger), left)


@settings(max_examples=60, deadline=None)
@given(world=worlds)
def test_the_oracle_is_right(world: tuple[StepView, Batch]) -> None:
    view, batch = world
    left = left_of(PREDICTORS.make("oracle").plan(view), batch)
    assert view.recorded_len is not None
    real = (view.recorded_len - batch.generated)[batch.slots[: len(left)]]
    assert (left == real[:, None]).all()


def test_noise_is_in_range_and_says_nothing() -> None:
    n = 4000
    length = np.random.default_rng(1).integers(1, 1000, n).astype(np.int32)
    past = past_of([length.tolist()])
    view = view_of([0] * n, past, recorded_len=length)
    batch = empty_batch(view.prompt_len, view.cap)
    batch.slots[:], batch.counts[DECODING] = np.arange(n), n
    told = [left_of(PREDICTORS.make(f"noise:seed={s}").plan(view), batch)[:, 0] for s in (0, 0, 1)]
    assert np.array_equal(told[0], told[1])
    assert abs(np.corrcoef(told[0], told[2])[0, 1]) < 0.1
    assert abs(np.corrcoef(told[0], length)[0, 1]) < 0.1
    assert told[0].mean() == pytest.approx(length.mean(), rel=0.1)


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_is(name: str) -> None:
    cls = PREDICTORS.classes[name]
    assert cls.__doc__ and cls.source and all(help for _, _, help in describe(cls))
    made = PREDICTORS.make(name)
    assert PREDICTORS.make(spec_of(made)) == made


# How they are scored


def test_pinball_loss_by_definition() -> None:
    rng = np.random.default_rng(0)
    left, real = rng.integers(1, 50, (5, SCENES)), rng.integers(1, 50, (5, 1))
    total = 0.0
    for row, (y,) in zip(left.tolist(), real.tolist(), strict=True):
        for s, q in enumerate(sorted(row)):
            level = (s + 0.5) / SCENES
            total += (level * (y - q) if y >= q else (1 - level) * (q - y)) / SCENES
    assert pinball(left, real) == pytest.approx(total)


def test_the_oracle_loses_nothing_and_noise_most() -> None:
    load = workload_of(random_rollouts(3, rl_steps=3, prompts=4, samples=6, longest=80, alphabet=2))
    score = {name: losses(load, name) for name in ALL}
    assert [loss for loss, _ in score["oracle"]] == [0.0] * 3 + [score["oracle"][3][0]]
    begin = {name: each[0][0] for name, each in score.items()}
    assert max(begin["history"], begin["mixture"], begin["classes"]) < begin["noise"]
    later = load.lengths.output_len[load.lengths.rl_step > 0]
    assert score["noise"][0][1] == pytest.approx(later.mean())
