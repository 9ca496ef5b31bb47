"""Wrong chances, lengths and latencies cost `tail` something, but no more than no drafts do."""

from __future__ import annotations

from typing import Any

import pytest

import longtail
from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.cost import cost_of
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import find_trace

MOST = 1.02  # times the makespan without drafts
SLOW = "linear:base=2e-3,token=20e-6"  # a draft token costs a hundredth of a forward


@pytest.fixture(scope="module")
def load() -> Workload:
    return Workload.from_trace(longtail.read_trace(str(find_trace("sample"))), rl_steps=range(7))


def makespan_s(load: Workload, budget: str, drafter: str, **more: Any) -> float:
    setup = Setup.of(drafter=drafter, budget=budget, **more)
    return simulate_steps(load, setup, [1, 6])[-1].makespan_s


@pytest.mark.parametrize("drafter", ["suffix:scope=both", "ngram", "learned:step=2e-3"])
@pytest.mark.parametrize("requests", [16, 512])
@pytest.mark.parametrize(
    ("budget", "more"),
    [
        ("tail", {}),
        ("tail", {"skew": 0.5}),
        ("tail", {"skew": 1.5}),
        ("tail:lengths=noise", {}),
        ("tail", {"latency": SLOW, "told": "linear:base=2.6e-3,token=20e-6"}),
        ("tail", {"latency": SLOW, "told": "linear:base=1.4e-3,token=20e-6"}),
    ],
)
def test_never_worse_than_no_drafts(
    load: Workload, drafter: str, requests: int, budget: str, more: dict[str, Any]
) -> None:
    part = load.at_most(requests)
    clock = {"latency": more["latency"]} if "latency" in more else {}
    plain = makespan_s(part, "fixed:k=0", drafter, **clock)
    made = DRAFTERS.make(drafter)
    first = cost_of(made).whole_s(made.longest_draft)  # of a model: seen once, before it is known
    assert makespan_s(part, budget, drafter, **more) <= MOST * plain + first


def test_being_misled_shows(load: Workload) -> None:
    """The runs above would prove nothing if nobody listened."""
    right = makespan_s(load, "tail", "suffix:scope=both")
    for more in ({"skew": 0.5}, {"told": "linear:base=1e-4,token=25e-6"}):
        assert makespan_s(load, "tail", "suffix:scope=both", **more) != right
    assert makespan_s(load, "tail:lengths=noise", "suffix:scope=both") != right
