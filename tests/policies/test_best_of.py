"""The draft that promises most, by what became of all drafts in earlier RL steps."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import random_rollouts, workload_of

from longtail.policies.components import DRAFTERS, split_policy
from longtail.policies.confidence import Confidence
from longtail.policies.drafters.best_of_live import LiveBestOf
from longtail.policies.drafters.cost import cost_of
from longtail.policies.registry import ComponentError, spec_of
from longtail.sim.grid import expand
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate_steps

SMALL = "depth=6;max=5"
MEMBERS = [f"suffix(scope=problem;{SMALL})", "ngram(k=4;min=1)", f"grouped(every=2;{SMALL})"]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    shape=st.tuples(*(st.integers(*b) for b in ((1, 3), (1, 2), (1, 3), (1, 25), (2, 4)))),
    of=st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=3),
    trees=st.booleans(),
)
def test_as_defined(seed: int, shape: tuple, of: list[str], trees: bool) -> None:  # type: ignore
    """Each request's draft is that of the drafter whose tokens' chances add up to most."""
    of = [*of, f"suffix(paths=3;{SMALL})"] if trees else of
    best = DRAFTERS.make("best_of:of=" + "|".join(of))
    members = best.members
    live, faces = best.live(), [m.live() for m in members]
    rng, rollouts = random.Random(seed), random_rollouts(seed, *shape)
    known = [Confidence(m.prior()) for m in members]
    for step in sorted({r.rl_step for r in rollouts}):
        for face in (live, *faces):
            face.start_step(step)
        rates = [k.rates for k in known]
        tried = [np.zeros((256, 2)) for _ in members]
        sizes = {}
        for i, r in enumerate(rollouts):
            if r.rl_step == step:
                for face in (live, *faces):
                    face.begin(i, r.prompt_id, r.prompt)
                    face.extend([i], [r.output[:1]])
                sizes[i] = 1
        while sizes:
            asked = rng.sample(sorted(sizes), rng.randint(0, len(sizes)))
            made = [face.draft(asked) for face in faces]
            answer = live.draft(asked)
            for j, i in enumerate(asked):
                after = rollouts[i].output[sizes[i] :]
                gains = []
                for k, member in enumerate(members):
                    gains.append(0.0)
                    alive, chance, path, depth = True, 1.0, -1, 0  # tokens matched
                    for t, token in enumerate(made[k][j].tolist()):
                        label = made[k].labels[j, t]
                        chance = rates[k][label] * (1.0 if member.trees else chance)
                        gains[k] += chance
                        if member.trees:
                            good = (
                                made[k].parents[j, t] == path
                                and depth < len(after)
                                and token == after[depth]
                            )
                            if len(made[k][j]) <= len(after):  # it may not reach beyond the end
                                tried[k][label] += (1, good)
                            if good:
                                path, depth = t, depth + 1
                        elif alive and t < len(after):
                            alive = token == after[t]
                            tried[k][label] += (1, alive)
                pick = int(np.argmax(np.array(gains) > max(gains) - 1e-9))
                assert answer[j].tolist() == made[pick][j].tolist(), gains
            # Every draft is judged, once, by what really followed.
            grow = {i: rng.randint(1, 3) for i in asked}
            new = {i: rollouts[i].output[sizes[i] : sizes[i] + n] for i, n in grow.items()}
            for face in (live, *faces):
                face.extend(list(new), list(new.values()))
            for i in new:
                sizes[i] += len(new[i])
                if sizes[i] >= len(rollouts[i].output):
                    del sizes[i]
                    for face in (live, *faces):
                        face.finish(i)
            for i in [i for i in sizes if sizes[i] >= len(rollouts[i].output)]:
                del sizes[i]
                for face in (live, *faces):
                    face.finish(i)
        for k, counts in zip(known, tried, strict=True):
            k.add(counts)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30), seats=st.none() | st.integers(1, 3))
def test_one_drafter_alone_is_itself(seed: int, seats: int | None) -> None:
    load = workload_of(random_rollouts(seed, 2, 2, 3, 40, 3))
    setup = Setup.of(limits=Limits(max_num_seqs=seats))
    for spec in (
        "grouped:every=3,depth=6",
        "suffix:depth=6,max=5",
        "learned:table=nemo-eagle3,k=5",
    ):
        name, _, options = spec.partition(":")
        of = f"best_of:of={name}({options.replace(',', ';')})"
        results = [
            simulate_steps(load, replace(setup, drafter=DRAFTERS.make(s)), load.rl_steps)
            for s in (spec, of)
        ]
        for alone, best in zip(*results, strict=True):
            assert (alone.drafted == best.drafted).all()
            assert (alone.accepted == best.accepted).all()
            assert alone.makespan_s == pytest.approx(best.makespan_s)


def test_it_learns_whom_to_believe() -> None:
    """A drafter that is always right is taken from the second RL step on, whatever the order."""
    rollouts = random_rollouts(1, 4, 3, 4, 120, 40)
    load = workload_of(rollouts)
    table = "learned(table=nemo-eagle3;k=7)"
    for of in (f"ngram(k=8;min=1)|{table}", f"{table}|ngram(k=8;min=1)"):
        drafter = DRAFTERS.make(f"best_of:of={of}")
        assert not drafter.in_engine
        steps = simulate_steps(load, replace(Setup.of(), drafter=drafter), load.rl_steps)
        gain = [s.acceptance_length for s in steps]
        alone = simulate_steps(
            load, replace(Setup.of(), drafter=DRAFTERS.make("learned:table=nemo-eagle3,k=7")), [3]
        )
        assert gain[-1] > 0.97 * alone[0].acceptance_length


def test_costs_add_up() -> None:
    learned = "learned(table=nemo-eagle3;k=3;step=0.001;token=1e-5)"
    cost = cost_of(DRAFTERS.make(f"best_of:of={learned}|suffix"))
    assert (cost.step_s, cost.token_s, cost.once_s) == (0.0, 1e-5, pytest.approx(0.003))


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("", "no drafter"),
        ("suffix|", "no drafter"),
        ("sufix", "did you mean 'suffix'"),
        ("suffix(windw=3)", "did you mean 'window'"),
        ("suffix(window=3", "no drafter"),
        ("best_of", "one of its own"),
        ("suffix|specrl", "drafts nothing"),
        ("suffix|none", "drafts nothing"),
    ],
)
def test_refused(of: str, words: str) -> None:
    with pytest.raises(ComponentError, match=words):
        DRAFTERS.make({"name": "best_of", "of": of})


def test_no_engine_drafts_from_a_table() -> None:
    with pytest.raises(ComponentError, match="table"):
        DRAFTERS.make("best_of:of=suffix|learned").live()


class Broken:
    """A drafter's face that raises in one method."""

    def __init__(self, method: str) -> None:
        self.bad, self.done = method, list[str]()

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            if method == self.bad:
                raise RuntimeError("broken")
            self.done.append(method)

        return call


@pytest.mark.parametrize("method", ["start_step", "finish"])
def test_who_fails_does_not_keep_the_others(method: str) -> None:
    faces: list[Any] = [Broken(method), Broken("")]
    live = LiveBestOf(faces, [np.zeros(256)] * 2, [False, False])
    live.begin("r", "p", [1])
    with pytest.raises(RuntimeError):
        getattr(live, method)("r" if method == "finish" else 1)
    assert faces[1].done[-1] == method


def test_a_request_that_one_cannot_begin_is_nobodys() -> None:
    faces: list[Any] = [Broken(""), Broken("begin")]
    live = LiveBestOf(faces, [np.zeros(256)] * 2, [False, False])
    with pytest.raises(RuntimeError):
        live.begin("r", "p", [1])
    assert faces[0].done == ["begin", "finish"]


def test_a_run_does_not_depend_on_the_ones_before() -> None:
    load = workload_of(random_rollouts(5, 4, 2, 3, 60, 4))
    drafter = DRAFTERS.make("best_of:of=suffix(scope=problem)|ngram(min=1)")
    setup = replace(Setup.of(), drafter=drafter)
    first = simulate_steps(load, setup, load.rl_steps)
    simulate_steps(load, replace(setup, budget=Setup.of(budget="fixed:k=1").budget), [0, 1, 2])
    again = simulate_steps(load, setup, load.rl_steps)
    assert [s.drafted.tolist() for s in first] == [s.drafted.tolist() for s in again]


def test_a_tables_digest_is_part_of_it(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("position,rate\n1,0.5\n")
    made = DRAFTERS.make(f"best_of:of=suffix|learned(table={table})")
    assert DRAFTERS.make(spec_of(made)) == made
    table.write_text("position,rate\n1,0.9\n")
    with pytest.raises(ComponentError, match="another"):
        DRAFTERS.make(spec_of(made))


def test_alternatives_within_a_member_are_not_the_sweeps() -> None:
    spec = "best_of:of=suffix|learned(half_life=1e+3)"
    assert expand(spec) == [spec]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("suffix", ("suffix", "")),
        ("suffix:scope=own/fixed:k=4", ("suffix:scope=own", "fixed:k=4")),
        ("learned:table=/a/t.csv", ("learned:table=/a/t.csv", "")),
        ("learned:table=/a/t.csv/das", ("learned:table=/a/t.csv", "das")),
    ],
)
def test_a_policy_is_split_at_its_budget(text: str, parts: tuple[str, str]) -> None:
    assert split_policy(text) == parts
