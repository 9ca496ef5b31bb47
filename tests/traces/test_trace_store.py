"""What is written is read back, in streams, in any order, or refused whole."""

from __future__ import annotations

import pickle
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_traces import META, row, write

from longtail.traces import (
    TraceError,
    TraceWriter,
    open_trace,
    rollout_table,
    sample_path,
)
from longtail.traces import writer as writer_module
from longtail.traces.check import check_trace
from longtail.traces.schema import FINISH_REASONS, METADATA_KEY, SCHEMA


@st.composite
def rollouts(draw: st.DrawFn) -> list[dict[str, Any]]:
    keys = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from("abcd"), st.integers(0, 4)),
            unique=True,
            min_size=1,
            max_size=30,
        )
    )
    prompt_variants = draw(st.integers(1, 2))
    rows = []
    for rl_step, prompt_id, sample in keys:
        prompt = [ord(prompt_id) - 96, 1 + draw(st.integers(0, prompt_variants - 1))]
        output = draw(st.lists(st.integers(0, 49), min_size=1, max_size=12))
        finish = draw(st.sampled_from(FINISH_REASONS))
        reward = draw(st.none() | st.floats(-1, 1, width=32))
        forwards = draw(st.none() | st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8))))
        drafts: dict[str, Any] = {}
        if forwards is not None:
            drafts["drafted"] = [max(pair) for pair in forwards]
            drafts["accepted"] = [min(pair) for pair in forwards]
        rows.append(
            row(
                rl_step,
                prompt_id,
                sample,
                prompt_tokens=prompt,
                output_tokens=output,
                finish_reason=finish,
                reward=reward,
                start_s=draw(st.none() | st.floats(0, 1)),
                **drafts,
            )
        )
    return rows


@settings(deadline=None, max_examples=30)
@given(rows=rollouts(), group_rows=st.integers(1, 8), group_tokens=st.integers(4, 60))
def test_roundtrip_in_any_order_and_row_group_size(
    rows: list[dict[str, Any]], group_rows: int, group_tokens: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "GROUP_ROWS", group_rows)
        patch.setattr(writer_module, "GROUP_TOKENS", group_tokens)
        path = write(Path(folder) / "t.parquet", rows)
        trace = check_trace(path)
        assert trace.meta == META
        stored = pq.read_table(path).to_pylist()
        for kept, given_row in zip(stored, rows, strict=True):  # arrival order in the file
            assert {k: kept[k] for k in given_row} == given_row

        wanted = sorted(rows, key=lambda r: r["rl_step"])  # stable
        lengths, tokens = trace.lengths(), trace.tokens()
        assert trace.rl_steps == sorted({r["rl_step"] for r in rows})
        assert trace.prompt_ids == list(dict.fromkeys(r["prompt_id"] for r in rows))
        for i, r in enumerate(wanted):
            assert lengths.rl_step[i] == r["rl_step"]
            assert trace.prompt_ids[lengths.prompt[i]] == r["prompt_id"]
            assert lengths.sample[i] == r["sample"]
            assert FINISH_REASONS[lengths.finish[i]] == r["finish_reason"]
            assert np.isnan(lengths.reward[i]) == (r["reward"] is None)
            assert tokens.output(i).tolist() == r["output_tokens"]
            assert tokens.prompt(i).tolist() == r["prompt_tokens"]
        starts = trace.column("start_s")
        assert [None if np.isnan(s) else s for s in starts] == [r["start_s"] for r in wanted]

        by_step = defaultdict(list)
        for r in wanted:
            by_step[r["rl_step"]].append(r)
        for step in trace.iter_steps():
            for i, r in enumerate(by_step.pop(step.rl_step)):
                assert step.output_tokens is not None and step.output_offsets is not None
                assert step.prompt_tokens is not None and step.prompt_offsets is not None
                a, b = step.output_offsets[i : i + 2]
                assert step.output_tokens[a:b].tolist() == r["output_tokens"]
                a, b = step.prompt_offsets[i : i + 2]
                assert step.prompt_tokens[a:b].tolist() == r["prompt_tokens"]
                assert step.capped[i] == (r["finish_reason"] == "length")
        assert not by_step

        last = trace.rl_steps[-1]
        some = trace.tokens([last])
        assert len(some) == len(trace.lengths([last]))
        assert some.output(len(some) - 1).tolist() == wanted[-1]["output_tokens"]
        assert some.prompt(len(some) - 1).tolist() == wanted[-1]["prompt_tokens"]


def test_prompt_texts_are_kept_once_and_numbered_like_the_prompts(tmp_path: Path) -> None:
    rows = [row(s, p, i) for s in range(2) for p in "ab" for i in range(3)]
    rows.append(row(1, "a", 3, prompt_tokens=[9, 9, 9]))
    trace = open_trace(write(tmp_path / "t.parquet", rows))
    tokens = trace.tokens()
    assert (tokens.prompt_of[:-1] == trace.lengths().prompt[:-1]).all()
    assert tokens.prompt_of[-1] == 2 and tokens.prompt(12).tolist() == [9, 9, 9]
    assert tokens.prompt_offsets.tolist() == [0, 2, 4, 7]


def test_lengths_only(tmp_path: Path) -> None:
    rows = [
        row(0, "p", i, prompt_tokens=None, output_tokens=None, prompt_len=5, output_len=7)
        for i in range(2)
    ]
    trace = check_trace(write(tmp_path / "t.parquet", rows))
    assert not trace.has_tokens
    (step,) = trace.iter_steps()
    assert step.output_tokens is None and step.output_len.tolist() == [7, 7]
    with pytest.raises(TraceError, match=r"t\.parquet: .*lengths-only"):
        trace.tokens()


def test_a_trace_travels_to_other_processes(tmp_path: Path) -> None:
    trace = pickle.loads(pickle.dumps(open_trace(write(tmp_path / "t.parquet", [row()]))))
    assert trace.tokens().output(0).tolist() == [3, 4, 0]


def test_a_table_of_arrays_equals_rows(tmp_path: Path) -> None:
    table = rollout_table(
        rl_step=np.zeros(2),
        prompt_id=["p", "q"],
        sample=np.zeros(2, dtype=np.int64),
        prompt_len=[2, 2],
        output_len=[3, 1],
        prompt_tokens=(np.array([1, 2, 1, 2]), [0, 2, 4]),
        output_tokens=(np.array([3, 4, 0, 0]), np.array([0, 3, 4])),
    )
    with TraceWriter(tmp_path / "a.parquet", META) as writer:
        writer.write(table)
    write(tmp_path / "b.parquet", [row(), row(prompt_id="q", output_tokens=[0])])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


BAD_ROWS = {
    "output_tokens and output_len disagree": row(sample=1, output_len=9),
    "outside the vocabulary": row(sample=1, output_tokens=[3, 50, 0]),
    "outside the vocabulary of 50": row(sample=1, prompt_tokens=[-1]),
    "output_len is below 1": row(sample=1, output_tokens=[]),
    "sample is below 0": row(sample=-1),
    "no prompt_id": row(sample=1) | {"prompt_id": None},
    "unknown finish_reason": row(sample=1, finish_reason="bored"),
    "end_s is before start_s": row(sample=1, start_s=2.0, end_s=1.0),
    "only one of prompt_tokens": row(sample=1, prompt_tokens=None, prompt_len=3),
    "some rollouts have tokens": row(
        sample=1, prompt_tokens=None, output_tokens=None, prompt_len=3, output_len=3
    ),
    "a null in output_tokens": row(sample=1, output_tokens=[1, None, 2]),
    "same number of forwards": row(sample=1, drafted=[1], accepted=[1, 0]),
    "accepted is negative or above": row(sample=1, drafted=[1], accepted=[2]),
    "same key as row 1": row(),
    "wrong type": row(sample=1, output_tokens=["a"]),
    "unknown column 'outputs'": row(sample=1) | {"outputs": 3},
}


@pytest.mark.parametrize("problem", BAD_ROWS)
def test_a_bad_row_is_named_and_nothing_is_left(tmp_path: Path, problem: str) -> None:
    rows = [row(), BAD_ROWS[problem]]
    with pytest.raises(TraceError, match=problem) as caught:
        write(tmp_path / "t.parquet", rows)
    if problem != "some rollouts have tokens":
        assert caught.value.row == 2
    assert str(tmp_path / "t.parquet") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "problem", [p for p in BAD_ROWS if p not in ("wrong type", "unknown column 'outputs'")]
)
def test_check_finds_what_the_writer_would_have_refused(tmp_path: Path, problem: str) -> None:
    loose = pa.schema([field.with_nullable(True) for field in SCHEMA])
    table = pa.Table.from_pylist([row(), BAD_ROWS[problem]], schema=loose)
    path = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: META.to_json()}), path)
    with pytest.raises(TraceError, match=problem) as caught:
        check_trace(path)
    assert caught.value.row == 2


def test_an_interrupted_write_leaves_the_old_trace_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [row()])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, META) as writer:
        writer.write([row(), row(sample=1)])
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no rollouts"), TraceWriter(tmp_path / "t", META):
        pass
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "absent" / "t.parquet", tmp_path / "file" / "t.parquet"):
        with pytest.raises(TraceError, match="name a file") as caught:
            write(target, [row()])
        assert str(target) in str(caught.value)


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    good = write(tmp_path / "good.parquet", [row(0, "p", i) for i in range(200)])
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-40])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"x": [1]}), other)
    renamed = tmp_path / "renamed.parquet"
    table = pq.read_table(good).rename_columns([n.replace("sample", "smpl") for n in SCHEMA.names])
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: META.to_json()}), renamed)
    newer = tmp_path / "newer.parquet"
    raw = META.to_json().replace(b'"schema_version":1', b'"schema_version":99')
    pq.write_table(pq.read_table(good).replace_schema_metadata({METADATA_KEY: raw}), newer)
    odd = tmp_path / "odd.parquet"
    pq.write_table(pq.read_table(good).replace_schema_metadata({METADATA_KEY: b"[1]"}), odd)
    forged = tmp_path / "forged.parquet"
    raw = META.to_json().replace(b'"rl_steps":{', b'"rl_steps":7,"was":{')
    assert raw != META.to_json()
    pq.write_table(pq.read_table(good).replace_schema_metadata({METADATA_KEY: raw}), forged)
    for path, problem in {
        tmp_path / "absent": "no such file",
        tmp_path: "is a folder",
        text: "not a Parquet file",
        cut: "not a Parquet file, or a truncated one",
        other: "not a trace",
        renamed: "column sample is missing",
        newer: "version 99",
        odd: "metadata is damaged",
        forged: "metadata is damaged",
    }.items():
        with pytest.raises(TraceError, match=problem) as caught:
            open_trace(path)
        assert str(path) in str(caught.value) and caught.value.remedy


def test_damage_inside_is_an_error_with_the_files_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(0, "p", i, output_tokens=rng.integers(0, 50, 200).tolist(), prompt_tokens=[1])
        for i in range(50)
    ]
    path = write(tmp_path / "t.parquet", rows)
    raw = bytearray(path.read_bytes())
    raw[600:4000] = bytes(3400)
    path.write_bytes(raw)
    with pytest.raises(TraceError, match=r"t\.parquet"):
        check_trace(path)


def test_an_rl_step_that_is_not_there(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path / "t.parquet", [row(4)]))
    with pytest.raises(TraceError, match="no rollouts in RL step 5"):
        trace.lengths([4, 5])


def test_the_bundled_sample_lies_in_the_package() -> None:
    assert sample_path().name == "sample.parquet"
    assert (sample_path().parent / "schema.py").exists()
