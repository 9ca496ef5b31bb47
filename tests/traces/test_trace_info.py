"""`trace info` and `trace check` as seen by a user."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longtail.traces import TraceError


def source(bench: Any) -> Any:
    rows = []
    for step in range(2):
        for prompt in range(3):
            for sample, n in enumerate((1, 2, 9)):
                output = " ".join(["w1"] * n)
                key = {"rl_step": f"ckpt_{step}", "prompt": f"w{prompt}", "sample": sample}
                rows.append(key | {"output": output, "reward": step, "model": "[bold]M"})
    return bench.file("a.jsonl", rows)


def test_the_numbers(bench: Any) -> None:
    bench.text(source(bench), "--cap", 9, "--end-token", "none")
    result = bench.done(bench.run("info", bench.output, "--json"))
    found = json.loads(result.stdout)
    assert (found["rollouts"], found["rl_steps"], found["prompts"], found["groups"]) == (
        18,
        2,
        3,
        6,
    )
    assert found["group_size"] == {"min": 3, "p50": 3.0, "max": 3}
    assert found["output_len"]["p50"] == 2 and found["output_len"]["max"] == 9
    assert found["output_len"]["sum"] == 72
    assert found["group_tail"] == {"p50": 4.5, "p90": 4.5}
    assert found["finish_reasons"] == {"stop": 12, "length": 6}
    assert found["cut_by_length"] == 6
    steps = found["by_rl_step"]
    assert [s["name"] for s in steps] == ["ckpt_0", "ckpt_1"]
    assert [s["reward_mean"] for s in steps] == [0.0, 1.0]
    assert steps[0]["tail"] == 4.5 and steps[0]["rollouts"] == 9


def test_the_tables(bench: Any) -> None:
    said = bench.done(bench.text(source(bench))).stdout
    assert "which were cut by length is not known" in said and " 0 cut" not in said
    out = bench.done(bench.run("info", bench.output)).stdout
    row = next(line for line in out.splitlines() if "ckpt_1" in line)
    assert row.rstrip("│ ").endswith(" -")
    for part in ("imported", "[bold]M", "ckpt_1", "p99", "max/p50", "not known"):
        assert part in out
    assert "SYNTHETIC" not in out


def test_what_a_trace_says_of_itself_cannot_command_the_terminal(bench: Any) -> None:
    hostile = "\x1b[2J\x9b2J\u202e©"
    row = {"prompt": "w1", "output": "w2", "rl_step": hostile, "model": hostile}
    note = ("--note", f"first{hostile}\nsecond")
    bench.text(bench.file("a.jsonl", [row]), "--source", hostile, *note)
    out = bench.done(bench.run("info", bench.output)).stdout
    assert out.count(r"\x1b[2J\x9b2J\u202e©") == 4
    assert all(line.isprintable() for line in out.split("\n"))


def test_check_says_yes_or_names_the_row(bench: Any) -> None:
    bench.text(source(bench))
    assert "18 rollouts in order (imported)" in bench.done(bench.run("check", bench.output)).output
    table = pq.read_table(bench.output)
    metadata = pq.read_metadata(bench.output).metadata
    column = table.column("output_len").to_pylist()
    column[4] += 1
    i = table.schema.get_field_index("output_len")
    field = table.schema.field(i)
    table = table.set_column(i, field, pa.array(column, pa.int32()))
    pq.write_table(table.replace_schema_metadata(metadata), bench.output)
    result = bench.run("check", bench.output)
    assert isinstance(result.exception, TraceError)
    assert str(result.exception).startswith(f"{bench.output}, row 5: output_tokens and output_len")


def test_info_of_what_is_no_trace(bench: Any) -> None:
    result = bench.run("info", bench.file("a.parquet", "hello"))
    assert isinstance(result.exception, TraceError)
