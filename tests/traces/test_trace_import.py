"""Text, token ids and lengths become traces."""

from __future__ import annotations

import gzip
import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from longtail.traces import TraceError, open_trace
from longtail.traces.check import check_trace
from longtail.traces.schema import LENGTH, STOP, UNKNOWN
from longtail.traces.steps import natural_key, number_steps

END = 100
Say = Callable[[int], str]


def rollout(
    step: object = 0, prompt: str = "w1 w2", sample: int = 0, **more: Any
) -> dict[str, Any]:
    own = {"rl_step": step, "prompt_id": "p", "sample": sample, "prompt": prompt}
    return own | {"output": "w3 w4 w5"} | more


def test_text_is_tokenised_whole_and_ended(bench: Any, say: Say) -> None:
    source = bench.file("a.jsonl", [rollout(output=say(9), reward=0.5, finish_reason="stop")])
    result = bench.text(source)
    trace = check_trace(bench.output)
    assert "1 rollouts" in result.stdout and result.stderr == ""
    assert trace.tokens().output(0).tolist() == [*range(9), END]
    assert trace.tokens().prompt(0).tolist() == [1, 2]
    assert trace.meta.origin == "imported" and trace.meta.end_token_id == END
    assert trace.meta.vocab_size == 101
    assert trace.meta.tokenizer is not None and len(trace.meta.tokenizer["sha256"]) == 64
    assert trace.lengths().reward.tolist() == [0.5]


def test_the_end_token_rule(bench: Any, say: Say) -> None:
    rows = [
        rollout(sample=0, output=say(3), finish_reason="length"),
        rollout(sample=1, output=say(3), finish_reason="abort"),
        rollout(sample=2, output=say(3), finish_reason="eos"),
        rollout(sample=3, output=say(3)),
        rollout(sample=4, output=say(5)),
        rollout(sample=5, output=say(6)),
        rollout(sample=6, output=say(4) + " <|endoftext|>"),
        rollout(sample=7, output=say(2) + " <|endoftext|> " + say(1)),
    ]
    result = bench.text(bench.file("a.jsonl", rows), "--cap", 5)
    trace = open_trace(bench.output)
    tokens, lengths = trace.tokens(), trace.lengths()
    ends = [tokens.output(i)[-1] == END for i in range(8)]
    assert ends == [False, False, True, True, False, False, True, True]
    assert lengths.output_len.tolist() == [3, 3, 4, 4, 5, 6, 5, 5]
    assert lengths.finish.tolist()[3:] == [STOP, LENGTH, LENGTH, STOP, STOP]
    assert "1 outputs are up to 1 tokens longer" in result.stderr
    assert "1 outputs hold the end token before their end" in result.stderr
    assert trace.meta.sampling["max_tokens"] == 5


def test_stripped_text_close_to_its_cap_can_count_as_cut(bench: Any, say: Say) -> None:
    rows = [rollout(sample=n, output=say(n)) for n in (3, 4, 5)]
    bench.text(bench.file("a.jsonl", rows), "--cap", 5, "--cap-slack", 1)
    trace = open_trace(bench.output)
    assert trace.lengths().finish.tolist() == [STOP, LENGTH, LENGTH]
    assert trace.meta.notes == ("outputs within 1 tokens of their cap count as cut",)
    bench.output.unlink()
    assert "--cap-slack" in bench.text_refused(bench.folder / "a.jsonl", "--cap-slack", -1)
    for cap in (0, 2**31):
        assert f"--cap {cap} is not" in bench.text_refused(bench.folder / "a.jsonl", "--cap", cap)


def test_without_a_cap_an_unknown_end_stays_unknown(bench: Any) -> None:
    bench.text(bench.file("a.jsonl", [rollout()]))
    trace = open_trace(bench.output)
    assert trace.lengths().finish.tolist() == [UNKNOWN]
    assert trace.tokens().output(0)[-1] == END


def test_the_end_token_can_be_chosen(bench: Any, tokenizer_with: Any) -> None:
    tokenizer_with(bench.tokenizer, "<|endoftext|>", "<|im_end|>")
    source = bench.file("a.jsonl", [rollout()])
    unclear = bench.text_refused(source)
    assert "<|endoftext|> or <|im_end|>" in unclear and "--end-token" in unclear
    assert "'<stop>' is not in the vocabulary" in bench.text_refused(
        source, "--end-token", "<stop>"
    )
    for asked, last in {"<|im_end|>": 101, "100": 100, "none": 5}.items():
        bench.text(source, "--end-token", asked)
        assert open_trace(bench.output).tokens().output(0)[-1] == last


def test_columns_are_mapped_and_metadata_kept(bench: Any) -> None:
    rows = [
        {"task": "t", "pid": 7, "k": k, "ckpt": c, "q": "w1", "a": "w2", "limit": 8, "model": "M"}
        for c in ("step_400", "step_50", "base")
        for k in range(2)
    ]
    bench.text(
        bench.file("a.jsonl", rows),
        *("--map", "prompt_id=task+pid,sample=k", "--map", "rl_step=ckpt,prompt=q,output=a"),
        *("--map", "cap=limit", "--temperature", 0.6, "--licence", "CC0", "--note", "stand-in"),
    )
    trace = check_trace(bench.output)
    assert trace.prompt_ids == ["t/7"]
    assert trace.meta.rl_steps == {"0": "base", "1": "step_50", "2": "step_400"}
    assert trace.lengths().rl_step.tolist() == [0, 0, 1, 1, 2, 2]
    assert trace.meta.sampling == {"temperature": 0.6, "max_tokens": 8}
    assert (trace.meta.model, trace.meta.licence, trace.meta.notes) == ("M", "CC0", ("stand-in",))
    assert trace.lengths().finish.tolist() == [STOP] * 6


def test_rows_are_sorted_by_rl_step_and_keep_their_order(bench: Any, say: Say) -> None:
    rows = [rollout(step, sample=k, output=say(k + 1)) for k in range(3) for step in (2, 0, 1)]
    bench.text(bench.file("a.jsonl", rows), "--end-token", "none")
    trace = check_trace(bench.output)
    assert trace.lengths().rl_step.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert trace.lengths().output_len.tolist() == [1, 2, 3] * 3
    assert trace.meta.rl_steps == {}


def test_missing_keys_are_made_up_from_the_prompt_and_the_order(bench: Any) -> None:
    rows = [{"prompt": p, "output": "w1"} for p in ("w1", "w2", "w1", "w1")]
    bench.text(bench.file("a.jsonl", rows))
    lengths = check_trace(bench.output).lengths()
    assert lengths.prompt.tolist() == [0, 1, 0, 0]
    assert lengths.sample.tolist() == [0, 0, 1, 2]
    assert lengths.rl_step.tolist() == [0] * 4


def test_samples_are_numbered_within_step_and_prompt_across_files(bench: Any) -> None:
    rows = [{"rl_step": s, "prompt": p, "output": "w1"} for s in ("b", "a") for p in ("w1", "w2")]
    files = [bench.file(f"{i}.jsonl", rows) for i in range(2)]
    bench.text(*files)
    lengths = check_trace(bench.output).lengths()
    keys = set(zip(lengths.rl_step, lengths.prompt, lengths.sample, strict=True))
    assert keys == {(s, p, k) for s in range(2) for p in range(2) for k in range(2)}


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("piped", [False, True])
def test_compressed_and_piped_sources(bench: Any, kind: str, piped: bool) -> None:
    raw = "".join(json.dumps(rollout(sample=i)) + "\n" for i in range(500)).encode()
    if kind == "gzip":
        raw = gzip.compress(raw[:100]) + gzip.compress(raw[100:])
    elif kind == "zstd":
        raw = pa.compress(raw, "zstd", asbytes=True)
    source = "-" if piped else bench.file("rollouts.bin", raw)
    bench.text(source, stdin=raw if piped else None)
    assert check_trace(bench.output).n_rollouts == 500


def test_token_ids_with_drafts(bench: Any) -> None:
    rows = [
        {
            "prompt_tokens": [1, 2],
            "output_tokens": [3, 4, 9] if i else [3, 4],
            "drafted": [4, 0] if i else None,
            "accepted": [1, 0] if i else None,
            "policy_version": i,
            "start_s": 0.5,
            "end_s": 1.5,
        }
        for i in range(2)
    ]
    source = bench.file("a.jsonl", rows)
    args = ("import", "text", source, "--vocab-size", 10, "-o", bench.output)
    bench.done(bench.run(*args, "--end-token", "9"))
    trace = check_trace(bench.output)
    assert [trace.tokens().output(i).tolist() for i in range(2)] == [[3, 4, 9], [3, 4, 9]]
    assert trace.column("policy_version").tolist() == [0, 1]
    table = pa.concat_tables(t for _, t in trace.groups(["drafted", "accepted"]))
    assert table.column("drafted").to_pylist() == [None, [4, 0]]
    assert table.column("accepted").to_pylist() == [None, [1, 0]]
    assert trace.meta.tokenizer is None and trace.meta.vocab_size == 10
    bench.output.unlink()
    assert "--end-token" in bench.refused(*args[:-2])


def test_where_keeps_some_rows_and_says_so(bench: Any) -> None:
    rows = [rollout(sample=i, prompt_id=f"{'aime' if i % 2 else 'amc'}/{i}") for i in range(6)]
    result = bench.text(bench.file("a.jsonl", rows), "--where", "prompt_id=aime*")
    assert "3 rows passed over" in result.stdout
    trace = open_trace(bench.output)
    assert trace.prompt_ids == ["aime/1", "aime/3", "aime/5"]
    assert trace.meta.notes == ("only rows where prompt_id=aime*",)


def test_empty_outputs_are_dropped_only_when_asked(bench: Any) -> None:
    source = bench.file("a.jsonl", [rollout(), rollout(sample=1, output="")])
    assert "a.jsonl, row 2: the output is empty" in bench.text_refused(source)
    result = bench.text(source, "--drop-empty")
    assert "1 rows without output were dropped" in result.stderr
    assert open_trace(bench.output).n_rollouts == 1


def test_lengths(bench: Any) -> None:
    csv = "run,task,problem,epoch,n,extra\nb10,x,1,1,40,\nb9,x,1,1,7,z\nb9,x,1,2,-3,\n"
    source = bench.file("a.csv.gz", gzip.compress(csv.encode()))
    mapped = "rl_step=run,prompt_id=task+problem,sample=epoch,output_len=n"
    args = ("import", "lengths", source, "--map", mapped, "--prompt-len", 5)
    assert "a.csv.gz, row 4: output_len -3 is below 1" in bench.refused(*args)
    result = bench.done(bench.run(*args, "--drop-empty", "-o", bench.output))
    assert "assumed in 2 rows" in result.stderr
    trace = check_trace(bench.output)
    assert not trace.has_tokens
    assert trace.meta.rl_steps == {"0": "b9", "1": "b10"}
    assert trace.lengths().output_len.tolist() == [7, 40]
    assert trace.lengths().prompt_len.tolist() == [5, 5]
    assert trace.prompt_ids == ["x/1"]


def test_lengths_with_all_columns_from_a_pipe(bench: Any) -> None:
    csv = b"rl_step,prompt_id,sample,prompt_len,output_len,cap\n0,p,0,3,4,4\n0,p,1,3,2,4\n"
    bench.done(bench.run("import", "lengths", "-", "-o", bench.output, stdin=csv))
    lengths = check_trace(bench.output).lengths()
    assert lengths.finish.tolist() == [LENGTH, STOP]


def test_columns_can_be_added_up(bench: Any) -> None:
    source = bench.file("a.csv", "prompt_id,a,b\np,1,2\n")
    mapped = ("--map", "output_len=a+b", "--prompt-len", 1, "-o", bench.output)
    bench.done(bench.run("import", "lengths", source, *mapped))
    assert open_trace(bench.output).lengths().output_len.tolist() == [3]


def test_rl_steps_in_an_order_of_ones_own(bench: Any) -> None:
    rows = [rollout(step, sample=0) for step in ("a", "b", "base")]
    source = bench.file("a.jsonl", rows)
    bench.text(source, "--steps", "base,*")
    assert open_trace(bench.output).meta.rl_steps == {"0": "base", "1": "a", "2": "b"}
    bench.output.unlink()
    assert "leaves out RL step 'a'" in bench.text_refused(source, "--steps", "base,b")
    assert "names 'c'" in bench.text_refused(source, "--steps", "base,c,*")


def test_natural_order() -> None:
    labels = ["step_800", "step_50", "base", "step_400", "v1.10", "v1.9"]
    numbers, names = number_steps(labels)
    assert list(names.values()) == ["base", "step_50", "step_400", "step_800", "v1.9", "v1.10"]
    assert [names[str(n)] for n in numbers] == labels
    assert number_steps(["10", "9"]) == ([10, 9], {})
    assert number_steps(["0.5", "0.25"]) == ([1, 0], {"0": "0.25", "1": "0.5"})


@given(st.lists(st.text(string.ascii_lowercase + string.digits + "_.-", min_size=1), unique=True))
def test_numbering_is_a_bijection_in_natural_order(labels: list[str]) -> None:
    assume(not any(re.fullmatch(r"-\d+", label) for label in labels))
    numbers, names = number_steps(labels)
    if names:
        assert sorted(numbers) == list(range(len(labels)))
        assert [names[str(n)] for n in numbers] == labels
        if not all(label.replace(".", "").isdigit() for label in labels):
            keys = [natural_key(names[str(i)]) for i in range(len(labels))]
            assert keys == sorted(keys)


def test_negative_numbers_are_no_rl_steps() -> None:
    with pytest.raises(TraceError, match="RL step -1 is negative"):
        number_steps(["3", "-1"])


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_in_names_sort_by_value(a: int, b: int) -> None:
    assert (natural_key(f"step_{a}") < natural_key(f"step_{b}")) == (a < b)


def test_many_rows_spill_and_come_back(bench: Any) -> None:
    rng = np.random.default_rng(1)
    rows, kept = [], {}
    for i in range(3000):
        ids = rng.integers(0, 100, rng.integers(1, 40)).tolist()
        rows.append({"rl_step": f"s{i % 7}", "prompt_tokens": [i % 5], "output_tokens": ids})
        kept.setdefault(i % 7, []).append(ids)
    bench.text(bench.file("a.jsonl", rows), "--end-token", "none")
    trace = check_trace(bench.output)
    tokens = trace.tokens()
    wanted = [ids for step in range(7) for ids in kept[step]]
    assert [tokens.output(i).tolist() for i in range(3000)] == wanted


def test_errors_are_trace_errors_without_click(tmp_path: Path) -> None:
    from longtail.traces.import_text import import_text

    with pytest.raises(TraceError, match=r"absent\.jsonl: cannot be opened"):
        import_text([tmp_path / "absent.jsonl"], tmp_path / "t.parquet")
