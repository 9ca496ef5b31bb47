"""Drafting live, one forward at a time, gives the profile's drafts at every position."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from brute_drafts import Counts, ngram_draft, suffix_draft
from brute_force import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import Rollout, random_rollouts, workload_of

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.histospec import FORMS
from longtail.policies.drafters.suffix import Suffix
from longtail.policies.drafters.suffix_nodes import ALIVE
from longtail.policies.profile import Profile

SPECS = [
    "ngram:k=5,min=1,max=3",
    "ngram:k=3,min=2,max=4",
    *(
        f"suffix:scope={scope},window={window},{rest}"
        for scope in ("problem", "own", "both", "global", "all")
        for window in (0, 1, 2)
        for rest in ("depth=6,factor=1,min_prob=0.1,max=5", "depth=4,factor=2,min_prob=0.4,max=8")
    ),
    *(
        f"suffix:scope={scope},window={window},keep={keep},depth=6,max=5"
        for scope in ("problem", "all")
        for window, keep in ((0, 12), (2, 20))
    ),
    *(
        f"das:scope={scope},window={window},half_life={half_life},depth=6,max=5"
        for scope in ("problem", "both")
        for window, half_life in ((0, 0.3), (0, 2), (1, 1), (2, 0.5), (2, 0))
    ),
    *(f"histospec:form={form},window={window}" for form in FORMS for window in (0, 1, 2)),
]


def definition(drafter: Any, rollouts: list[Rollout], which: int, g: int) -> list[int]:
    rollout = rollouts[which]

    text = rollout.prompt + rollout.output[:g]
    if drafter.name == "ngram":
        return ngram_draft(text, drafter.min, drafter.max, drafter.k)
    scope = getattr(drafter, "scope", "problem")
    everyone = scope in ("global", "all")
    visible = [
        r
        for r in rollouts
        if (everyone or r.prompt_id == rollout.prompt_id)
        and r.rl_step < rollout.rl_step
        and (drafter.window == 0 or r.rl_step >= rollout.rl_step - drafter.window)
    ]
    while 0 < getattr(drafter, "keep", 0) < sum(len(r.output) for r in visible):
        visible.pop(0)
    past = [r.output for r in visible]
    if drafter.name == "histospec":
        form = FORMS[drafter.form]
        return suffix_draft(
            text[1:],
            Counts(past, [worth(r, visible) if form.by_reward else 1 for r in visible]),
            form.longest + form.most,
            form.most,
            1000,
            form.min_prob,
            form.shortest,
            form.longest,
            True,
        )[1]
    options = (drafter.depth, drafter.max, drafter.factor, drafter.min_prob)
    own = (0.0, list[int]())
    if scope not in ("problem", "global"):
        own = suffix_draft(text, Counts([text]), *options)
    if scope == "own":
        return own[1]
    half_life = getattr(drafter, "half_life", 0.0)
    weights = [by_recency(r.rl_step, rollout.rl_step, half_life) for r in visible]
    problem = suffix_draft(text[1:], Counts(past, weights), *options)
    return problem[1] if problem[0] > own[0] else own[1]


def worth(rollout: Rollout, visible: list[Rollout]) -> int:
    """What an occurrence counts: 1 to 256 by reward, among its prompt's in its RL step."""
    group = [r.reward for r in visible if r.rl_step == rollout.rl_step]
    if any(map(math.isnan, group)) or len(set(group)) == 1:
        return 1
    return 1 + round(255 * (rollout.reward - min(group)) / (max(group) - min(group)))


def by_recency(rl_step: int, now: int, half_life: float) -> int:
    """What an occurrence counts: halved every half-life, in whole numbers of a 256th."""
    if not half_life:
        return 1
    span = max(1, int(2 * half_life))
    top = (now // span + 1) * span - 1
    return max(1, round(256 * 2 ** ((rl_step - top) / half_life)))


class Generation:
    """One RL step, live: requests begin as the trace has them and grow by any number of tokens."""

    def __init__(self, spec: str, rollouts: list[Rollout], rng: random.Random) -> None:
        self.drafter = DRAFTERS.make(spec)
        self.rollouts, self.rng = rollouts, rng
        load = workload_of(rollouts)
        self.profile: Profile = load.profile(self.drafter)
        self.live = self.drafter.live()
        self.checked = 0

    def run(self, most: int) -> None:
        for step in sorted({r.rl_step for r in self.rollouts}):
            self.live.start_step(step)
            self.step([i for i, r in enumerate(self.rollouts) if r.rl_step == step], most)

    def step(self, waiting: list[int], most: int) -> None:
        running: dict[int, int] = {}  # rollout -> tokens generated
        while waiting or running:
            for _ in range(self.rng.randint(0 if running else 1, 3)):
                if waiting:
                    running[self.begin(waiting.pop(0))] = 0
            # Those that decode, in any order, in one batch; then everybody gets tokens.
            decoding = [i for i, g in running.items() if g > 0]
            self.rng.shuffle(decoding)
            for i, draft in zip(decoding, self.live.draft(decoding), strict=True):
                self.check(i, running[i], draft.tolist())
            gains = {
                i: 1 if g == 0 else min(self.rng.randint(1, most), len(self.rollouts[i].output) - g)
                for i, g in running.items()
            }
            self.live.extend(
                list(gains),
                [
                    np.array(self.rollouts[i].output[running[i] : running[i] + n], np.int32)
                    for i, n in gains.items()
                ],
            )
            for i, n in gains.items():
                running[i] += n
                if running[i] == len(self.rollouts[i].output):
                    del running[i]
                    self.live.finish(i, reward=self.rollouts[i].reward)

    def begin(self, i: int) -> int:
        rollout = self.rollouts[i]
        self.live.begin(i, rollout.prompt_id, np.array(rollout.prompt, np.int32))
        return i

    def check(self, i: int, g: int, draft: list[int]) -> None:
        output = self.rollouts[i].output
        at = int(self.profile.offsets[i]) + g
        matched = 0
        while matched < min(len(draft), len(output) - g) and draft[matched] == output[g + matched]:
            matched += 1
        expected = definition(self.drafter, self.rollouts, i, g)
        assert draft == expected
        assert (self.profile.drafted[at], self.profile.matched[at]) == (len(draft), matched)
        self.checked += 1


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*(st.integers(*b) for b in ((1, 4), (1, 3), (1, 4), (1, 40), (2, 4)))),
    seed=st.integers(0, 1 << 30),
    most=st.sampled_from([1, 3, 9]),
)
def test_live_is_the_profile(
    spec: str, shape: tuple[int, int, int, int, int], seed: int, most: int
) -> None:
    rollouts = random_rollouts(seed, *shape)
    rng = random.Random(seed)
    gaps = np.cumsum(
        [0, *(rng.randint(1, 2) for _ in range(4))]
    ).tolist()  # RL steps may be missing
    rollouts = [replace(r, rl_step=gaps[r.rl_step]) for r in rollouts]
    generation = Generation(spec, rollouts, rng)
    generation.run(most)
    if most == 1:
        assert generation.checked == sum(len(r.output) - 1 for r in rollouts)


def test_none_drafts_nothing() -> None:
    live = DRAFTERS.make("none").live()
    live.start_step(0)
    live.begin("a", "p", np.zeros(3, np.int32))
    live.extend(["a"], [np.zeros(2, np.int32)])
    assert [d.tolist() for d in live.draft(["a"])] == [[]]
    live.finish("a")


@pytest.mark.parametrize("spec", ["ngram", "suffix:scope=own", "suffix:scope=both"])
def test_many_requests_of_many_sizes(spec: str) -> None:
    """Rows and text regions grow and are reused while others run."""
    rng = random.Random(5)
    rollouts = [
        Rollout(
            step, i % 7, [i % 5] * rng.randint(1, 300), [i % 3, 1, 2, i % 5] * rng.randint(1, 90)
        )
        for step in range(2)
        for i in range(30)
    ]
    generation = Generation(spec, rollouts, rng)
    generation.check = lambda i, g, draft: check_profile(generation, i, g, draft)  # type: ignore
    generation.run(most=40)
    assert generation.checked > 100


def check_profile(generation: Generation, i: int, g: int, draft: list[int]) -> None:
    """Without the slow definition."""
    output = generation.rollouts[i].output
    at = int(generation.profile.offsets[i]) + g
    same = [a == b for a, b in zip(draft, output[g:], strict=False)] + [False]
    assert generation.profile.drafted[at] == len(draft)
    assert generation.profile.matched[at] == same.index(False)
    generation.checked += 1


def test_batching_does_not_matter() -> None:
    """Drafts asked for one by one, all at once or twice are the same."""
    rollouts = random_rollouts(3, 2, 2, 4, 40, 3)
    live = DRAFTERS.make("suffix:scope=both,depth=6").live()
    for step in (0, 1):
        live.start_step(step)
        mine = [i for i, r in enumerate(rollouts) if r.rl_step == step]
        for i in mine:
            live.begin(i, rollouts[i].prompt_id, np.array(rollouts[i].prompt, np.int32))
            live.extend([i], [np.array(rollouts[i].output, np.int32)])
        together = [d.tolist() for d in live.draft(mine)]
        assert [live.draft([i])[0].tolist() for i in mine] == together
        assert [d.tolist() for d in live.draft(mine[::-1])] == together[::-1]
        for i in mine:
            live.finish(i)


@pytest.mark.parametrize("spec", ["suffix:scope=problem", "suffix:scope=own", "das"])
def test_a_negative_token_is_refused(spec: str) -> None:
    """It would be taken for the end of a text."""
    live = DRAFTERS.make(spec).live()
    for request, prompt in (("a", [1, 2]), ("b", [])):
        live.begin(request, "p", prompt)
        with pytest.raises(ValueError, match="negative"):
            live.extend([request], [np.array([3, -1], np.int32)])
    with pytest.raises(ValueError, match="negative"):
        live.begin("c", "p", [-1])
    live.begin("c", "p", [1])
    with pytest.raises(ValueError, match="negative"):
        live.learn("p", [1, -1, 1])
    live.extend(["a"], [[1]])
    assert [len(draft) for draft in live.draft(["a", "b"])] == [int("problem" not in spec), 0]


def test_a_match_does_not_begin_with_the_first_token_of_all() -> None:
    """Whether or not there was a prompt before it, and whenever the request began."""
    live = DRAFTERS.make("suffix:scope=problem").live()
    live.learn("p", [1, 2, 3])
    live.start_step(1)
    live.begin("r", "p", [])
    live.extend(["r"], [[1]])
    live.begin("s", "p", [1])
    assert [len(draft) for draft in live.draft(["r", "s"])] == [0, 0]


def test_a_long_prompt_takes_the_room_that_it_needs() -> None:
    live = Suffix(scope="own", depth=256).live()
    live.begin("long", "p", np.random.default_rng(0).integers(0, 9, 30_000, dtype=np.int32))
    assert len(live._tree.node) < 100_000


def test_a_request_begins_once() -> None:
    live = DRAFTERS.make("suffix").live()
    live.start_step(0)
    live.begin(Request, 0, np.array([1, 2], np.int32))
    with pytest.raises(ValueError):
        live.begin(Request, 0, np.array([1, 2], np.int32))


def test_finished_requests_leave_nothing_behind() -> None:
    """One request runs on while 300 others come and go: memory follows what is in flight."""
    rng = np.random.default_rng(0)
    live = Suffix(scope="both").live()
    live.begin("long", "p", rng.integers(0, 5, 20, dtype=np.int32))
    for i in range(300):
        live.begin(i, "p", rng.integers(0, 5, 20, dtype=np.int32))
        live.extend([i, "long"], [rng.integers(0, 5, 100, dtype=np.int32), np.array([1], np.int32)])
        live.draft([i, "long"])
        live.finish(i)
    assert live._tree.state[ALIVE] < 20_000
    assert live._text_end < 20_000
    live.extend([], [])
