"""A replay in vLLM and the simulator agree in every forward, under every policy.

Few requests at a time, few tokens in a forward and a KV cache too small for all: they wait, their
prompts come in chunks, and they are preempted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_engine import BUDGETS_IN_ENGINE
from shared_traces import LLAMA, QWEN, SHARED, cut

import longtail
from longtail.analysis.parity import check_parity
from longtail.engine.policies import parse_policy
from longtail.engine.step_log import read_step_log
from longtail.policies.components import DRAFTERS
from longtail.traces import open_trace
from longtail.traces.select import select_rollouts

TIGHT = {"max_num_seqs": 6, "max_num_batched_tokens": 48, "block_size": 32}
VARIANTS = (
    "suffix:scope=own/unlimited",
    "suffix:scope=problem,window=1/das:form=printed",
    "suffix:scope=both,window=2/fixed:k=2",
    "ngram/fixed:k=2",
    "suffix/threshold:switch=free,limit=3,patience=2",
)
POLICIES = [
    "none",
    *(
        f"{drafter}/{budget}"
        for drafter in [n for n, d in DRAFTERS.classes.items() if d.in_engine]
        if DRAFTERS.make(drafter).longest_draft
        for budget in BUDGETS_IN_ENGINE
        # Every budget with one drafter, and every drafter with budgets that look at everything.
        if drafter == "suffix" or budget in {"unlimited", "das", "tail"}
    ),
    *VARIANTS,
]

FEWER = [p for p in POLICIES if p.endswith(("none", "/unlimited", "suffix/das", "suffix/tail"))]

recorded = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no recorded traces beside the checkout"),
]


def sample(folder: Path) -> Path:
    """Texts of one RL step that drafts can learn from, and of the next but one."""
    path, trace = folder / "sample.parquet", open_trace(longtail.sample_path())
    select_rollouts(trace, path, rl_steps=range(3), prompts=4, samples=3, longest=400)
    return path


def llama(folder: Path) -> Path:
    return cut(LLAMA, folder, rows=300, prompts=2, samples=3, longest=450)


def qwen(folder: Path) -> Path:
    return cut(QWEN, folder, rows=200, prompts=4, longest=500)


@pytest.mark.parametrize(
    ("make", "blocks", "policies"),
    [
        (sample, 24, POLICIES),
        pytest.param(llama, 26, FEWER, marks=recorded),
        pytest.param(qwen, 24, FEWER, marks=recorded),
    ],
    ids=["sample", "llama", "qwen"],
)
def test_every_forward_is_the_simulators(
    vllm_cpu: None, make: Any, blocks: int, policies: list[str], tmp_path: Path
) -> None:
    from longtail.engine.job import Job, Replay, run_jobs

    trace = make(tmp_path)
    steps = open_trace(trace).rl_steps
    work = Replay(str(trace), [steps[0], steps[-1]])
    engine = {**TIGHT, "num_gpu_blocks_override": blocks}
    jobs = [Job(p.name, work, "dummy", p.policy, engine) for p in map(parse_policy, policies)]
    summaries = run_jobs(jobs, tmp_path / "runs", apart=False, say=lambda line: None)
    for job in jobs:
        folder = tmp_path / "runs" / job.name
        parity = check_parity(folder)
        assert parity.agreeing_all == parity.agreeing == parity.forwards > 100, (job.name, parity)
        assert not summaries[job.name]["faults"]
        log = read_step_log(folder / "steps")
        assert log.preempted.sum() > 0 and log.waiting.max() > 0
        if any(f"/{budget}" in job.name for budget in ("fixed", "unlimited", "tail")):
            assert log.accepted.sum() > 0  # others may grant nothing
