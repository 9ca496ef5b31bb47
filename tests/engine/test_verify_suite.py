"""The measurement of what verifying costs: contexts and drafts that vary apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtail.engine.verify_suite import DRAFTS, VERIFY_SUITES, verify_jobs
from longtail.policies.latency.shapes import SHAPES
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import open_trace


@pytest.mark.parametrize("size", VERIFY_SUITES)
def test_every_context_with_every_draft_length(tmp_path: Path, size: str) -> None:
    suite = VERIFY_SUITES[size]
    jobs = verify_jobs(suite, tmp_path)
    assert len(jobs) == len({job.name for job in jobs}) == len(suite.contexts) * len(DRAFTS)
    assert jobs == verify_jobs(suite, tmp_path)  # the trace is there already
    assert suite.model == "dummy" or suite.model in SHAPES
    trace = open_trace(jobs[0].work.trace)
    assert trace.meta.origin == "synthetic"
    workload = Workload.from_trace(trace)
    seen = set()
    for job in jobs:
        policy = {name: job.policy[name] for name in ("drafter", "budget")}
        (result,) = simulate_steps(workload, Setup.of(**policy), job.work.rl_steps, log=True)
        assert result.log is not None
        decoding = result.log[result.log.prefill_tokens == 0]
        drafts = decoding.drafted / decoding.requests
        assert result.draft_tokens == result.accepted_tokens
        usual = float(drafts.median())
        assert usual in DRAFTS and (drafts == usual).mean() > 0.9
        assert (decoding.requests == suite.requests).mean() > 0.9
        seen.add((int(workload.requests(result.rl_step).prompt_len[0]), int(usual)))
    assert seen == {(context, drafts) for context in suite.contexts for drafts in DRAFTS}
