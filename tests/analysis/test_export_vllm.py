"""What vLLM itself makes of the files that are meant for it; skipped where it is not installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail.analysis.decoding import decode_with
from longtail.analysis.export_acceptance import acceptance_rates, export_vllm
from longtail.sim.workload import Workload
from longtail.traces import TraceMeta, TraceWriter, open_trace
from longtail.traces.export_requests import BLOCK, export_mooncake

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from small_workloads import random_rollouts, workload_of

pytest.importorskip("vllm")


def load() -> Workload:
    return workload_of(random_rollouts(7, rl_steps=2, prompts=2, samples=4, longest=40, alphabet=2))


@pytest.mark.parametrize("k", [1, 5])
def test_vllm_takes_the_speculative_config(tmp_path: Path, k: int) -> None:
    from vllm.config.speculative import SpeculativeConfig
    from vllm.v1.spec_decode.utils import unconditional_to_conditional_rates

    done = decode_with(load(), "suffix:scope=both,max=5", k=k)
    export_vllm(done, tmp_path / "v.json", {"method": "ngram", "prompt_lookup_max": 4})
    config = SpeculativeConfig(**json.loads((tmp_path / "v.json").read_text()))
    assert config.rejection_sample_method == "synthetic"
    assert config.synthetic_acceptance_rates == acceptance_rates(done)
    # vLLM accepts position i, given those before it, with these; each at least drafted so far.
    conditional = unconditional_to_conditional_rates(config.synthetic_acceptance_rates)
    assert all(0 <= rate <= 1 for rate in conditional)
    assert np.cumprod(conditional) == pytest.approx(acceptance_rates(done))
    assert sum(np.cumprod(conditional)) == pytest.approx(done.accepted.mean())


class Letters:
    """As much of a tokenizer as vLLM's timed trace asks for."""

    all_special_ids = (0,)

    def get_vocab(self) -> dict[str, int]:
        return {f"t{i}": i for i in range(1000)}


def test_vllm_replays_the_mooncake_trace(tmp_path: Path) -> None:
    datasets = pytest.importorskip("vllm.benchmarks.datasets.datasets")
    begin = [1] * BLOCK
    texts = {"a": [*begin, 2, 3], "b": [*begin, 4], "c": [5] * (BLOCK + 2)}
    rows: list[dict[str, Any]] = [
        {"rl_step": 0, "prompt_id": name, "sample": i, "prompt_len": len(text), "output_len": 3 + i,
         "prompt_tokens": text, "output_tokens": [1] * (3 + i), "start_s": 2.0 + i / 4}
        for i in range(2) for name, text in texts.items()
    ]  # fmt: skip
    with TraceWriter(tmp_path / "t.parquet", TraceMeta(origin="recorded")) as writer:
        writer.write(rows)
    export_mooncake(open_trace(tmp_path / "t.parquet"), tmp_path / "requests.jsonl")
    timed = datasets.TimedTrace(
        dataset_path=str(tmp_path / "requests.jsonl"),
        timed_trace_chunk_hash_size=BLOCK,
        timed_trace_sec_multiplier=0.001,
        timed_trace_label_timestamp="timestamp",
        timed_trace_label_input_length="input_length",
        timed_trace_label_output_length="output_length",
        timed_trace_label_hash_ids="hash_ids",
    )
    requests = timed.sample(Letters(), num_requests=100)
    assert [r.prompt_len for r in requests] == [row["prompt_len"] for row in rows]
    assert [r.expected_output_len for r in requests] == [row["output_len"] for row in rows]
    assert [r.timestamp for r in requests] == [0, 0, 0, 0.25, 0.25, 0.25]
    a, b, c = (r.prompt for r in requests[:3])
    assert a[:BLOCK] == b[:BLOCK] != c[:BLOCK] and a[BLOCK] != b[BLOCK]
    assert [r.prompt for r in requests[3:]] == [a, b, c]
