"""What is exported and can be imported again comes back; the rest is what its readers expect."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.traces import Trace, TraceError, TraceMeta, TraceWriter, open_trace
from longtail.traces.commands import trace as command
from longtail.traces.export_csv import export_csv
from longtail.traces.export_requests import BLOCK, export_mooncake, export_vidur

KEYS = ("rl_step", "sample", "prompt_len", "output_len", "finish")
UNKNOWN = [None, float("nan")]  # rewards
NUMBERS = ("policy_version", "start_s", "end_s")


def stored(path: Path, rows: list[dict[str, Any]], origin: str = "recorded") -> Trace:
    """A trace of rows of which only what matters is given."""
    seen: dict[tuple[int, str], int] = {}
    with TraceWriter(path, TraceMeta(origin=origin)) as writer:
        for row in rows:
            group = (row.get("rl_step", 0), row.get("prompt_id", "p"))
            sample = seen[group] = seen.get(group, -1) + 1
            plain = {"rl_step": 0, "prompt_id": "p", "sample": sample, "prompt_len": 5}
            writer.write([{**plain, "output_len": 3, **row}])
    return open_trace(path)


def imported(form: str, source: Path, *words: str) -> Trace:
    target = source.parent / "again.parquet"
    done = CliRunner().invoke(command, ["import", form, str(source), "-o", str(target), *words])
    assert done.exception is None, done.exception
    return open_trace(target)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Prompts of few blocks, so that many begin alike; the last block is of any length.
prompts = st.builds(
    lambda blocks, tail: np.concatenate([np.repeat(np.array(blocks, np.int32), BLOCK), tail]),
    st.lists(st.integers(0, 1), max_size=2),
    st.lists(st.integers(0, 1), min_size=1, max_size=2).map(lambda tail: np.array(tail, np.int32)),
)


@st.composite
def recorded(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rollouts of several prompts and RL steps, with times, and with or without tokens."""
    with_tokens = draw(st.booleans())
    rows = []
    for step in range(draw(st.integers(1, 2))):
        for _ in range(draw(st.integers(1, 5))):
            who = draw(st.integers(0, 2))
            tokens, size = draw(prompts), draw(st.integers(1, 4))
            row: dict[str, Any] = {"rl_step": step, "prompt_id": f"p{who}", "output_len": size}
            row["prompt_len"] = len(tokens)
            row["start_s"] = 100.0 * (1 + step) + draw(st.integers(0, 99_000)) / 1000
            if with_tokens:
                row |= {"prompt_tokens": tokens.tolist(), "output_tokens": [1] * size}
            rows.append(row)
    return rows


@settings(max_examples=40, deadline=None)
@given(recorded())
def test_mooncake_comes_back(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        done = export_mooncake(stored(Path(folder) / "t.parquet", rows), path)
        assert done.records == len(rows)
        again = imported("mooncake", path)
        requests = lines(path)
        lengths, start_s = again.lengths(), again.column("start_s")

    rows = sorted(rows, key=lambda row: row["start_s"])  # by arrival, ties as they stood
    assert lengths.output_len.tolist() == [row["output_len"] for row in rows]
    assert lengths.prompt_len.tolist() == [row["prompt_len"] for row in rows]
    since = [round(1000 * (row["start_s"] - rows[0]["start_s"])) for row in rows]
    assert [round(1000 * s) for s in start_s] == since

    texts = [tuple(row.get("prompt_tokens", [row["prompt_id"]])) for row in rows]
    identity = [(text, row["prompt_len"]) for text, row in zip(texts, rows, strict=True)]
    for i in range(len(rows)):
        for j in range(i):
            assert (identity[i] == identity[j]) == (lengths.prompt[i] == lengths.prompt[j])
            if "prompt_tokens" in rows[i]:
                alike(texts[i], texts[j], requests[i]["hash_ids"], requests[j]["hash_ids"])
    ids = [number for request in requests for number in request["hash_ids"]]
    assert list(dict.fromkeys(ids)) == list(range(len(set(ids))))  # numbered as they come
    assert [len(r["hash_ids"]) for r in requests] == [-(-r["prompt_len"] // BLOCK) for r in rows]


def alike(one: tuple, other: tuple, ids: list[int], others: list[int]) -> None:
    """Equal ids for the whole blocks in which two prompts agree, and for the rest if all is."""
    agree = next((k for k, (a, b) in enumerate(zip(one, other)) if a != b), None)  # noqa: B905
    shared = min(len(one), len(other)) if agree is None else agree
    expected = len(ids) if one == other else shared // BLOCK
    assert [a == b for a, b in zip(ids, others)].count(True) == expected  # noqa: B905
    assert ids[:expected] == others[:expected]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
seconds = st.floats(0, 1e9) | st.none()


@st.composite
def anything(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rollouts with all that a lengths-only trace can hold."""
    keys = draw(st.sets(st.tuples(st.integers(0, 9), names, st.integers(0, 99)), min_size=1))
    rows = []
    for rl_step, prompt_id, sample in sorted(keys):
        start_s, took_s = draw(seconds), draw(seconds)
        known = start_s is not None and took_s is not None
        rows.append(
            {
                "rl_step": rl_step,
                "prompt_id": prompt_id,
                "sample": sample,
                "prompt_len": draw(st.integers(1, 2**31 - 1)),
                "output_len": draw(st.integers(1, 2**31 - 1)),
                "finish_reason": draw(st.sampled_from([None, "stop", "length", "abort"])),
                "reward": draw(
                    st.floats(width=32, allow_infinity=False) | st.sampled_from(UNKNOWN)
                ),
                "policy_version": draw(st.integers(0, 2**31 - 1) | st.none()),
                "start_s": start_s,
                "end_s": start_s + took_s if known else None,
            }
        )
    return rows


@settings(max_examples=60, deadline=None)
@given(anything())
def test_csv_comes_back(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollouts.csv"
        before = stored(Path(folder) / "t.parquet", rows)
        assert export_csv(before, path).records == len(rows)
        after = imported("lengths", path)
        old, new = before.lengths(), after.lengths()
        for name in KEYS:
            assert getattr(old, name).tolist() == getattr(new, name).tolist(), name
        assert [old.prompt_ids[p] for p in old.prompt] == [new.prompt_ids[p] for p in new.prompt]
        assert np.array_equal(old.reward, new.reward, equal_nan=True)
        for name in NUMBERS:
            assert np.array_equal(before.column(name), after.column(name), equal_nan=True), name


def test_csv_has_sums_of_what_was_drafted_and_says_what_was_made_up(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"rl_step": 0},
        {"rl_step": 1, "output_len": 9, "drafted": [4, 0, 2], "accepted": [3, 0, 2]},
        {"rl_step": 1, "drafted": [], "accepted": [], "output_len": 1},
    ]
    trace = stored(tmp_path / "t.parquet", rows, origin="synthetic")
    export_csv(trace, tmp_path / "r.csv.gz")
    found = list(csv.DictReader(io.StringIO(gzip.decompress(bytes_of(tmp_path)).decode())))
    sums = [(r["forwards"], r["draft_tokens"], r["accepted_tokens"]) for r in found]
    assert sums == [("", "", ""), ("3", "6", "5"), ("0", "0", "0")]
    assert {r["source"] for r in found} == {"SYNTHETIC: t.parquet"}
    assert imported("lengths", tmp_path / "r.csv.gz").meta.source == "SYNTHETIC: t.parquet"

    export_csv(trace, tmp_path / "r.csv", rl_steps=[1])
    assert [r["rl_step"] for r in csv.DictReader((tmp_path / "r.csv").open())] == ["1", "1"]


def bytes_of(folder: Path) -> bytes:
    return (folder / "r.csv.gz").read_bytes()


def test_vidur_has_requests_by_arrival(tmp_path: Path) -> None:
    rows = [
        {"start_s": 12.5, "prompt_len": 7, "output_len": 2},
        {"start_s": 11.25, "prompt_len": 8, "output_len": 4},
    ]
    export_vidur(stored(tmp_path / "t.parquet", rows), tmp_path / "v.csv")
    assert (tmp_path / "v.csv").read_text().splitlines() == [
        "arrived_at,num_prefill_tokens,num_decode_tokens",
        "0,8,4",
        "1.25,7,2",
    ]


def test_rl_steps_arrive_as_far_apart_as_asked(tmp_path: Path) -> None:
    rows = [{"rl_step": step, "start_s": 5.0 - step} for step in (0, 3, 3)]
    trace = stored(tmp_path / "t.parquet", rows)
    done = export_mooncake(trace, tmp_path / "m.jsonl", step_s=1.5)
    assert [r["timestamp"] for r in lines(tmp_path / "m.jsonl")] == [0, 1500, 1500]
    assert [w.partition(":")[0] for w in done.warnings] == ["lengths only"]


def test_one_rl_step_without_times_arrives_at_once(tmp_path: Path) -> None:
    trace = stored(tmp_path / "t.parquet", [{}, {}, {"rl_step": 1}])
    done = export_mooncake(trace, tmp_path / "m.jsonl", rl_steps=[0])
    assert [r["timestamp"] for r in lines(tmp_path / "m.jsonl")] == [0, 0]
    assert "2 of 2 rollouts have no start time" in done.warnings[0]


def test_prompts_and_texts_that_do_not_go_together_are_counted(tmp_path: Path) -> None:
    texts = {"a": [[1, 2, 3]], "b": [[1, 2, 3]], "c": [[1, 2], [4, 2]]}
    rows = [
        {"prompt_id": name, "prompt_len": len(text), "prompt_tokens": text,
         "output_tokens": [1, 2, 3]}
        for name, several in texts.items() for text in several
    ]  # fmt: skip
    done = export_mooncake(stored(tmp_path / "t.parquet", rows), tmp_path / "m.jsonl")
    assert [r["hash_ids"] for r in lines(tmp_path / "m.jsonl")] == [[0], [0], [1], [2]]
    assert [w.split()[:4] for w in done.warnings[1:]] == [
        ["1", "prompts", "have", "the"],
        ["1", "prompts", "have", "several"],
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"start_s": 1.0}, {}], "1 of 2 rollouts have no start time"),
        ([{}, {"rl_step": 1}], "2 of 2 rollouts have no start time"),
        ([{"start_s": 1.0}, {"rl_step": 4, "start_s": 1.0}], "RL step 4 does not begin after"),
    ],
)
def test_arrivals_that_are_not_known_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    trace = stored(tmp_path / "t.parquet", rows)
    for export in (export_mooncake, export_vidur):
        with pytest.raises(TraceError, match=message) as error:
            export(trace, tmp_path / "out")
        assert "--step-s" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("verb", ["mooncake", "vidur", "csv"])
def test_a_source_is_never_written_over(tmp_path: Path, verb: str) -> None:
    trace = stored(tmp_path / "t.parquet", [{}])
    before = trace.path.read_bytes()
    for target, message in (
        (trace.path, "one of the sources"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x", "no such folder"),
    ):
        done = CliRunner().invoke(command, ["export", verb, str(trace.path), "-o", str(target)])
        assert isinstance(done.exception, TraceError) and message in str(done.exception)
    assert trace.path.read_bytes() == before and list(tmp_path.iterdir()) == [trace.path]


def test_a_trace_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    trace = stored(tmp_path / "t.parquet", [{"prompt_id": f"p{i}"} for i in range(50)])
    raw = bytearray(trace.path.read_bytes())
    raw[200:400] = bytes(200)  # in the first pages; the footer is whole
    trace.path.write_bytes(raw)
    with pytest.raises(TraceError, match="damaged"):
        export_csv(open_trace(trace.path), tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == [trace.path]


def test_the_same_bytes_for_the_same_trace(tmp_path: Path) -> None:
    trace = stored(tmp_path / "t.parquet", [{"prompt_id": "a"}, {"prompt_id": "b"}])
    for name in ("one.gz", "two.gz", "three.zst"):
        export_mooncake(trace, tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    with pa.input_stream(str(tmp_path / "three.zst"), compression="zstd") as stream:
        assert stream.read() == gzip.decompress((tmp_path / "one.gz").read_bytes())
