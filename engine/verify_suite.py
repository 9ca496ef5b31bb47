"""What verifying a draft costs at which context, as jobs: batches that differ in nothing else.

A synthetic trace of prompts that repeat a short cycle and of outputs that go on with it, so that
`ngram` always drafts as much as its budget allows, and all of it is accepted. Contexts and draft
lengths vary apart from each other, which the rollouts of an RL run do not do; `longtail calibrate`
tells from the step logs how often the KV is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..traces.schema import TraceMeta
from ..traces.writer import TraceWriter
from .folders import make_folder
from .job import Job, Replay
from .policies import parse_policy

CYCLE = 61  # tokens, all different: the text goes on in one way only
FORWARDS = 80  # of each case, about
DRAFTS = (0, 1, 3, 7, 15)


@dataclass(frozen=True)
class VerifySuite:
    """What is verified, at one size."""

    model: str  # a name of engine/job.py
    contexts: tuple[int, ...]  # tokens
    requests: int
    engine: dict[str, object]


VERIFY_SUITES = {
    "gpu": VerifySuite(
        "qwen2.5-7b",
        (512, 4096, 16384),
        16,
        {"max_num_seqs": 64, "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.85},
    ),
    "cpu": VerifySuite(
        "dummy", (256, 2048, 8192), 4, {"max_num_seqs": 8, "max_num_batched_tokens": 8192}
    ),
}


def verify_jobs(suite: VerifySuite, folder: Path) -> list[Job]:
    """A job per context and draft length; writes their trace to `folder / "traces"`."""
    cases = [(context, drafts) for context in suite.contexts for drafts in DRAFTS]
    place = folder.absolute() / "traces"
    made = repr((CYCLE, FORWARDS, DRAFTS, suite.contexts, suite.requests)).encode()
    path = place / f"verify.{hashlib.blake2b(made, digest_size=4).hexdigest()}.parquet"
    if not path.exists():
        make_folder(place)
        _write(path, cases, suite.requests)
    jobs = []
    for step, (context, drafts) in enumerate(cases):
        named = parse_policy(f"ngram:k={max(DRAFTS)},min=1,max=2/fixed:k={drafts}")
        name = f"{suite.model}-verify-{context}-{drafts}"
        jobs.append(Job(name, Replay(str(path), [step]), suite.model, named.policy, suite.engine))
    return jobs


def _write(path: Path, cases: list[tuple[int, int]], requests: int) -> None:
    meta = TraceMeta(origin="synthetic", source="longtail run --suite verify", vocab_size=CYCLE + 1)
    with TraceWriter(path, meta) as writer:
        for step, (context, drafts) in enumerate(cases):
            length = FORWARDS * (1 + drafts)
            for sample in range(requests):
                text = [1 + (i + sample) % CYCLE for i in range(context + length)]
                row = {
                    "rl_step": step,
                    "prompt_id": f"context {context}, drafts {drafts}",
                    "sample": sample,
                    "prompt_tokens": text[:context],
                    "output_tokens": text[context:],
                    "prompt_len": context,
                    "output_len": length,
                    "finish_reason": "length",
                }
                writer.write([row])
