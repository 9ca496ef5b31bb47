"""What is recorded is a trace, whole and with a key of its own for every rollout."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_session import Run

from longtail.engine import recorder
from longtail.engine.recorder import Recorder, Samples
from longtail.traces import Trace, TraceError, TraceMeta, open_trace
from longtail.traces.select import join_traces

META = TraceMeta(origin="recorded", model="m", vocab_size=100, engine="e", engine_config={"k": 1})


def row(number: int, output: Sequence[int] = (5,), **more: Any) -> dict[str, Any]:
    return {
        "rl_step": 0,
        "prompt_id": "p",
        "sample": number,
        "prompt_tokens": [1, 2],
        "output_tokens": list(output),
        "prompt_len": 2,
        "output_len": len(output),
        "finish_reason": "stop",
        "start_s": 0.0,
        "end_s": 1.0,
        "drafted": [],
        "accepted": [],
        **more,
    }


def files(folder: Path) -> list[Trace]:
    return [open_trace(path) for path in sorted(folder.rglob("[!.]*.parquet"))]


def rows_of(trace: Trace) -> list[dict[str, Any]]:
    return [row for _, table in trace.groups() for row in table.to_pylist()]


def keys(folder: Path) -> list[list[tuple[int, str, int]]]:
    return [
        [(r["rl_step"], r["prompt_id"], r["sample"]) for r in rows_of(trace)]
        for trace in files(folder)
    ]


forwards = st.lists(
    st.integers(0, 128).flatmap(lambda d: st.tuples(st.just(d), st.integers(0, d))), max_size=4
)
rollouts = st.lists(
    st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=6), forwards), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(st.lists(rollouts, max_size=4))
def test_every_rollout_is_in_one_whole_trace(parts: list[list]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "new" / "rollouts"
        kept, number = Recorder(folder, META), count()
        for part in parts:
            for tokens, verified in part:
                drafted, accepted = ([pair[which] for pair in verified] for which in (0, 1))
                kept.add(row(next(number), tokens, drafted=drafted, accepted=accepted), {})
            kept.write()
        found = files(folder)
        assert len(found) == sum(map(bool, parts))  # no file of nothing
        told = [
            (r["output_tokens"], r["drafted"], r["accepted"]) for t in found for r in rows_of(t)
        ]
        assert told == [
            (tokens, [d for d, _ in verified], [a for _, a in verified])
            for part in parts
            for tokens, verified in part
        ]


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.lists(st.integers(1, 9), max_size=12))
def test_memory_holds_a_bounded_number_of_tokens(most: int, lengths: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "TOKENS", most)
        kept = Recorder(Path(name), META)
        for number, length in enumerate(lengths):
            kept.add(row(number, [5] * length), {})
            written = sum(trace.n_rollouts for trace in files(Path(name)))
            assert sum(lengths[written : number + 1]) < most
        sizes = [sum(len(r["output_tokens"]) for r in rows_of(t)) for t in files(Path(name))]
        assert all(size >= most for size in sizes)  # and no file is written early


def test_what_is_no_rollout_costs_no_later_one(tmp_path: Path) -> None:
    kept = Recorder(tmp_path, META)
    kept.add(row(0, [100]), {})  # a vocabulary of 100 tokens
    with pytest.raises(TraceError, match="outside the vocabulary"):
        kept.write()
    kept.add(row(1), {})
    kept.write()
    assert keys(tmp_path) == [[(0, "p", 1)]]


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for folder in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(TraceError, match=f"{folder}: cannot write here"):
            Recorder(folder, META)


# Metadata


def test_a_trace_says_where_it_comes_from(tmp_path: Path) -> None:
    kept = Recorder(tmp_path, META)
    kept.add(row(0), {"temperature": 0.5, "top_k": -1})
    kept.add(row(1), {"temperature": 1.0, "top_k": -1})
    kept.add(row(2), {"temperature": 0.5, "top_k": -1})
    kept.write()
    (trace,) = files(tmp_path)
    assert trace.meta.sampling == {"temperature": [0.5, 1.0], "top_k": -1}
    assert {**vars(trace.meta), "sampling": {}} == vars(META)


def test_a_file_names_the_sampling_of_its_own_rollouts(tmp_path: Path) -> None:
    kept = Recorder(tmp_path, META)
    for number, temperature in enumerate((0.5, 1.0)):
        kept.add(row(number), {"temperature": temperature})
        kept.write()
    assert [trace.meta.sampling["temperature"] for trace in files(tmp_path)] == [0.5, 1.0]


def test_a_parameter_may_be_missing_in_some_rollouts(tmp_path: Path) -> None:
    kept = Recorder(tmp_path, META)
    for number, seed in enumerate((None, 7)):
        kept.add(row(number), {"seed": seed})
    kept.write()
    assert len(keys(tmp_path)[0]) == 2


# Numbers of a prompt's rollouts

PLACES = st.tuples(st.integers(0, 2), st.sampled_from("ab"))


@given(st.lists(st.tuples(PLACES, st.none() | st.integers(0, 4))))
def test_no_two_rollouts_have_the_same_key(asked: list) -> None:
    samples, taken = Samples(), set()
    for place, wanted in asked:
        number = samples.take(*place, wanted)
        assert number >= 0 and (place, number) not in taken
        if wanted is not None and (place, wanted) not in taken:
            assert number == wanted
        taken.add((place, number))


@given(st.lists(PLACES), st.integers(0, 3))
def test_forgetting_steps_changes_no_later_one(asked: list, before: int) -> None:
    whole, short = Samples(), Samples()
    for place in asked:
        assert whole.take(*place) == short.take(*place)
    short.forget(before)
    for rl_step in range(before, 4):
        for prompt in "ab":
            assert whole.take(rl_step, prompt) == short.take(rl_step, prompt)


# As a session records


def test_there_is_a_file_per_rl_step_and_late_rollouts_keep_theirs(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for name in ("a", "b", "late"):
        run.begin(name, prompt_id=name, rl_step=4)
    run.end("a", "b")
    run.session.signal(5)
    assert keys(tmp_path / "rec") == [[(4, "a", 0), (4, "b", 0)]]
    run.begin("c", prompt_id="c", rl_step=5)
    run.end("late", "c")
    run.session.signal(6)
    run.session.signal(7)  # of which there is nothing to write
    run.rollout("d", prompt_id="d", rl_step=7)
    run.session.close()
    assert keys(tmp_path / "rec")[1:] == [[(4, "late", 0), (5, "c", 0)], [(7, "d", 0)]]
    assert join_traces([tmp_path / "rec"], tmp_path / "whole.parquet") == 5
    assert open_trace(tmp_path / "whole.parquet").rl_steps == [4, 5, 7]


gains = st.lists(
    st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.integers(0, 5)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(gains, min_size=1, max_size=3))
def test_forwards_after_the_prefill_are_told_one_by_one(texts: list[list]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name))
        names = [str(i) for i in range(len(texts))]
        run.begin(*names)
        for step in range(max(map(len, texts))):
            now = [
                (n, text[step]) for n, text in zip(names, texts, strict=True) if step < len(text)
            ]
            run.session.gained(
                [n for n, _ in now],
                [tokens for _, (tokens, _) in now],
                [(len(tokens) - 1 + more) * (step > 0) for _, (tokens, more) in now],
                [(len(tokens) - 1) * (step > 0) for _, (tokens, _) in now],
            )
        outputs = [[token for tokens, _ in text for token in tokens] for text in texts]
        for n, output in zip(names, outputs, strict=True):
            run.session.leave(n, output, "length")
        run.session.close()
        (trace,) = files(Path(name) / "rec")
        for found, text, output in zip(rows_of(trace), texts, outputs, strict=True):
            assert found["output_tokens"] == output and found["output_len"] == len(output)
            assert found["prompt_tokens"] == [1, 2] and found["finish_reason"] == "length"
            assert found["accepted"] == [len(tokens) - 1 for tokens, _ in text[1:]]
            assert found["drafted"] == [len(tokens) - 1 + more for tokens, more in text[1:]]
            assert 0 <= found["start_s"] <= found["end_s"]


@pytest.mark.parametrize("reason", ["stop", "length", "abort", None])
def test_a_rollout_is_recorded_however_it_ended(tmp_path: Path, reason: str | None) -> None:
    run = Run(tmp_path)
    run.begin("a", "nothing came of it")
    run.end("a", reason=reason)
    run.session.leave("nothing came of it", [], "abort")
    run.session.close()
    (trace,) = files(tmp_path / "rec")
    assert [found["finish_reason"] for found in rows_of(trace)] == [reason]
    assert trace.meta.sampling == {"temperature": 1.0}


@pytest.mark.parametrize(
    ("told", "argument"),
    [
        (0, {}),
        (0, {"prompt_id": 0}),
        (9, {}),
        (2**31, {}),
    ],
)
def test_keys_stay_apart(tmp_path: Path, told: int, argument: dict[str, Any]) -> None:
    run = Run(tmp_path)
    run.rollout("a", rl_step=0, prompt_id="0")
    run.session.signal(told)
    run.rollout("b", **{"prompt_id": "0", "rl_step": 0, **argument})
    run.session.close()
    assert join_traces([tmp_path / "rec"], tmp_path / "whole.parquet") == 2


def test_a_full_disk_costs_neither_the_other_nor_what_comes_later(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.session.recorder.folder.rmdir()
    run.rollout("a", rl_step=0, prompt_id="p")
    run.session.flush()
    assert run.logged() == [0] and run.faults == {"record": 1} and len(run.warnings) == 1
    run.session.recorder.folder.mkdir()
    run.session.log.folder.rename(tmp_path / "away")
    run.rollout("b", rl_step=0, prompt_id="p")
    run.session.close()
    assert run.recorded() == [(0, "p", 0), (0, "p", 1)]
    assert run.faults == {"record": 1, "log": 1} and len(run.warnings) == 2


def test_a_name_that_cannot_be_written_costs_no_other_rollout(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin("bad", prompt_id="\ud800")
    run.begin("good", prompt_id="good")
    run.end("bad", "good")
    run.session.flush()
    assert "good" in [prompt for _, prompt, _ in run.recorded()] and 1 in run.logged()
