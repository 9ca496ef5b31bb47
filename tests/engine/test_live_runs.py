"""The same policies live in vLLM: replays agree with the simulator, greedy text does not change."""

from pathlib import Path

import pytest

import longtail
from longtail.analysis.parity import check_parity
from longtail.traces.select import select_rollouts

TIGHT = {
    "max_num_seqs": 6,
    "max_num_batched_tokens": 48,
    "num_gpu_blocks_override": 8,
    "block_size": 128,
}
SMALL = {"max_model_len": 512, "num_gpu_blocks_override": 8, "block_size": 128}
POLICIES = (
    "none",
    "ngram/fixed:k=2",
    "suffix:scope=both/unlimited",
    "suffix:scope=problem,window=1/das",
)


@pytest.fixture
def jobs(vllm_cpu: None):
    from longtail.engine import job

    return job


def test_replay_agrees_with_the_simulator(jobs, tmp_path: Path) -> None:
    from longtail.engine.policies import parse_policy

    trace = tmp_path / "t.parquet"
    select_rollouts(
        longtail.read_trace("sample"), trace, rl_steps=range(3), prompts=4, samples=3, longest=400
    )
    work = jobs.Replay(str(trace), [0, 2])
    runs = [jobs.Job(p.name, work, "dummy", p.policy, TIGHT) for p in map(parse_policy, POLICIES)]
    summaries = jobs.run_jobs(runs, tmp_path / "runs", apart=False, say=lambda line: None)
    for run in runs:
        parity = check_parity(tmp_path / "runs" / run.name)
        assert parity.exact and parity.agreeing_all == parity.forwards > 100, (run.name, parity)
        assert not summaries[run.name]["faults"]
    log = longtail.engine.step_log.read_step_log(tmp_path / "runs" / "none" / "steps")
    assert log.preempted.sum() > 0


def test_greedy_text_is_the_same(jobs, tiny_llama: Path, tmp_path: Path) -> None:
    from longtail.engine.policies import parse_policy
    from longtail.engine.prompts import read_prompts

    names, prompts = read_prompts(longtail.sample_path(), limit=12)
    work = jobs.Generate(names, prompts, rounds=2, temperature=0.0, max_tokens=200)
    runs = [
        jobs.Job(p.name, work, str(tiny_llama), p.policy, SMALL)
        for p in map(parse_policy, POLICIES)
    ]
    done = jobs.run_jobs(runs, tmp_path, apart=False, say=lambda line: None)
    texts = {tuple(s["text"] for s in done[run.name]["steps"]) for run in runs}
    assert len(texts) == 1
