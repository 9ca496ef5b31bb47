"""Bad input: one error naming file and row, with a remedy, and no file left."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dumps import lines

from longtail.traces.schema import TraceError

GOOD: dict[str, Any] = {"prompt_id": "p", "prompt": "w1 w2", "output": "w3 w4"}


def good(n: int) -> list[dict[str, Any]]:
    return [GOOD | {"sample": i} for i in range(n)]


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "number as output": ({"output": 3}, "output must be text, not 3"),
    "long output": ({"output": "é" * (2**22 + 1)}, "output has 8,388,610 bytes of text, over"),
    "list as prompt": ({"prompt": [{"role": "user"}]}, "prompt must be text"),
    "null prompt": ({"prompt": None}, "prompt is null"),
    "empty prompt": ({"prompt": ""}, "the prompt is empty"),
    "blank prompt": ({"prompt": "  "}, "the prompt has no tokens"),
    "empty output": ({"output": ""}, "the output is empty; .*--drop-empty"),
    "word as sample": ({"sample": "first"}, "sample must be a whole number, not 'first'"),
    "half sample": ({"sample": 0.5}, "sample must be a whole number"),
    "negative sample": ({"sample": -1}, "sample -1 is negative"),
    "huge sample": ({"sample": 2**31}, "sample 2147483648 is too large"),
    "null sample": ({"sample": None}, "sample is null"),
    "truth as sample": ({"sample": True}, "sample must be a whole number"),
    "null prompt_id": ({"prompt_id": None}, "prompt_id is null"),
    "list as prompt_id": ({"prompt_id": [1]}, "prompt_id must be text or a number"),
    "unknown ending": ({"finish_reason": "bored"}, "unknown finish_reason 'bored'; use stop"),
    "word as reward": ({"reward": "high"}, "reward must be a number"),
    "zero cap": ({"cap": 0}, "cap 0 is below 1"),
    "times": ({"start_s": 2, "end_s": 1}, "end_s is before start_s"),
    "lone surrogate": ({"output": "w1 \ud800"}, "output is not valid Unicode"),
    "ids beyond": ({"output_tokens": [1, 101]}, "token id 101 in output_tokens .* of 101 tokens"),
    "negative id": ({"output_tokens": [1, -1]}, "token id -1 in output_tokens"),
    "id beyond 64 bits": ({"output_tokens": [2**70]}, "beyond 64 bits"),
    "text as id": ({"output_tokens": [1, "x"]}, "holds something that is no whole number"),
    "half id": ({"output_tokens": [1.5]}, "holds something that is no whole number"),
    "count as ids": ({"output_tokens": 12}, "output_tokens must be a list of whole numbers"),
    "no ids": ({"output_tokens": []}, "the output is empty"),
    "lonely drafts": ({"drafted": [1]}, "drafted and accepted differ in length"),
    "too much accepted": ({"drafted": [1], "accepted": [2]}, "accepted is negative or above"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row(bench: Any, case: str) -> None:
    change, problem = ROWS[case]
    first = [row | dict.fromkeys(change) if set(change) - set(GOOD) else row for row in good(2)]
    for row, original in zip(first, good(2), strict=True):
        row.update({k: v for k, v in original.items() if k in change})
    source = bench.file("a.jsonl", [*first, GOOD | {"sample": 2} | change])
    message = bench.text_refused(source)
    assert re.search(problem, message), message
    assert message.startswith(f"{source}, row 3: ") and ";" in message


SOURCES: dict[str, tuple[str, bytes, str]] = {
    "cut JSON": ("a.jsonl", lines(good(3))[:-9], "row 3: not valid JSON"),
    "not JSON": ("a.jsonl", lines(good(2)) + b"hello\n", "row 3: not valid JSON"),
    "a list": ("a.jsonl", lines(good(2)) + b"[1]\n", "row 3: a JSON object is wanted"),
    "not UTF-8": ("a.jsonl", lines(good(2)) + b'{"output": "\xff"}\n', "row 3: not UTF-8"),
    "cut gzip": ("a.gz", gzip.compress(lines(good(3)))[:-12], "cannot be read .*Truncated"),
    "broken gzip": ("a.gz", gzip.compress(b"")[:8] + bytes(40), "row 1: cannot be read"),
    "cut zstd": (
        "a.zst",
        pa.compress(lines(good(300)), "zstd", asbytes=True)[:-9],
        "cannot be read",
    ),
    "nothing": ("a.jsonl", b"", "no rows"),
    "a missing column": (
        "a.jsonl",
        lines([{"prompt": "w1", "answer": "w2"}]),
        "row 1: no column 'output'; --map output=COLUMN, one of prompt, answer",
    ),
    "a repeat": ("a.jsonl", lines([*good(3), GOOD | {"sample": 1}]), "row 4: same key as row 2 "),
}


@pytest.mark.parametrize("case", SOURCES)
@pytest.mark.parametrize("piped", [False, True])
def test_a_bad_source(bench: Any, case: str, piped: bool) -> None:
    name, raw, problem = SOURCES[case]
    source = bench.file(name, raw)
    message = bench.text_refused("-" if piped else source, stdin=raw if piped else None)
    assert message.startswith("standard input" if piped else str(source))
    assert re.search(problem, message), message
    assert "; " in message


def test_a_repeat_across_files_names_both(bench: Any) -> None:
    a, b = bench.file("a.jsonl", good(3)), bench.file("b.jsonl", [GOOD | {"sample": 2}])
    message = bench.text_refused(a, b)
    assert message.startswith(f"{b}, row 1: same key as row 3 of {a} (rl_step 0, prompt_id 'p'")


def test_a_sample_in_some_rows_only(bench: Any) -> None:
    a, b = bench.file("a.jsonl", [GOOD]), bench.file("b.jsonl", good(1))
    assert "b.jsonl, row 1: only some rows have a sample" in bench.text_refused(a, b)
    assert "a.jsonl, row 1: only some rows have a sample" in bench.text_refused(b, a)


MAPS = {
    "prompt_id=promt": "row 1: no column 'promt' .*did you mean 'prompt'",
    "prompt_id=prompt+promt": "no column 'promt'",
    "promt=prompt": "no field 'promt'; did you mean 'prompt'",
    "prompt": "has no '='",
    "prompt=prompt,prompt=output": "gives 'prompt' twice",
}


@pytest.mark.parametrize("entry", MAPS)
def test_a_bad_map(bench: Any, entry: str) -> None:
    message = bench.text_refused(bench.file("a.jsonl", good(1)), "--map", entry)
    assert re.search(MAPS[entry], message), message


def test_a_column_that_bears_our_name_can_be_left_alone(bench: Any) -> None:
    source = bench.file("a.jsonl", [GOOD | {"output_tokens": 12}])
    bench.text(source, "--map", "output_tokens=")


def test_where_without_its_column_or_without_rows(bench: Any) -> None:
    source = bench.file("a.jsonl", good(2))
    assert "no column 'promt_id'" in bench.text_refused(source, "--where", "promt_id=*")
    assert "none of 2 rows" in bench.text_refused(source, "--where", "prompt_id=q")


def test_tokenizers_that_do_not_serve(bench: Any, tmp_path: Path) -> None:
    source = bench.file("a.jsonl", good(1))
    text = ("import", "text", source)
    none = bench.refused(*text)
    assert none.startswith(f"{source}, row 1: text cannot be imported without a tokenizer")
    assert "--tokenizer" in none
    assert "cannot be read" in bench.refused(*text, "--tokenizer", tmp_path / "absent.json")
    assert "not a tokenizer" in bench.refused(*text, "--tokenizer", source)
    small = bench.text_refused(source, "--vocab-size", 50)
    assert "--vocab-size 50 is below the tokenizer's 101" in small


@pytest.mark.parametrize("size", [-4, 0, 2**31 + 1])
def test_vocabularies_that_cannot_be(bench: Any, size: int) -> None:
    source = bench.file("a.jsonl", [{"prompt_tokens": [1], "output_tokens": [2**32 + 3]}])
    asked = ("--vocab-size", size, "--end-token", 5)
    message = bench.refused("import", "text", source, *asked)
    assert message.startswith(f"--vocab-size {size} is not between 1 and 2147483648; ")


@pytest.mark.parametrize("token", ["9" * 11, "9" * 5000, 2**31, "-1"])
def test_end_tokens_that_no_vocabulary_has(bench: Any, token: object) -> None:
    source = bench.file("a.jsonl", [{"prompt_tokens": [1], "output_tokens": [2]}])
    asked = ("--end-token", token)
    for known in ((), ("--vocab-size", 2**31)):
        message = bench.refused("import", "text", source, *asked, *known)
        assert re.match("--end-token .* is not in the vocabulary; ", message), message


def test_outputs_that_cannot_be_written(bench: Any) -> None:
    source = bench.file("a.jsonl", good(1))
    for target in (bench.out, bench.out / "absent" / "T.parquet", source / "T.parquet"):
        args = ("import", "text", source, "--tokenizer", bench.tokenizer, "-o", target)
        result = bench.run(*args)
        assert isinstance(result.exception, TraceError)
        assert str(result.exception).startswith(f"{target}: ")
        assert list(bench.out.iterdir()) == []


def test_a_source_that_is_not_there(bench: Any) -> None:
    assert "absent: cannot be opened" in bench.text_refused(bench.folder / "absent")
    assert "cannot be opened" in bench.text_refused(bench.out)


HEAD = "rl_step,prompt_id,sample,prompt_len,output_len\n"
CSVS = {
    "negative": (HEAD + "0,p,0,3,-4\n", "row 2: output_len -4 is below 1; .*--drop-empty"),
    "zero": (HEAD + "0,p,0,3,0\n", "row 2: output_len 0 is below 1"),
    "word": (HEAD + "0,p,0,3,4\n0,p,1,3,many\n", "row 3: output_len must be a whole number"),
    "half": (HEAD + "0,p,0,3,4.5\n", "row 2: output_len must be a whole number"),
    "infinite": (HEAD + "0,p,0,3,inf\n", "row 2: output_len must be a whole number"),
    "null": (HEAD + "0,p,0,3,\n", "row 2: output_len is null"),
    "cut": (HEAD + "0,p,0,3,4\n0,p,1\n", "row 3: 3 cells under 5 column names"),
    "repeat": (HEAD + "0,p,0,3,4\n0,p,0,3,5\n", "row 3: same key as row 2"),
    "prompt": (HEAD + "0,p,0,0,4\n", "row 2: prompt_len 0 is below 1"),
    "no step": (HEAD + ",p,0,1,4\n", "row 2: rl_step is null"),
    "no prompt_len": ("prompt_id,output_len\np,3\n", "row 2: no prompt_len; .*--prompt-len"),
    "no output_len": ("prompt_id,prompt_len\np,3\n", "row 2: no column 'output_len'"),
    "no rows": (HEAD, "no rows"),
}


@pytest.mark.parametrize("case", CSVS)
def test_bad_lengths(bench: Any, case: str) -> None:
    text, problem = CSVS[case]
    source = bench.file("a.csv", text)
    message = bench.refused("import", "lengths", source)
    assert message.startswith(str(source))
    assert re.search(problem, message), message


def test_lengths_not_in_utf8(bench: Any) -> None:
    source = bench.file("a.csv", HEAD.encode() + b"0,p,0,3,4\n0,\xe9,0,3,4\n")
    assert "row 3: not UTF-8 (byte 0xe9 at column 3)" in bench.refused("import", "lengths", source)
