"""Prompts to continue come from a trace or from JSON lines, or one error names file and row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_traces import Rollout, write
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from longtail.engine.prompts import read_prompts
from longtail.traces import TraceError, TraceMeta, TraceWriter


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokenizer(path: Path, longest: int | None = None) -> Path:
    """`w0 w1 …` become 0, 1, …"""
    made = Tokenizer(WordLevel({f"w{i}": i for i in range(20)}, unk_token="w0"))
    made.pre_tokenizer = Whitespace()
    if longest:
        made.enable_truncation(longest)
    made.save(str(path))
    return path


tokens = st.lists(st.integers(0, 1 << 31), min_size=1, max_size=6)
limits = st.none() | st.integers(1, 8)


# From a trace


@settings(deadline=None, max_examples=50)
@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12),
    limit=limits,
)
def test_a_traces_prompts_in_order_of_appearance(
    keys: list[tuple[int, int]], limit: int | None
) -> None:
    rollouts = [Rollout(step, prompt, [prompt + 1, 7], [3]) for step, prompt in keys]
    names = list(dict.fromkeys(str(prompt) for _, prompt in keys))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.parquet", rollouts)
        found = read_prompts(path, limit=limit)
    assert found == (names[:limit], [[int(name) + 1, 7] for name in names][:limit])


def test_a_lengths_only_trace_has_no_prompts(tmp_path: Path) -> None:
    row = {"rl_step": 0, "prompt_id": "p", "sample": 0, "prompt_len": 1, "output_len": 1}
    with TraceWriter(tmp_path / "t.parquet", TraceMeta(origin="imported")) as writer:
        writer.write([row])
    with pytest.raises(TraceError, match=r"t\.parquet: a lengths-only trace has no tokens; "):
        read_prompts(tmp_path / "t.parquet")


def test_a_trace_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("hello")
    with pytest.raises(TraceError, match=r"t\.parquet: not a Parquet file"):
        read_prompts(tmp_path / "t.parquet")


# From JSON lines


@settings(deadline=None, max_examples=50)
@given(prompts=st.lists(tokens, min_size=1, max_size=6), limit=limits, blank=st.booleans())
def test_token_ids_are_taken_as_they_are(
    prompts: list[list[int]], limit: int | None, blank: bool
) -> None:
    rows = [json.dumps({"prompt_tokens": p, "other": None}) for p in prompts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.jsonl"
        path.write_text(("\n \n" if blank else "\n").join(rows))
        names, found = read_prompts(path, limit=limit)
    assert found == prompts[:limit]
    assert names == [str(i) for i in range(len(prompts))][:limit]


def test_text_is_tokenised_and_token_ids_go_before_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": "w3 w1", "prompt_id": "a"},
        {"prompt": "w3", "prompt_tokens": [9], "prompt_id": 7},
        {"prompt": "w4", "prompt_tokens": None, "prompt_id": "c"},
    ]
    found = read_prompts(lines(tmp_path / "p", rows), tokenizer=tokenizer(tmp_path / "t.json"))
    assert found == (["a", "7", "c"], [[3, 1], [9], [4]])


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [{"prompt_tokens": [1]}])
    assert read_prompts(path, tokenizer=tmp_path / "absent.json") == (["0"], [[1]])


GOOD = {"prompt_tokens": [1, 2]}
ROWS: dict[str, tuple[Any, str]] = {
    "a list": ([1], "not a JSON object"),
    "null": (None, "not a JSON object"),
    "a number": (3, "not a JSON object"),
    "nothing of use": ({"text": "w1"}, "neither prompt_tokens .* nor prompt"),
    "no ids": ({"prompt_tokens": []}, "neither prompt_tokens"),
    "negative": ({"prompt_tokens": [1, -1]}, "neither prompt_tokens"),
    "half": ({"prompt_tokens": [1.5]}, "neither prompt_tokens"),
    "text as ids": ({"prompt_tokens": "w1"}, "neither prompt_tokens"),
    "a nested list": ({"prompt_tokens": [[1]]}, "neither prompt_tokens"),
    "a chat": ({"prompt": [{"role": "user"}]}, "neither prompt_tokens"),
    "empty text": ({"prompt": ""}, "neither prompt_tokens"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row_is_named(tmp_path: Path, case: str) -> None:
    bad, problem = ROWS[case]
    path = lines(tmp_path / "p.jsonl", [GOOD, GOOD, bad, GOOD])
    for limit in (None, 1):
        with pytest.raises(TraceError, match=rf"p\.jsonl, row 3: {problem}.*; "):
            read_prompts(path, tokenizer=tokenizer(tmp_path / "t.json"), limit=limit)


def test_a_blank_line_is_counted_as_a_row(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('\n{"prompt_tokens": [1]}\n\n{"prompt_tokens"\n')
    with pytest.raises(TraceError, match=r"p\.jsonl, row 4: not a JSON object; "):
        read_prompts(path)


def test_text_without_a_tokenizer(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [GOOD, {"prompt": "w1"}])
    for absent in (None, tmp_path / "absent.json", tmp_path):
        with pytest.raises(TraceError, match=r"p\.jsonl, row 2: .*tokenizer\.json; give"):
            read_prompts(path, tokenizer=absent)


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text("\n \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, problem in {
        "absent": "cannot be read",
        ".": "cannot be read",
        "bytes": "cannot be read",
        "empty": "no prompts",
        "blank": "no prompts",
    }.items():
        with pytest.raises(TraceError, match=f"{problem}.*; ") as caught:
            read_prompts(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_two_prompts_of_one_name(tmp_path: Path) -> None:
    rows = [GOOD | {"prompt_id": "a"}, GOOD | {"prompt_id": 1}, GOOD | {"prompt_id": "1"}]
    with pytest.raises(TraceError, match=r"p\.jsonl.*: prompt_id '1' appears twice; "):
        read_prompts(lines(tmp_path / "p.jsonl", rows))


# What is wrong


def test_the_second_prompt_of_a_name_is_told_by_its_row(tmp_path: Path) -> None:
    rows = [GOOD | {"prompt_id": "a"}, GOOD, GOOD | {"prompt_id": "a"}]
    with pytest.raises(TraceError) as caught:
        read_prompts(lines(tmp_path / "p.jsonl", rows))
    assert caught.value.row == 3


def test_a_prompt_without_a_name_takes_nobodys(tmp_path: Path) -> None:
    names, _ = read_prompts(lines(tmp_path / "p.jsonl", [GOOD | {"prompt_id": "1"}, GOOD]))
    assert len(set(names)) == 2


def test_null_is_no_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [GOOD | {"prompt_id": None}] * 2)
    assert read_prompts(path)[0] == ["0", "1"]


def test_long_prompts_stay_whole(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [{"prompt": "w1 w2 w3 w4 w5 w6"}])
    _, prompts = read_prompts(path, tokenizer=tokenizer(tmp_path / "t.json", longest=4))
    assert prompts == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("mark", ["\u2028", "\x85"])
def test_a_line_ends_at_its_newline_only(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": f"w1{mark}w2"}, ensure_ascii=False), encoding="utf-8")
    assert read_prompts(path, tokenizer=tokenizer(tmp_path / "t.json"))[0] == ["0"]


@pytest.mark.parametrize("case", ["no tokenizer", "lone surrogate"])
def test_what_a_tokenizer_cannot_do_is_an_error_with_its_row(tmp_path: Path, case: str) -> None:
    path = lines(tmp_path / "p.jsonl", [{"prompt": "w1 \ud800" if "lone" in case else "w1"}])
    known = tokenizer(tmp_path / "t.json") if "lone" in case else path
    with pytest.raises(TraceError):
        read_prompts(path, tokenizer=known)


def test_truth_is_no_token(tmp_path: Path) -> None:
    with pytest.raises(TraceError):
        read_prompts(lines(tmp_path / "p.jsonl", [{"prompt_tokens": [True]}]))
