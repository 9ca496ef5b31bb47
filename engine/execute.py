"""Runs jobs (engine/job.py) on a vLLM engine in this process: replay, or generation in rounds."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..policies.batch import MAX_DRAFT, NO_CAP
from ..policies.latency.shapes import SHAPES
from ..traces.store import open_trace
from .job import Generate, Job, Replay, replayed_steps, trace_vocabulary
from .models import dummy_model, shape_model
from .settings import LiveSettings

DUMMY = {"load_format": "dummy"}
WARM = 64  # requests that warm an engine up, one token longer each


def execute(jobs: Sequence[Job], folder: Path, room: int, left_s: float | None = None) -> None:
    """Run jobs that share an engine, in this process; a job's folder appears when it is whole.

    room: the longest draft that the engine is started for, tokens. A job that fails does not keep
    the others from being run; the first error is raised after them.
    """
    began = time.monotonic()
    settle_environment()
    engine = start_engine(jobs, folder, room)
    error: Exception | None = None
    try:
        warm_up(engine)
        for job in jobs:
            if left_s is not None and time.monotonic() - began > left_s:
                break
            try:
                _execute(engine, job, folder)
            except Exception as failed:
                error = error or failed
                print(f"{job.name}: {failed}", file=sys.stderr)
    finally:
        stop_engine(engine)
        shutil.rmtree(folder / ".model", ignore_errors=True)
    if error:
        raise error


def _execute(engine: Any, job: Job, folder: Path) -> None:
    scheduler = core(engine).scheduler
    part = folder / f".{job.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "job.json").write_text(job.to_json())
    engine.reset_prefix_cache()
    scheduler.begin_session(_settings(job, part))
    if isinstance(job.work, Replay):
        steps = list(_replay(engine, job.work))
    else:
        steps = list(_generate(engine, job.work))
    summary = {"name": job.name, "steps": steps, **scheduler.longtail_stats()}
    scheduler.begin_session(LiveSettings())
    (part / "summary.json").write_text(json.dumps(summary, indent=1))
    os.replace(part, folder / job.name)


def settle_environment() -> None:
    """What has to be set before vLLM is imported: one process, so that whole batches arrive at
    once and replay is exact; the V1 runner, which takes drafts from the scheduler and tokens from
    a trace.
    """
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def start_engine(jobs: Sequence[Job], folder: Path, room: int) -> Any:
    """A vLLM engine on which all of these jobs can run."""
    from vllm import LLM
    from vllm.platforms import current_platform

    model, more = resolve_model(jobs[0], folder)
    arguments: dict[str, Any] = {
        "model": str(model),
        "skip_tokenizer_init": True,
        "seed": 0,
        "async_scheduling": False,  # as vLLM has it for drafts from the host: all alike
        "additional_config": {"longtail": {"drafter": f"ngram:k={room}" if room else "none"}},
        **more,
    }
    if current_platform.is_cpu():
        import torch

        torch.set_num_threads(1)  # OMP_NUM_THREADS is too late where torch is imported already
        arguments |= {"dtype": "float32", "enforce_eager": True, "gpu_memory_utilization": 0.3}
    if any(isinstance(job.work, Replay) for job in jobs):
        arguments |= {"enable_prefix_caching": False}
        # room for a draft beyond the longest rollout's end
        longest_text = max(_longest_text(job.work) for job in jobs if isinstance(job.work, Replay))
        arguments["max_model_len"] = longest_text + MAX_DRAFT + 2
    return LLM(**{**arguments, **jobs[0].engine})


def _longest_text(work: Replay) -> int:
    trace = open_trace(work.trace)
    lengths = trace.lengths(replayed_steps(trace, work))
    return int((lengths.prompt_len + lengths.output_len).max())


def _settings(job: Job, folder: Path) -> LiveSettings:
    """The job's policy, its log in `folder`."""
    kept = {"log": str(folder / "steps")}
    if isinstance(job.work, Generate):
        kept["record"] = str(folder / "rollouts")
        kept |= {"history": job.work.history} if job.work.history else {}
    return LiveSettings.of({**job.policy, **kept})


def warm_up(engine: Any) -> None:
    """The first forwards of every batch size compile and allocate; nobody should measure them."""
    from vllm import SamplingParams

    params = [
        SamplingParams(temperature=1.0, max_tokens=4 + i, ignore_eos=True, detokenize=False)
        for i in range(WARM)
    ]
    prompts = [{"prompt_token_ids": [0, 1, 2, 3, 0, 1, 2, 3]}] * WARM
    engine.generate(prompts, params, use_tqdm=False)


def stop_engine(engine: Any) -> None:
    """Write what is pending and let go of the device."""
    engine.llm_engine.engine_core.shutdown()
    del engine
    gc.collect()


def resolve_model(job: Job, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The model's folder, and the engine arguments that it needs."""
    if job.model == "tiny":
        from .tiny.llama import tiny_llama_cached

        return tiny_llama_cached(), {}
    if job.model == "dummy":
        assert isinstance(job.work, Replay)  # Job.check
        size = trace_vocabulary(open_trace(job.work.trace))
        return dummy_model(folder / ".model", vocab_size=size, max_position=1 << 20), DUMMY
    if job.model in SHAPES:
        return shape_model(folder / ".model", job.model), DUMMY
    return Path(job.model), {}


def _replay(engine: Any, work: Replay) -> Iterator[dict[str, Any]]:
    """Each RL step's requests at once, every token as it was recorded."""
    from vllm import SamplingParams

    trace = open_trace(work.trace)
    session = core(engine).scheduler.session
    lengths = trace.lengths()
    # As in the simulator: where a text ends must not become known by its cap.
    limit = lengths.limit(work.cap or trace.meta.sampling.get("max_tokens"))
    cap = int(NO_CAP) if limit is None else limit
    last = -1
    for step in replayed_steps(trace, work):
        session.policy.load(trace, rl_steps=range(last + 1, step))
        last = step
        rows = lengths.select(lengths.rl_step == step)
        tokens = trace.tokens([step])
        prompts, params = [], []
        for i in range(len(rows)):
            size = int(rows.output_len[i])
            reward = float(rows.reward[i])
            params.append(
                SamplingParams(
                    temperature=1.0,
                    max_tokens=size,
                    ignore_eos=True,
                    detokenize=False,
                    extra_args={
                        "longtail_replay": tokens.output(i).tolist(),
                        "longtail_prompt_id": rows.prompt_ids[rows.prompt[i]],
                        "longtail_rl_step": int(step),
                        "longtail_sample": int(rows.sample[i]),
                        "longtail_cap": cap,
                        **({"longtail_reward": reward} if isfinite(reward) else {}),
                    },
                )
            )
            prompts.append({"prompt_token_ids": tokens.prompt(i).tolist()})
        outputs, seconds = _timed(engine, prompts, params)
        wrong = sum(list(output) != tokens.output(i).tolist() for i, output in enumerate(outputs))
        if wrong:
            raise RuntimeError(f"RL step {step}: {wrong} of {len(rows)} rollouts were not replayed")
        yield _summary(int(step), seconds, outputs)


def _generate(engine: Any, work: Generate) -> Iterator[dict[str, Any]]:
    """Round after round, history growing."""
    from vllm import SamplingParams

    first = core(engine).scheduler.session.policy.rl_step  # after those of the history, if any
    for number in range(work.rounds):
        rl_step = first + number
        prompts, params = [], []
        for name, prompt in zip(work.names, work.prompts, strict=True):
            for sample in range(work.samples):
                params.append(
                    SamplingParams(
                        temperature=work.temperature,
                        top_p=work.top_p,
                        top_k=work.top_k,
                        max_tokens=work.max_tokens,
                        ignore_eos=work.ignore_end,
                        detokenize=False,
                        seed=_seed(work.seed, number, name, sample) if work.temperature else None,
                        extra_args={
                            "longtail_prompt_id": name,
                            "longtail_rl_step": rl_step,
                            "longtail_sample": sample,
                            **({"longtail_coupled": True} if work.coupled else {}),
                        },
                    )
                )
                prompts.append({"prompt_token_ids": prompt})
        outputs, seconds = _timed(engine, prompts, params)
        yield _summary(rl_step, seconds, outputs)


def core(engine: Any) -> Any:
    """vLLM's EngineCore of an in-process engine."""
    return engine.llm_engine.engine_core.engine_core


def _timed(engine: Any, prompts: list, params: list) -> tuple[list[list[int]], float]:
    began = time.perf_counter()
    outputs = engine.generate(prompts, params, use_tqdm=False)
    return [list(o.outputs[0].token_ids) for o in outputs], time.perf_counter() - began


def _summary(rl_step: int, seconds: float, outputs: list[list[int]]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for output in outputs:
        digest.update(np.array([*output, -1], "<i4").tobytes())
    return {
        "rl_step": rl_step,
        "makespan_s": seconds,
        "requests": len(outputs),
        "output_tokens": sum(map(len, outputs)),
        "text": digest.hexdigest()[:16],  # equal where every token is
    }


def _seed(seed: int, *parts: Any) -> int:
    """A seed of its own for every rollout, the same in every run."""
    return int.from_bytes(hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=6).digest())


if __name__ == "__main__":
    orders = Path(sys.argv[1])
    given = json.loads(orders.read_text())
    jobs = [Job.from_json(text) for text in given["jobs"]]
    execute(jobs, orders.parent, given["room"], given["left_s"])
