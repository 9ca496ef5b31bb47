"""History that changes while requests run: drafts are those of a request begun under it."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from brute_drafts import Counts, suffix_draft
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import repetitive_text

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.live import LiveDrafter
from longtail.policies.drafters.suffix import Suffix

OPTIONS = (
    {"depth": 6, "factor": 1.0, "min_prob": 0.1, "max": 5},
    {"depth": 4, "factor": 2.0, "min_prob": 0.4, "max": 8},
    {"depth": 2, "factor": 2.0, "min_prob": 0.1, "max": 8},
)


@dataclasses.dataclass
class Running:
    order: int
    prompt_id: int
    prompt: list[int]
    output: list[int]

    @property
    def text(self) -> list[int]:
        return self.prompt + self.output


@dataclasses.dataclass(frozen=True)
class Finished:
    rl_step: int
    order: int
    prompt_id: int
    output: list[int]


class Server:
    """A live drafter, and beside it what it was told."""

    def __init__(self, drafter: Suffix, rng: random.Random, longest: int, alphabet: int) -> None:
        self.drafter, self.rng, self.longest, self.alphabet = drafter, rng, longest, alphabet
        self.live = drafter.live()
        self.rl_step = 0
        self.begun = 0
        self.running: dict[str, Running] = {}
        self.fresh: list[Finished] = []  # since the last start_step
        self.steps: list[tuple[list[Finished], int]] = []  # what was learnt before which RL step
        self.visible: list[Finished] = []  # history now, in the order in which it was learnt
        self.written: list[list[int]] = []  # outputs, growing, finished and forgotten

    def tokens(self, least: int = 1) -> list[int]:
        """Sometimes copied from a text of before, so that something matches."""
        length = self.rng.randint(least, self.longest)
        if self.written and self.rng.random() < 0.6:
            text = self.rng.choice(self.written)
            start = self.rng.randrange(len(text) + 1)
            return text[start : start + length] or [0]
        return repetitive_text(self.rng, length, self.alphabet)

    def begin(self) -> None:
        name = f"r{self.begun}"
        mine = Running(self.begun, self.rng.randrange(2), self.tokens(), [])
        self.written.append(mine.output)
        self.live.begin(name, mine.prompt_id, mine.prompt)
        self.running[name] = mine
        self.begun += 1

    def extend(self) -> None:
        some = [name for name in self.running if self.rng.random() < 0.7]
        new = [self.tokens() for _ in some]
        self.live.extend(some, new)
        for name, tokens in zip(some, new, strict=True):
            self.running[name].output += tokens

    def finish(self) -> None:
        if self.running:
            name = self.rng.choice(list(self.running))
            mine = self.running.pop(name)
            self.live.finish(name)
            self.fresh.append(Finished(self.rl_step, mine.order, mine.prompt_id, mine.output))

    def learn(self) -> None:
        loaded = Finished(self.rl_step, self.begun, self.rng.randrange(2), self.tokens())
        self.written.append(loaded.output)
        self.live.learn(loaded.prompt_id, loaded.output)
        self.fresh.append(loaded)
        self.begun += 1

    def start_step(self) -> None:
        self.rl_step += self.rng.choice([0, 1, 1, 2])
        self.live.start_step(self.rl_step)
        learnt = sorted(self.fresh, key=lambda finished: finished.order)
        self.steps.append((learnt, self.rl_step))
        self.fresh = []
        oldest = self.rl_step - self.drafter.window if self.drafter.window else 0
        self.visible = [f for f in self.visible + learnt if f.rl_step >= oldest]
        for mine in map(self.corpus, self.visible) if self.drafter.keep else ():
            while sum(len(f.output) for f in mine) > self.drafter.keep:
                self.visible.remove(mine.pop(0))

    def corpus(self, of: Any) -> list[Finished]:
        """What is visible to a request or a rollout, the oldest first."""
        shared = self.drafter.scope in ("global", "all")
        return [f for f in self.visible if shared or f.prompt_id == of.prompt_id]

    def drafts(self) -> dict[str, list[int]]:
        names = list(self.running)
        self.rng.shuffle(names)
        return {n: d.tolist() for n, d in zip(names, self.live.draft(names), strict=True)}

    def begun_now(self) -> dict[str, list[int]]:
        """The drafts of a drafter that never ran anything before it learnt the same history."""
        live = self.drafter.live()
        for learnt, rl_step in self.steps:
            for finished in learnt:
                live.learn(finished.prompt_id, finished.output)
            live.start_step(rl_step)
        for name, mine in self.running.items():
            live.begin(name, mine.prompt_id, mine.text)
        return {
            n: d.tolist() for n, d in zip(self.running, live.draft([*self.running]), strict=True)
        }

    def defined(self) -> dict[str, list[int]]:
        """The drafts by definition."""
        d = self.drafter
        options = (d.depth, d.max, d.factor, d.min_prob)
        drafts = {}
        for name, mine in self.running.items():
            past = [f.output for f in self.corpus(mine)]
            own = (0.0, list[int]())
            if d.scope not in ("problem", "global"):
                own = suffix_draft(mine.text, Counts([mine.text]), *options)
            problem = (0.0, list[int]())
            if d.scope != "own":
                problem = suffix_draft(mine.text[1:], Counts(past), *options)
            drafts[name] = problem[1] if problem[0] > own[0] else own[1]
        return drafts


MOVES = [
    "begin",
    "begin",
    "extend",
    "extend",
    "finish",
    "learn",
    "learn",
    "start_step",
    "start_step",
]


@pytest.mark.parametrize("scope", ["problem", "own", "both", "global", "all"])
@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(st.sampled_from(MOVES), min_size=3, max_size=40),
    window=st.integers(0, 3),
    keep=st.sampled_from([0, 0, 12, 40]),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 1 << 30),
    alphabet=st.integers(2, 4),
)
def test_running_across_steps(
    scope: str,
    moves: list[str],
    window: int,
    keep: int,
    options: dict[str, Any],
    seed: int,
    alphabet: int,
) -> None:
    drafter = Suffix(scope=scope, window=window, keep=keep, **options)
    server = Server(drafter, random.Random(seed), 9, alphabet)
    for move in ["begin", "extend", *moves, "start_step", "extend"]:
        getattr(server, move)()
        drafts = server.drafts()
        assert drafts == server.defined()
        assert drafts == server.begun_now()


@pytest.mark.parametrize("window", [0, 1, 4])
def test_many_running_across_steps(window: int) -> None:
    """Rows, text regions and the history grow, are compacted and are rebuilt under the running."""
    server = Server(Suffix(scope="both", window=window), random.Random(window), 400, 6)
    drafted = 0
    for _ in range(12):
        for _ in range(8):
            server.begin()
        server.extend()
        for _ in range(6):
            server.finish()
        server.learn()
        server.start_step()
        for _ in range(2):
            drafts = server.drafts()
            assert drafts == server.begun_now()
            drafted += sum(map(len, drafts.values()))
            server.extend()
    assert drafted > 1000


def test_a_step_changes_the_drafts_of_who_is_running() -> None:
    """By hand: nothing, then what another wrote, then both, then nothing again."""
    live = DRAFTERS.make("suffix:scope=problem,window=2,depth=8").live()
    live.start_step(0)
    live.begin("long", "p", [9, 1, 2])
    live.extend(["long"], [[3]])
    live.begin("short", "p", [9])
    live.extend(["short"], [[1, 2, 3, 4, 5, 6]])
    live.finish("short")
    assert live.draft(["long"])[0].tolist() == []
    live.start_step(1)
    assert live.draft(["long"])[0].tolist() == [4, 5, 6]
    live.extend(["long"], [[4]])
    live.learn("p", [3, 4, 7])
    live.learn("p", [3, 4, 7])
    live.learn("q", [3, 4, 8])
    assert live.draft(["long"])[0].tolist() == [5, 6]
    live.start_step(2)
    assert live.draft(["long"])[0].tolist() == [5, 6]  # the longest match scores more
    live.start_step(3)
    assert live.draft(["long"])[0].tolist() == [7]
    live.start_step(4)
    assert live.draft(["long"])[0].tolist() == []
    live.finish("long")  # of RL step 4, in which it finished
    live.start_step(6)
    live.begin("next", "p", [9, 3])
    assert live.draft(["next"])[0].tolist() == [4]
    live.start_step(7)
    assert live.draft(["next"])[0].tolist() == []


def test_a_rebuilt_history_keeps_its_order() -> None:
    """Of continuations seen equally often, the one seen last is drafted: here the last learnt."""
    live = DRAFTERS.make("suffix:scope=problem,window=2").live()
    live.start_step(0)
    live.begin("r", "p", [0, 1])
    for rl_step, tokens in ((0, [[8]]), (1, [[1, 2], [1, 2]]), (2, [[1, 3], [1, 3]]), (3, [[9]])):
        live.start_step(rl_step)
        for output in tokens:
            live.learn("p", output)
    assert live.draft(["r"])[0].tolist() == [3]  # RL step 0 has just been forgotten


@pytest.mark.parametrize("spec", ["none", "ngram", *(f"suffix:scope={s}" for s in ("own", "both"))])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 30), plan=st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_learning_is_having_run(spec: str, seed: int, plan: list[int]) -> None:
    """0, 1: a rollout of that prompt; 2: the next RL step."""
    rng = random.Random(seed)
    ran, told = DRAFTERS.make(spec).live(), DRAFTERS.make(spec).live()
    for rl_step, prompt_id in enumerate(plan):
        if prompt_id == 2:
            ran.start_step(rl_step)
            told.start_step(rl_step)
            continue
        output = repetitive_text(rng, rng.randint(1, 20), 3)
        ran.begin("r", prompt_id, [1, 2])
        ran.extend(["r"], [output])
        ran.finish("r")
        told.learn(prompt_id, np.array(output) if rng.random() < 0.5 else output)
    for live in (ran, told):
        live.start_step(len(plan))
        for prompt_id in (0, 1):
            live.begin(prompt_id, prompt_id, [5])
    for _ in range(20):
        new = [repetitive_text(rng, 2, 3) for _ in range(2)]
        ran.extend([0, 1], new)
        told.extend([0, 1], new)
        assert [d.tolist() for d in ran.draft([0, 1])] == [d.tolist() for d in told.draft([0, 1])]


def test_what_is_learnt_is_a_copy() -> None:
    live = DRAFTERS.make("suffix:scope=problem").live()
    output = np.array([1, 2, 3, 4], np.int32)
    live.learn("p", output)
    output[:] = 7
    live.start_step(1)
    live.begin("r", "p", [0, 1, 2])
    assert live.draft(["r"])[0].tolist() == [3, 4]


@pytest.mark.parametrize("spec", ["ngram:min=1", "suffix:scope=both,depth=6"])
def test_any_sequence_of_integers(spec: str) -> None:
    """Lists, tuples, ranges and arrays of any integer type, mixed, with nothing among them."""
    rng = random.Random(2)
    one, other = DRAFTERS.make(spec).live(), DRAFTERS.make(spec).live()
    kinds = [
        list, tuple, lambda t: np.array(t, np.int64), lambda t: np.array(t, np.int32),
        lambda t: np.array(t, np.uint16),
    ]  # fmt: skip
    for name in range(4):
        prompt = repetitive_text(rng, 6, 3)
        one.begin(name, 0, kinds[name](prompt))
        other.begin(name, 0, np.array(prompt, np.int32))
    other.begin("range", 0, range(5))
    other.finish("range")
    for _ in range(60):
        new = [repetitive_text(rng, rng.randint(0, 3), 3) for _ in range(4)]
        one.extend(range(4), [rng.choice(kinds)(tokens) for tokens in new])
        other.extend(range(4), [np.array(tokens, np.int32) for tokens in new])
        drafts = one.draft(range(4))
        assert all(draft.dtype == np.int32 for draft in drafts)
        assert [d.tolist() for d in drafts] == [d.tolist() for d in other.draft(range(4))]
    with pytest.raises(ValueError):
        one.extend([0, 1], [[1]])


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        ("none", 0),
        ("ngram", 0),
        ("suffix:scope=own,window=3", 0),
        ("suffix:scope=problem,window=3", 3),
        ("suffix:scope=both,window=16", 16),
        ("suffix:scope=both", None),
    ],
)
def test_history_steps(spec: str, steps: int | None) -> None:
    assert DRAFTERS.make(spec).history_steps == steps


@pytest.mark.parametrize("name", [n for n, d in DRAFTERS.classes.items() if d.in_engine])
def test_every_drafter_has_the_live_face(name: str) -> None:
    drafter = DRAFTERS.make(name)
    live = drafter.live()
    assert isinstance(live, LiveDrafter)
    assert drafter.history_steps is None or drafter.history_steps >= 0
    live.start_step(3)
    live.learn("p", [1, 2, 3, 1, 2])
    live.begin("r", "p", [1, 2, 3])
    live.start_step(4)
    live.extend(["r"], [[1, 2]])
    (draft,) = live.draft(["r"])
    assert draft.dtype == np.int32 and len(draft) <= drafter.longest_draft
    live.finish("r")


def test_memory_follows_what_a_draft_can_depend_on() -> None:
    """Nothing for own text, and what is in the window else."""
    for spec, kept in (("own", 0), ("both", 50), ("both,window=2", 20), ("all,keep=90", 30)):
        live: Any = DRAFTERS.make(f"suffix:scope={spec}").live()
        for step in range(5):
            live.start_step(step)
            for _ in range(10):
                live.learn("p", [1, 2, 3])
        live.start_step(5)
        assert len(live._history._entries) + len(live._new) == kept
