"""The recorded traces beside the checkout import with one command each."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from longtail.traces.check import check_trace

SHARED = Path(__file__).parents[2].parent / "shared"
TRACES = SHARED / "traces"
TOKENIZER = SHARED / "tokenizers" / "qwen2" / "tokenizer.json"
KEYS = "prompt_id=problem_id,sample=sample_index,rl_step=epoch_or_checkpoint"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no recorded traces beside the checkout"),
]


def import_head(bench: Any, name: str, rows: int, *args: object) -> Any:
    with gzip.open(TRACES / name) as stream:
        head = bench.file("head.jsonl", b"".join(islice(stream, rows)))
    command = ("import", "text", head, "--tokenizer", TOKENIZER, "--end-token", "<|endoftext|>")
    bench.done(bench.run(*command, *args, "-o", bench.output))
    return check_trace(bench.output)


def test_llama(bench: Any) -> None:
    name = "rg_llama3b_rl_aime_amc.jsonl.gz"
    trace = import_head(bench, name, 200, "--map", f"{KEYS},reward=score", "--cap", 2048)
    assert trace.n_rollouts == 200 and len(trace.prompt_ids) == 2
    assert trace.meta.rl_steps == {"0": "step_400", "1": "step_800"}
    tokens, lengths = trace.tokens(), trace.lengths()
    for i in range(200):
        assert (tokens.output(i)[-1] == 151643) == (not lengths.capped[i])


def test_qwen(bench: Any) -> None:
    name = "rg_qwen3b_rl_transfer.jsonl.gz"
    args = ("--map", f"{KEYS},reward=score", "--cap", 2048, "--steps", "original,*")
    trace = import_head(bench, name, 400, *args)
    assert trace.n_rollouts == 400 and trace.meta.rl_steps["0"] == "original"
    assert trace.lengths().output_len.max() <= 2048


def test_xling(bench: Any) -> None:
    name = "xling_r1distill_qwen1p5b_checkpoints.jsonl.gz"
    args = ("--map", f"{KEYS},cap=max_tokens", "--steps", "base,*")
    trace = import_head(bench, name, 100, *args, "--where", "problem_id=aime*")
    assert 0 < trace.n_rollouts <= 100 and trace.meta.rl_steps["0"] == "base"
    assert all(prompt.startswith("aime") for prompt in trace.prompt_ids)
    assert trace.lengths().capped.any()


def test_epoch(bench: Any) -> None:
    keys = "rl_step=run_id,prompt_id=task+problem_id,sample=epoch,output_len=output_tokens"
    source = TRACES / "epoch_benchhub_output_tokens.csv.gz"
    command = ("import", "lengths", source, "--map", keys, "--prompt-len", 512)
    assert "row 1203: output_len 0 is below 1" in bench.refused(*command)
    bench.done(bench.run(*command, "--drop-empty", "-o", bench.output))
    trace = check_trace(bench.output)
    assert trace.n_rollouts == 136_118 and len(trace.rl_steps) == 286
    assert "47 rows without output were dropped" in trace.meta.notes
