"""Edges: other placements, replicas without requests, steps not there, caps."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from longtail.policies.batch import NO_CAP
from longtail.policies.profile import blank_profile, perfect_profile
from longtail.policies.view import StepView
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import TraceError, open_trace
from longtail.traces.synth import Recipe, synthesize


@dataclass(frozen=True)
class Backwards:
    """The last request first."""

    name: ClassVar[str] = "backwards"
    source: ClassVar[str] = "a test"

    def assign(self, view: StepView, replicas: int) -> list[np.ndarray]:
        order = np.arange(len(view.prompt))[::-1]
        return [order[first::replicas] for first in range(replicas)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edges") / "t.parquet"
    synthesize(path, Recipe(rl_steps=3, prompts=3, samples=3, seed=5, cap=200))
    return path


@pytest.fixture(scope="module")
def workload(path: Path) -> Workload:
    return Workload.from_trace(open_trace(path))


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_order_changes_who_waits_not_what_is_drafted(workload: Workload, replicas: int) -> None:
    setup = Setup.of(drafter="suffix", budget="fixed:k=4", limits=Limits(replicas=replicas))
    forth = simulate_steps(workload, setup, [1, 2])
    back = simulate_steps(workload, replace(setup, placement=Backwards()), [1, 2])
    for one, other in zip(forth, back, strict=True):
        assert one.drafted.tolist() == other.drafted.tolist()
        assert one.request_forwards.tolist() == other.request_forwards.tolist()


@pytest.mark.parametrize("budget", ["fixed:k=2", "das"])
def test_more_replicas_than_requests(workload: Workload, budget: str) -> None:
    setup = Setup.of(drafter="suffix", budget=budget, limits=Limits(replicas=20))
    result = simulate(workload, setup, log=True)
    assert result.total("finished") == 27
    assert sum(len(s.log) for s in result.steps if s.log is not None) == result.total("forwards")


def test_steps_that_are_not_there(path: Path) -> None:
    trace = open_trace(path)
    for wanted in ([-1], [3], [0, 7], []):
        with pytest.raises(TraceError, match=r"0 … 2"):
            Workload.from_trace(trace, rl_steps=wanted)


def test_caps(path: Path) -> None:
    trace = open_trace(path)
    lengths = trace.lengths()
    longest = int(lengths.output_len[~lengths.capped].max())
    load = Workload.from_trace(trace, cap=longest + 5)
    assert (load.cap == max(longest + 5, lengths.output_len.max())).all()
    with pytest.raises(TraceError, match="beyond the cap"):
        Workload.from_trace(trace, cap=longest - 1)


@pytest.mark.parametrize("recorded", [None, 20, [10, 20], 1000])
def test_caps_do_not_tell_where_a_text_ends(path: Path, recorded: int | list[int] | None) -> None:
    """Neither longer nor shorter than its limit, as a text may become when tokenised again."""
    trace = open_trace(path)
    object.__setattr__(trace.meta, "sampling", {"max_tokens": recorded} if recorded else {})
    load = Workload.from_trace(trace)
    lengths = load.lengths
    assert lengths.capped.any()
    (cap,) = set(load.cap.tolist())
    assert cap == max(lengths.output_len.max(), 1000 if recorded == 1000 else 0)


def test_without_a_limit_there_is_no_cap(tmp_path: Path) -> None:
    synthesize(tmp_path / "t.parquet", Recipe(rl_steps=1, prompts=2, samples=2, seed=5, cap=10**6))
    trace = open_trace(tmp_path / "t.parquet")
    object.__setattr__(trace.meta, "sampling", {})
    assert (Workload.from_trace(trace).cap == NO_CAP).all()


def test_das_gives_the_longest_something_where_history_had_none_like_it() -> None:
    from longtail.policies.budgets.das import LONG, MEDIUM, Das
    from longtail.policies.profile import Profile
    from longtail.policies.view import PastStep

    length = np.full(4, 50, np.int32)
    drafts = np.full(200, 4, np.uint8)
    profile = Profile(drafts, drafts, np.arange(5) * 50)
    zeros = np.zeros(4, np.int32)
    past = PastStep(0, zeros, length, profile)
    view = StepView(1, zeros, zeros + 5, zeros + 999, 8, (past,), lambda t, r: 0.01 + 1e-6 * t)
    rates = Das().plan(view).values[:3]
    assert rates[0] > 0 and rates[MEDIUM] >= rates[0] and rates[LONG] >= rates[0]


def test_a_profile_that_is_gone_is_never_taken_for_another(workload: Workload) -> None:
    """What is derived from a profile is kept; where it was in memory the next one may be."""
    last, lengths = workload.rl_steps[-1], workload.lengths.output_len
    for k in range(1, 100):
        kept = [blank_profile(lengths)] * (k % 3)  # so that places in memory vary
        past = workload.past(last, perfect_profile(lengths, k))
        assert [int(step.profile.drafted.max()) for step in past] == [k] * len(past), kept
