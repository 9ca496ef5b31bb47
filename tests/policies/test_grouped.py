"""What is drafted from siblings is what the definition says, whatever the timing."""

from __future__ import annotations

import random

import numpy as np
import pytest
from brute_drafts import Counts, suffix_tree_draft
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import random_rollouts, workload_of

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.grouped import Grouped


class Sibling:
    """A rollout as an engine sees it: what it wrote, and when; what the group sees of it."""

    def __init__(self, prompt: list[int], output: list[int], group: tuple[int, int]) -> None:
        self.prompt, self.output, self.group = prompt, output, group
        self.forward: list[int] = []  # in which each token so far was written
        self.seen: list[int] = []  # when each token became visible


@pytest.mark.parametrize(
    "options",
    ["depth=6,max=5", "depth=4,max=8,factor=2", "depth=6,max=6,factor=3,paths=3", "scope=group"],
)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    shape=st.tuples(*(st.integers(*b) for b in ((1, 2), (1, 2), (1, 4), (1, 30), (2, 4)))),
    every=st.integers(1, 6),
    delay=st.integers(0, 4),
    most=st.sampled_from([1, 3, 9]),
)
def test_as_defined(options, seed, shape, every, delay, most) -> None:  # type: ignore
    drafter: Grouped = DRAFTERS.make(f"grouped:{options},every={every},delay={delay}")
    rng, live = random.Random(seed), drafter.live()
    rollouts = random_rollouts(seed, *shape)
    waiting = list(range(len(rollouts)))
    known: dict[int, Sibling] = {}
    running: list[int] = []
    forward, first, time, rl_step = 0, 0, 0, -1
    while waiting or running:
        # An RL step may begin while the last one's stragglers are running.
        if waiting and rollouts[waiting[0]].rl_step > rl_step and rng.random() < 0.5:
            rl_step = rollouts[waiting[0]].rl_step
            live.start_step(rl_step)
            first = forward
        new = []
        while waiting and rollouts[waiting[0]].rl_step == rl_step and rng.random() < 0.5:
            i = waiting.pop(0)
            rollout = rollouts[i]
            known[i] = Sibling(rollout.prompt, rollout.output, (rl_step, rollout.prompt_id))
            live.begin(i, rollout.prompt_id, rollout.prompt)
            new.append(i)
        drafts = live.draft(running)
        for j, i in enumerate(running):
            parents = drafts.parents[j, : drafts.sizes[j]].tolist() if drafter.trees else []
            check(drafter, known, i, drafts[j].tolist(), parents)
        running += new
        gains = {
            i: 1 if i in new else rng.randint(1, min(most, left(known[i])))
            for i in running
            if i in new or rng.random() < 0.8
        }
        if not gains:
            continue
        live.extend(
            list(gains),
            [known[i].output[len(known[i].forward) :][:n] for i, n in gains.items()],
        )
        forward += 1
        for i, n in gains.items():
            known[i].forward += [forward] * n
        if (forward - first) % every == 0:
            for i in sorted(known):
                sibling = known[i]
                while len(sibling.seen) < sum(f <= forward - delay for f in sibling.forward):
                    sibling.seen.append(time)
                    time += 1
        for i in [i for i in running if not left(known[i])]:
            running.remove(i)
            live.finish(i)


def left(sibling: Sibling) -> int:
    return len(sibling.output) - len(sibling.forward)


def check(
    drafter: Grouped, known: dict[int, Sibling], i: int, draft: list[int], parents: list[int]
) -> None:
    me = known[i]
    text = me.prompt + me.output[: len(me.forward)]
    options = (drafter.depth, drafter.max, drafter.factor, drafter.min_prob, drafter.paths)
    group = [s for s in known.values() if s.group == me.group]
    seen = Counts([s.output[: len(s.seen)] for s in group], when=[s.seen for s in group])
    best = suffix_tree_draft(text[1:], seen, *options)
    if drafter.scope == "both":
        own = suffix_tree_draft(text, Counts([text]), *options)
        best = own if own[0] >= best[0] else best
    assert draft == [token for token, _ in best[1]]
    if drafter.trees:
        assert parents == [parent for _, parent in best[1]]


def test_nothing_is_kept_of_groups_that_are_over() -> None:
    """Texts of many sizes come and go while one request runs on; memory follows what is there."""
    rng = np.random.default_rng(0)
    live = DRAFTERS.make("grouped:every=2").live()
    live.start_step(0)
    live.begin("long", "p", [1])
    live.extend(["long"], [[1]])
    for step in range(1, 40):
        live.start_step(step)
        for i in range(4):
            live.begin(i, "p", rng.integers(0, 5, 5))
        for _ in range(6):
            live.extend(range(4), list(rng.integers(0, 5, (4, 30), dtype=np.int32)))
            live.draft(range(4))
        for i in range(4):
            live.finish(i)
    siblings = live._siblings  # type: ignore[attr-defined]
    assert len(siblings.groups) == 2
    assert len(siblings.tree.node) < 8_000 and len(siblings.text) < 16_000


def test_a_group_is_of_one_rl_step() -> None:
    live = DRAFTERS.make("grouped:every=1,scope=group").live()
    live.start_step(3)
    live.begin("a", "p", [9])
    live.extend(["a"], [[1, 2, 3, 4]])
    live.begin("b", "p", [9])
    live.extend(["b"], [[1, 2]])
    live.start_step(4)
    live.begin("c", "p", [9])
    live.extend(["c"], [[1, 2]])
    assert [d.tolist() for d in live.draft(["b", "c"])] == [[3, 4], []]
    live.begin("a again", "p", [9])
    live.extend(["a again"], [[1, 2, 5]])
    assert live.draft(["c"])[0].tolist() == [5]


def test_an_rl_step_does_not_depend_on_the_ones_before() -> None:
    """Fetches are counted from its begin."""
    load = workload_of(random_rollouts(3, 2, 2, 3, 40, 3))
    assert load.tokens is not None
    drafter = DRAFTERS.make("grouped:every=7,depth=6")
    whole = drafter.profile(load.lengths, load.tokens)
    rows = np.arange(len(load.lengths))[load.rows(1)]
    alone = drafter.profile(load.lengths.select(rows), load.tokens.select(rows))
    part = whole.part(rows[0], rows[-1] + 1)
    assert (part.drafted == alone.drafted).all() and (part.matched == alone.matched).all()
