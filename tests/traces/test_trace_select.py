"""Some rollouts of a trace, and traces put together: nothing is changed, doubled or lost."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_traces import META, Row, row, write

from longtail.traces import TraceError, open_trace
from longtail.traces import writer as writer_module
from longtail.traces.check import check_trace
from longtail.traces.schema import METADATA_KEY, SCHEMA
from longtail.traces.select import join_traces, select_rollouts, write_selection
from longtail.traces.step_list import Steps


def stored(path: Path) -> list[Row]:
    check_trace(path)
    return pq.read_table(path).to_pylist()


def keys(rows: Sequence[Row]) -> list[tuple[int, str, int]]:
    return [(r["rl_step"], r["prompt_id"], r["sample"]) for r in rows]


@st.composite
def rollouts(draw: st.DrawFn) -> list[Row]:
    """In any order; every column is filled by somebody."""
    ids = st.tuples(st.integers(0, 3), st.sampled_from(["a", "ab", "b", "[c]"]), st.integers(0, 4))
    rows = []
    for key in draw(st.lists(ids, unique=True, min_size=1, max_size=25)):
        output = draw(st.lists(st.integers(0, 49), min_size=1, max_size=8))
        more = {
            "prompt_tokens": draw(st.sampled_from([[1], [2, 3]])),
            "finish_reason": draw(st.sampled_from([None, "stop", "length"])),
            "reward": draw(st.none() | st.just(0.5)),
            "policy_version": draw(st.none() | st.just(3)),
            "end_s": draw(st.none() | st.just(2.5)),
            "drafted": draw(st.sampled_from([None, [], [4, 0]])),
        }
        more["accepted"] = more["drafted"] and [1, 0]
        rows.append(row(*key, output_tokens=output, **more))
    return rows


# Selections


@settings(deadline=None, max_examples=30)
@given(data=st.data(), rows=rollouts(), group_rows=st.integers(1, 8))
def test_a_selection_is_what_its_options_say_untouched(
    data: st.DataObject, rows: list[Row], group_rows: int
) -> None:
    present = sorted({r["rl_step"] for r in rows})
    steps = data.draw(st.none() | st.lists(st.sampled_from(present), min_size=1))
    prompt = data.draw(st.sampled_from(["*", "a*", "b", "[[]c]"]))
    prompts, samples = (data.draw(st.none() | st.integers(1, 3)) for _ in range(2))
    longest = data.draw(st.none() | st.integers(1, 8))

    kept = [r for r in rows if steps is None or r["rl_step"] in steps]
    kept = [r for r in kept if longest is None or r["output_len"] <= longest]
    kept = [r for r in kept if fnmatchcase(r["prompt_id"], prompt)]
    order = dict.fromkeys(r["prompt_id"] for r in rows)  # of appearance in the trace
    here = [p for p in order if any(r["prompt_id"] == p for r in kept)][:prompts]
    wanted: list[Row] = []
    for r in kept:
        peers = [w for w in wanted if keys([w])[0][:2] == keys([r])[0][:2]]
        if r["prompt_id"] in here and (samples is None or len(peers) < samples):
            wanted.append(r)

    choice = {"prompt": prompt, "prompts": prompts, "samples": samples, "longest": longest}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "GROUP_ROWS", group_rows)
        source, output = write(Path(folder) / "t.parquet", rows), Path(folder) / "o.parquet"
        trace = open_trace(source)
        if not wanted:
            with pytest.raises(TraceError, match=r"t\.parquet: no rollout is selected"):
                select_rollouts(trace, output, rl_steps=steps, **choice)
            assert not output.exists()
            return
        assert select_rollouts(trace, output, rl_steps=steps, **choice) == len(wanted)
        everything = dict(zip(keys(rows), stored(source), strict=True))
        assert stored(output) == [everything[key] for key in keys(wanted)]
        note = f"{len(wanted)} of {len(rows)} rollouts of t.parquet"
        assert open_trace(output).meta == replace(META, notes=(*META.notes, note))


@settings(deadline=None, max_examples=25)
@given(data=st.data(), rows=rollouts(), parts=st.integers(1, 3))
def test_parts_of_a_trace_joined_are_the_trace(
    data: st.DataObject, rows: list[Row], parts: int
) -> None:
    shares: dict[int, set[tuple[int, str, int]]] = {}
    for key in keys(rows):
        shares.setdefault(data.draw(st.integers(0, parts - 1)), set()).add(key)
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder) / "t.parquet", rows)
        parted = Path(folder) / "parts"
        parted.mkdir()
        for i, wanted in shares.items():
            write_selection(open_trace(source), parted / f"{i}.parquet", wanted)
        paths = data.draw(st.permutations(sorted(parted.iterdir())))
        output = Path(folder) / "o.parquet"
        for given_paths in ([parted], paths):
            assert join_traces(given_paths, output) == len(rows)
            assert sorted(stored(output), key=str) == sorted(stored(source), key=str)
            assert replace(open_trace(output).meta, notes=META.notes) == META


def test_prompts_are_counted_after_all_else_is_chosen(tmp_path: Path) -> None:
    rows = [row(0, "a"), row(1, "b", output_tokens=[1] * 9), row(1, "c"), row(1, "d")]
    trace = open_trace(write(tmp_path / "t.parquet", rows))
    select_rollouts(trace, tmp_path / "o.parquet", rl_steps=[1], longest=5, prompts=1)
    assert keys(stored(tmp_path / "o.parquet")) == [(1, "c", 0)]


def test_a_trace_whose_columns_may_be_null_is_selected_too(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "t.parquet", [row()]))
    foreign = table.cast(pa.schema([f.with_nullable(True) for f in SCHEMA]))
    foreign = foreign.replace_schema_metadata({METADATA_KEY: META.to_json()})
    pq.write_table(foreign, tmp_path / "f.parquet")
    assert join_traces([tmp_path / "f.parquet"], tmp_path / "joined.parquet") == 1
    assert select_rollouts(open_trace(tmp_path / "f.parquet"), tmp_path / "o.parquet") == 1


def test_only_what_is_written_is_counted(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path / "t.parquet", [row()]))
    wanted = {(0, "p", 0), (7, "q", 0)}
    assert write_selection(trace, tmp_path / "o.parquet", wanted) == 1


def test_a_whole_trace_does_not_say_that_it_is_a_part(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path / "t.parquet", [row(0, "p", i) for i in range(2)]))
    parts = [tmp_path / f"{i}.parquet" for i in range(2)]
    for i, part in enumerate(parts):
        write_selection(trace, part, {(0, "p", i)})
    join_traces(parts, tmp_path / "o.parquet")
    assert "1 of 2 rollouts of t.parquet" not in open_trace(tmp_path / "o.parquet").meta.notes


def test_a_join_keeps_every_value_of_a_sampling_parameter(tmp_path: Path) -> None:
    paths = []
    for i, temperature in enumerate((0.8, 0.6, [0.6, 1.0])):
        meta = replace(META, sampling={"temperature": temperature, "top_p": 0.9})
        paths.append(write(tmp_path / f"{i}.parquet", [row(sample=i)], meta))
    join_traces(paths, tmp_path / "o.parquet")
    sampling = open_trace(tmp_path / "o.parquet").meta.sampling
    assert sampling == {"temperature": [0.6, 0.8, 1.0], "top_p": 0.9}


# Refusals, through the command


def test_selections_and_joins_from_the_command_line(bench: Any) -> None:
    source = write(bench.folder / "t.parquet", [row(s, p, 0) for s in range(3) for p in "abc"])
    halves = [bench.folder / f"{i}.parquet" for i in range(2)]
    for half, steps in zip(halves, ("0", "1..2"), strict=True):
        bench.done(bench.run("select", source, "--rl-steps", steps, "--prompts", 2, "-o", half))
    done = bench.done(bench.run("join", *halves, "-o", bench.output))
    assert done.output == f"{bench.output}: 6 rollouts\n"
    assert keys(stored(bench.output)) == [(s, p, 0) for s in range(3) for p in "ab"]


NO_TOKENS = {"prompt_tokens": None, "output_tokens": None, "prompt_len": 1, "output_len": 1}
REFUSED: dict[str, tuple[list[str], str]] = {
    "no such RL step": (["select", "T", "--rl-steps", "9"], "T: no rollouts in RL step 9; .* 0 to"),
    "nobody's prompt": (["select", "T", "--prompt", "q*"], "T: no rollout is selected; widen"),
    "no trace": (["select", "absent"], "absent: no such file; "),
    "text": (["select", "TEXT"], "TEXT: not a Parquet file"),
    "twice the same": (["join", "T", "T"], "T: .*sample 0. is also in .*T; "),
    "an empty folder": (["join", "EMPTY"], "EMPTY: no traces here; "),
    "one is no trace": (["join", "T", "TEXT"], "TEXT: not a Parquet file"),
    "one is not there": (["join", "T", "absent"], "absent: no such file"),
    "lengths and tokens": (["join", "T", "LENGTHS"], "some rollouts have tokens and some have"),
    "another vocabulary": (["join", "T", "OTHER"], "OTHER: vocab_size is 51, not 50; .*one model"),
    "another tokenizer": (["join", "T", "TOKENIZER"], "TOKENIZER: tokenizer is None, not "),
    "another end": (["join", "T", "END"], "END: end_token_id is 1, not 0"),
    "made up": (["join", "T", "SYNTHETIC"], "SYNTHETIC: origin is 'synthetic', not 'recorded'"),
}


@pytest.fixture
def named(bench: Any) -> Callable[[str], str]:
    """Files of those names."""
    folder = bench.folder
    write(folder / "T", [row(sample=i) for i in range(2)])
    write(folder / "LENGTHS", [row(sample=7, **NO_TOKENS)])
    write(folder / "OTHER", [row(sample=7)], replace(META, vocab_size=51))
    write(folder / "TOKENIZER", [row(sample=7)], replace(META, tokenizer=None))
    write(folder / "END", [row(sample=7)], replace(META, end_token_id=1))
    write(folder / "SYNTHETIC", [row(sample=7)], replace(META, origin="synthetic"))
    (folder / "TEXT").write_text("hello")
    (folder / "EMPTY").mkdir()
    return lambda word: str(folder / word) if (folder / word).exists() else word


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(bench: Any, named: Any, case: str) -> None:
    words, problem = REFUSED[case]
    assert re.search(problem, bench.refused(*map(named, words)))


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_that_was_there_outlives_a_refusal(bench: Any, named: Any, case: str) -> None:
    before = write(bench.output, [row(sample=9)]).read_bytes()
    result = bench.run(*map(named, REFUSED[case][0]), "-o", bench.output)
    assert isinstance(result.exception, TraceError)
    assert bench.output.read_bytes() == before and list(bench.out.iterdir()) == [bench.output]


def test_a_rollout_that_is_there_twice_is_told_by_its_traces(bench: Any, named: Any) -> None:
    twin = write(bench.folder / "TWIN", [row(sample=1)])
    assert str(twin) in bench.refused("join", named("T"), twin)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["select", "T", "--prompts", "0"], "x>=1"),
        (["select", "T", "--rl-steps", "2..1"], "'2..1' is not a list of RL steps"),
        (["join"], "Missing argument"),
    ],
)
def test_words_that_no_command_takes(
    bench: Any, named: Any, words: list[str], message: str
) -> None:
    result = bench.run(*map(named, words), "-o", bench.output)
    assert result.exit_code == 2 and message in result.output and list(bench.out.iterdir()) == []


# RL steps as words


@settings(deadline=None)
@given(
    spans=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 5), st.booleans()), min_size=1, max_size=5
    )
)
def test_rl_steps_are_read_as_written(spans: list[tuple[int, int, bool]]) -> None:
    words, steps = [], []
    for first, more, dots in spans:
        last = first + more if dots else first
        words.append(f"{first}..{last}" if dots else f" {first} ")
        steps += [*range(first, last + 1)]
    assert Steps().convert(",".join(words), None, None) == steps
    assert Steps().convert(words, None, None) == steps  # a YAML list
    assert Steps().convert([*steps, words[0]], None, None)[: len(steps)] == steps


@pytest.mark.parametrize("text", ["", ",", "1,", "x", "1..", "..3", "3..1", "1...3", "1-3", "1.5"])
def test_words_that_are_no_rl_steps(text: str) -> None:
    for value in (text, [1, text]):
        with pytest.raises(click.BadParameter, match="is not a list of RL steps such"):
            Steps().convert(value, None, None)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from("pq"), st.integers(0, 3)),
            min_size=1,
            max_size=6,
            unique=True,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_renumbered_nobody_is_lost_and_who_was_first_keeps_its_number(parts: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            write(Path(folder) / f"{i}.parquet", [row(*key) for key in keys])
            for i, keys in enumerate(parts)
        ]
        joined = Path(folder) / "o.parquet"
        assert join_traces(paths, joined, renumber=True) == sum(map(len, parts))
        found = [
            tuple(line[name] for name in ("rl_step", "prompt_id", "sample"))
            for line in pq.read_table(joined).to_pylist()
        ]
    assert len(set(found)) == len(found)
    wanted = [key for keys in parts for key in keys]
    assert [key[:2] for key in found] == [key[:2] for key in wanted]
    assert found[: len(parts[0])] == parts[0]
