"""What is exported of drafts is what the simulator has, and what its readers ask for."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.decoding import Decoding, decode_recorded, decode_with
from longtail.analysis.export_acceptance import (
    acceptance_rates,
    export_frontier,
    export_positions,
    export_vllm,
)
from longtail.policies.registry import ComponentError
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.sweep import read_table
from longtail.traces import TraceError, TraceMeta, TraceWriter, open_trace

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from small_workloads import Rollout, traces, workload_of

chains = st.sampled_from(["suffix:scope=both,max=5", "ngram:k=4,min=1,max=3"])


@settings(max_examples=40, deadline=None)
@given(rollouts=traces, drafter=chains, k=st.integers(1, 6))
def test_forwards_are_the_simulators(rollouts: list[Rollout], drafter: str, k: int) -> None:
    load = workload_of(rollouts)
    done = decode_with(load, drafter, k=k)
    setup = Setup.of(drafter=drafter, budget=f"fixed:k={k}")
    steps = simulate_steps(load, setup, load.rl_steps)

    def sums(counts: np.ndarray) -> list[int]:
        running = np.concatenate([[0], np.cumsum(counts)])
        return np.diff(running[done.offsets]).tolist()

    assert sums(done.drafted) == [d for s in steps for d in s.drafted.tolist()]
    assert sums(done.accepted) == [a for s in steps for a in s.accepted.tolist()]
    decodes = [f - 1 for s in steps for f in s.request_forwards.tolist()]
    assert np.diff(done.offsets).tolist() == decodes
    assert sums(done.committed()) == [len(r.output) - 1 for r in rollouts]
    assert (done.committed() <= 1 + done.accepted).all() and (done.committed() >= 1).all()
    assert (done.drafted <= done.k).all() and (done.accepted <= done.drafted).all()


def replay(payload: dict[str, Any], request: str, output_len: int, k: int) -> int:
    """Decode a request by Frontier's rule; how many forwards it takes.

    The file's lists are of one length, never empty, and a forward commits at most what it drafted
    and one more.
    """
    committed = payload["per_request_committed_tokens_per_iteration"][request]
    drafted = payload["per_request_scheduled_draft_tokens_per_iteration"][request]
    assert len(committed) == len(drafted) > 0
    assert all(0 <= c <= 1 + d and d <= k for c, d in zip(committed, drafted, strict=True))
    remaining, forwards = output_len - 1, 0  # the prefill gives the first token
    while remaining > 0:
        remaining -= min(committed[forwards], 1 + drafted[forwards], remaining)
        forwards += 1
    return forwards


@settings(max_examples=25, deadline=None)
@given(rollouts=traces, drafter=chains, k=st.integers(1, 6), seed=st.integers(0, 99))
def test_frontier_decodes_what_is_exported(
    tmp_path_factory: pytest.TempPathFactory,
    rollouts: list[Rollout],
    drafter: str,
    k: int,
    seed: int,
) -> None:
    done = decode_with(workload_of(rollouts), drafter, k=k)
    order = np.random.default_rng(seed).permutation(len(rollouts))
    path = tmp_path_factory.mktemp("frontier") / "acceptance.json"
    told = export_frontier(done, order, path)
    payload = json.loads(path.read_text())
    assert list(payload["per_request_committed_tokens_per_iteration"]) == [
        str(i) for i in range(len(rollouts))
    ]
    counts = np.diff(done.offsets)
    for number, row in enumerate(order.tolist()):
        size = len(rollouts[row].output)
        assert replay(payload, str(number), size, done.k) == counts[row]
    single = sum(len(r.output) == 1 for r in rollouts)
    assert bool(told.warnings) == (single > 0)
    assert payload["metadata"]["num_speculative_tokens"] == done.k


def decoding(drafted: list[int], accepted: list[int], k: int, steps: tuple = (0,)) -> Decoding:
    """One rollout per RL step, each with the same forwards."""
    size = sum(accepted) + len(accepted) + 1
    count = len(steps)
    return Decoding(
        rl_step=np.array(steps, np.int32),
        output_len=np.full(count, size, np.int32),
        offsets=np.arange(count + 1) * len(drafted),
        drafted=np.array(drafted * count, np.int32),
        accepted=np.array(accepted * count, np.int32),
        k=k,
        about={"trace": "t.parquet", "origin": "synthetic"},
    )


def test_rates_by_hand(tmp_path: Path) -> None:
    done = decoding([4, 4, 2, 0, 4], [4, 2, 2, 0, 0], 4, steps=(0, 2))
    assert acceptance_rates(done) == [0.6, 0.6, 0.2, 0.2]
    export_positions(done, tmp_path / "p.csv")
    table = done.positions()
    assert table.rl_step.tolist() == [0] * 4 + [2] * 4
    assert table.position.tolist() == [1, 2, 3, 4] * 2
    assert set(table.forwards) == {5}
    assert table.drafted.tolist() == [4, 4, 3, 3] * 2
    assert table.accepted.tolist() == [3, 3, 1, 1] * 2
    assert table.rate_if_drafted.tolist()[:2] == [0.75, 0.75]
    assert "synthetic" in (tmp_path / "p.csv").read_text().splitlines()[1]
    with pytest.raises(TraceError):  # that it is no sweep's table is seen
        read_table(tmp_path / "p.csv")


forwards = st.lists(
    st.integers(0, 6).flatmap(lambda d: st.tuples(st.just(d), st.integers(0, d))), min_size=1
)


@given(forwards)
def test_rates_are_what_vllm_takes_and_give_the_acceptance_length(
    pairs: list[tuple[int, int]],
) -> None:
    drafted, accepted = (list(each) for each in zip(*pairs, strict=True))
    rates = acceptance_rates(decoding(drafted, accepted, 6))
    assert len(rates) == 6 and all(0 <= r <= 1 for r in rates)
    assert all(a >= b for a, b in pairwise(rates))
    assert sum(rates) == pytest.approx(np.mean(accepted))


def test_the_config_is_whole(tmp_path: Path) -> None:
    export_vllm(decoding([2, 2], [1, 2], 2), tmp_path / "v.json", {"method": "ngram"})
    assert json.loads((tmp_path / "v.json").read_text()) == {
        "method": "ngram",
        "num_speculative_tokens": 2,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_rates": [1.0, 0.5],
    }


def test_k_is_at_most_what_the_drafter_drafts() -> None:
    load = workload_of([Rollout(0, 0, [1], [2, 3] * 20)])
    assert decode_with(load, "ngram:k=4,min=1,max=3", k=100).k == 4
    assert decode_with(load, "ngram:k=4,min=1,max=3").k == 4
    assert decode_with(load, "ngram:k=4,min=1,max=3", k=3).k == 3


@pytest.mark.parametrize(
    ("drafter", "message"),
    [
        ("none", "drafts nothing"),
        ("specrl", "drafts nothing forward by forward"),
        ("suffix:paths=4", "drafts trees"),
        ("sufix", "did you mean"),
    ],
)
def test_what_has_no_positions_is_refused(drafter: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        decode_with(workload_of([Rollout(0, 0, [1], [2, 3])]), drafter)


def test_drafters_that_look_at_siblings_say_that_time_is_not_seen() -> None:
    load = workload_of([Rollout(0, 0, [1], [2, 3] * 5) for _ in range(2)])
    assert "began together" in decode_with(load, "grouped", k=2).warnings[0]


def write(path: Path, lists: list[tuple[Any, Any]], lengths: list[int]) -> Path:
    rows = [
        {"rl_step": 1 - i % 2, "prompt_id": "p", "sample": i, "prompt_len": 3,
         "output_len": size, "drafted": drafted, "accepted": accepted}
        for i, ((drafted, accepted), size) in enumerate(zip(lists, lengths, strict=True))
    ]  # fmt: skip
    with TraceWriter(path, TraceMeta(origin="recorded")) as writer:
        writer.write(rows)
    return path


def test_what_an_engine_recorded(tmp_path: Path) -> None:
    # The first ends with an accepted end token, which takes no bonus; the third is one token.
    lists = [([2, 3], [1, 3]), ([0, 4], [0, 2]), ([], []), ([1], [0])]
    trace = open_trace(write(tmp_path / "t.parquet", lists, [6, 5, 1, 2]))
    done = decode_recorded(trace)
    assert done.rl_step.tolist() == [0, 0, 1, 1] and done.output_len.tolist() == [5, 2, 6, 1]
    assert done.drafted.tolist() == [0, 4, 1, 2, 3] and done.offsets.tolist() == [0, 2, 3, 5, 5]
    assert done.committed().tolist() == [1, 3, 1, 2, 3] and done.k == 4
    late = decode_recorded(trace, rl_steps=[1])
    assert late.drafted.tolist() == [2, 3] and late.k == 3


@pytest.mark.parametrize(
    ("lists", "lengths", "message"),
    [
        ([([2], [1]), (None, None)], [3, 4], "1 of 2 rollouts have no recorded drafts"),
        ([([2], [1]), ([2], [1])], [3, 9], "forwards of 1 of 2 rollouts do not add up"),
        ([([2, 2], [2, 2]), ([2], [1])], [4, 3], "forwards of 1 of 2 rollouts do not add up"),
        ([([], []), ([2], [1])], [2, 3], "forwards of 1 of 2 rollouts do not add up"),
        ([([0], [0]), ([], [])], [2, 1], "nothing was drafted"),
    ],
)
def test_what_was_not_recorded_whole(
    tmp_path: Path, lists: list[tuple[Any, Any]], lengths: list[int], message: str
) -> None:
    trace = open_trace(write(tmp_path / "t.parquet", lists, lengths))
    with pytest.raises(TraceError, match=message) as error:
        decode_recorded(trace)
    assert "--drafter" in str(error.value)


def test_nothing_decoded_has_no_rates(tmp_path: Path) -> None:
    done = decode_with(workload_of([Rollout(0, 0, [1], [2])]), "ngram")
    with pytest.raises(TraceError, match="nothing is decoded"):
        export_vllm(done, tmp_path / "v.json", {})
    assert not list(tmp_path.iterdir())
