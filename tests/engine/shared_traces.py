"""Small cuts of the recorded traces beside the checkout, imported as their users would."""

from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner

from longtail.traces import Trace, TraceWriter, open_trace
from longtail.traces.commands import trace
from longtail.traces.select import select_rollouts

SHARED = Path(__file__).parents[2].parent / "shared"
TOKENIZER = SHARED / "tokenizers" / "qwen2" / "tokenizer.json"
KEYS = "prompt_id=problem_id,sample=sample_index,rl_step=epoch_or_checkpoint"
LLAMA, QWEN = "rg_llama3b_rl_aime_amc", "rg_qwen3b_rl_transfer"
MORE = {
    LLAMA: ["--map", KEYS, "--cap", "2048"],
    QWEN: ["--map", KEYS, "--cap", "2048", "--steps", "original,*"],
}


def cut(name: str, folder: Path, *, rows: int = 600, **wanted: int) -> Path:
    """A trace of some of the first `rows` rollouts of a recorded file; `wanted`: as in select.

    Its tokens are numbered anew, without gaps: what counts here is which of them are equal, and a
    model of 152,000 tokens takes most of its time over the others.
    """
    head, whole, output = (
        folder / f"{name}{end}" for end in (".jsonl", ".all.parquet", ".parquet")
    )
    with gzip.open(SHARED / "traces" / f"{name}.jsonl.gz") as stream:
        head.write_bytes(b"".join(islice(stream, rows)))
    command = ["import", "text", str(head), "--tokenizer", str(TOKENIZER), *MORE[name]]
    command += ["--end-token", "<|endoftext|>", "-o", str(whole)]
    done = CliRunner().invoke(trace, command)
    assert done.exit_code == 0, (done.output, done.exception)
    select_rollouts(open_trace(whole), output, **wanted)
    return renumber(open_trace(output), folder / f"{name}.dense.parquet")


def renumber(source: Trace, target: Path) -> Path:
    """The same trace, of a vocabulary without gaps."""
    table = pq.read_table(source.path)
    columns = ["prompt_tokens", "output_tokens"]
    used = np.unique(np.concatenate([table[c].combine_chunks().flatten() for c in columns]))
    rows = table.to_pylist()
    for row in rows:
        row |= {c: np.searchsorted(used, row[c]).astype(np.int32) for c in columns}
    with TraceWriter(
        target, replace(source.meta, vocab_size=len(used), end_token_id=None)
    ) as writer:
        writer.write(rows)
    return target
