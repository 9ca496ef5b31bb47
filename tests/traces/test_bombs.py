"""Little files of which much would come: refused before it fills the memory."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dumps import lines

from longtail.traces import sources as sources_module


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs_do_not_unpack(bench: Any, kind: str) -> None:
    good = lines([{"input": "w1", "output": "w2", "score": 1.0, "step": 1}])
    comment = b'{"input": "w1", "output": "w2", "score": 1.0, "step": 1, "x": "%s"}\n' % (
        b" " * 10**6
    )
    fillings = {
        "a line of more than 64 MiB": b" " * (70 << 20),
        "over 100,000 blank lines": b"\n" * 200_000,
        "unpack to over 250 times as many": comment * 80,
    }
    for problem, filling in fillings.items():
        pack = gzip.compress if kind == "gzip" else lambda raw: pa.compress(raw, kind, asbytes=True)
        path = bench.file("1.jsonl", pack(good + filling))
        assert path.stat().st_size < 1 << 18
        message = bench.refused("import", "verl", path, "--tokenizer", bench.tokenizer)
        assert problem in message, message


def test_parquet_bombs_do_not_unpack(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sources_module, "FREE_EXPANSION", 1 << 20)
    n = 100_000
    text = pa.array(["w1 " * 100]).take(pa.array([0] * n))
    table = pa.table({"step": pa.array([1] * n), "prompt": text, "completion": text})
    path = bench.folder / "completions_00001.parquet"
    pq.write_table(table, path, compression="zstd")
    message = bench.refused("import", "trl", path, "--tokenizer", bench.tokenizer)
    assert "unpack to over 250 times as many" in message


def test_parquet_is_refused_before_what_would_fill_the_memory_is_read(
    bench: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sources_module, "FREE_EXPANSION", 1 << 20)
    n = 1 << 18
    nothing = pa.StructArray.from_arrays([pa.nulls(n, pa.string())], names=["content"])
    path = bench.folder / "completions_00001.parquet"
    for column in (
        pa.array(["w1 " * n * 2]),  # one long value
        pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), nothing),  # no bytes in the file
    ):
        table = pa.table({"step": [1], "prompt": ["w1"], "completion": column})
        pq.write_table(table, path, compression="zstd", use_dictionary=False)
        message = bench.refused("import", "trl", path, "--tokenizer", bench.tokenizer)
        assert "unpack to over 250 times as many" in message and "row" not in message


def test_a_csv_record_without_end_is_refused(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sources_module, "MAX_LINE", 1 << 20)
    endless = b'"\n",' * (1 << 19)
    rows = b"".join(b"%d%s,3\n" % (i, b"p" * 10**5) for i in range(20))  # more than one may hold
    path = bench.file("a.csv", b"prompt_id,output_len\n" + rows + endless)
    found = bench.refused("import", "lengths", path, "--prompt-len", 1)
    path.write_bytes(endless)
    recognised = bench.refused("import", "auto", path)
    path.write_bytes(b"ab," * (1 << 19))
    for message in (found, recognised, bench.refused("import", "auto", path)):
        assert re.search(r"row \d+: a record of more than 1 MiB; close the quotes", message)


@pytest.mark.parametrize("value", ["[]", "{}", "1"])
@pytest.mark.parametrize("form", ["roll", "auto"])
def test_a_line_of_too_many_values_is_refused(
    bench: Any, monkeypatch: Any, form: str, value: str
) -> None:
    monkeypatch.setattr(sources_module, "MAX_LINE", 1000)
    monkeypatch.setattr(sources_module, "MAX_VALUES", 1000)
    row = {"prompt": ["w1"], "responses": ["w2 " * 1000], "scores": [1.0]}
    path = bench.file("rollout_dump_data.step_1.jsonl", [row])
    args = ("import", form, path, "--tokenizer", bench.tokenizer)
    bench.done(bench.run(*args, "-o", bench.output))
    bench.output.unlink()
    path.write_text(f'{{"scores": [{f"{value}, " * 1000} 1]}}')
    message = bench.refused(*args)
    assert "row 1: over 1,000 values in one line; write one record per line" in message
