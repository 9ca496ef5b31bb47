"""One live run: an engine, a policy, and either prompts to continue or a trace to replay.

A job is plain data, so that it can be written down, sent to another process or machine, and found
again: a job's folder is written under a temporary name and renamed when it is whole, and a job
whose folder is there is not run again. In it: `job.json`, `summary.json`, `steps/` (the step log)
and, for generation, `rollouts/` (traces).
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..policies.batch import MAX_DRAFT, NO_CAP
from ..traces.schema import TraceError
from ..traces.store import Trace, open_trace
from .models import SHAPES, dummy_model, shape_model
from .settings import LiveSettings

Say = Callable[[str], None]
DUMMY = {"load_format": "dummy"}


@dataclass(frozen=True)
class Replay:
    """Replay a trace's RL steps, each with all earlier ones as history."""

    trace: str
    rl_steps: list[int] | None = None  # all of them
    cap: int | None = None  # what the policy is told where the trace does not say


@dataclass(frozen=True)
class Generate:
    """Continue prompts: every round is an RL step, `samples` rollouts of each prompt."""

    names: list[str]
    prompts: list[list[int]]
    rounds: int = 1
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # all
    max_tokens: int = 1024
    seed: int = 0
    ignore_end: bool = False
    coupled: bool = False  # sampled text is the same under every policy


@dataclass(frozen=True)
class Job:
    """Everything that decides a live run."""

    name: str  # of its folder
    work: Replay | Generate
    model: str = "tiny"  # a folder, `tiny`, `dummy` or the name of a shape (engine/models.py)
    policy: dict[str, Any] = field(default_factory=dict)  # as in a policy file
    engine: dict[str, Any] = field(default_factory=dict)  # vLLM's own arguments

    @property
    def engine_key(self) -> str:
        """Equal where one engine can run both jobs."""
        drafts = LiveSettings.of(self.policy).k > 0
        replay = isinstance(self.work, Replay)
        trace = self.work.trace if isinstance(self.work, Replay) and self.model == "dummy" else ""
        return json.dumps([self.model, self.engine, drafts, replay, trace], sort_keys=True)

    def to_json(self) -> str:
        """For `from_json`."""
        kind = type(self.work).__name__.lower()
        return json.dumps({**asdict(self), "work": {kind: asdict(self.work)}}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """A job from `to_json`."""
        values = json.loads(text)
        ((kind, work),) = values["work"].items()
        return cls(**{**values, "work": {"replay": Replay, "generate": Generate}[kind](**work)})


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    apart: bool = True,
    limit_s: float | None = None,
    say: Say = print,
) -> dict[str, dict[str, Any]]:
    """Run the jobs that are not done yet; the summaries of all that are, by name.

    Jobs that need the same engine share one. apart: each engine in a process of its own, so that
    nothing of it is left for the next. limit_s: no job begins after so many seconds; what is left
    is done by the next call. Raises TraceError if a folder holds something else, RuntimeError with
    the engine's last words if a run fails.
    """
    end = time.monotonic() + limit_s if limit_s else None
    for job in jobs:
        stored = folder / job.name / "job.json"
        if stored.exists() and stored.read_text() != job.to_json():
            raise TraceError(
                "this folder holds another run",
                file=stored.parent,
                remedy="name another output folder",
            )
    engines: dict[str, list[Job]] = {}
    room: dict[str, int] = {}  # K of the engine: the same whatever is left to do on it
    for job in jobs:
        key = job.engine_key
        room[key] = max(room.get(key, 0), LiveSettings.of(job.policy).k)
        if not (folder / job.name).exists():
            engines.setdefault(key, []).append(job)
    folder.mkdir(parents=True, exist_ok=True)
    for key, group in engines.items():
        left_s = end - time.monotonic() if end else None
        if left_s is not None and left_s <= 0:
            break
        say(f"{', '.join(job.name for job in group)} …")
        if apart:
            _run_apart(group, folder, room[key], left_s)
        else:
            execute(group, folder, room[key], left_s)
    done = [job.name for job in jobs if (folder / job.name).exists()]
    return {name: read_summary(folder / name) for name in done}


def _run_apart(group: Sequence[Job], folder: Path, room: int, left_s: float | None) -> None:
    orders = folder / f".{group[0].name}.jobs.json"
    texts = [job.to_json() for job in group]
    orders.write_text(json.dumps({"jobs": texts, "room": room, "left_s": left_s}))
    command = [sys.executable, "-m", "longtail.engine.job", str(orders)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    orders.unlink()
    if done.returncode:
        raise RuntimeError(f"{group[0].name} failed; its last words:\n{done.stdout[-4000:]}")


def execute(jobs: Sequence[Job], folder: Path, room: int, left_s: float | None = None) -> None:
    """Run jobs that share an engine, in this process; a job's folder appears when it is whole.

    room: the longest draft that the engine is started for, tokens.
    """
    began = time.monotonic()
    settle_environment()
    engine = start_engine(jobs, folder, room)
    scheduler = core(engine).scheduler
    try:
        warm_up(engine)
        for job in jobs:
            if left_s is not None and time.monotonic() - began > left_s:
                break
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
    finally:
        stop_engine(engine)
        shutil.rmtree(folder / ".model", ignore_errors=True)


def read_summary(folder: Path) -> dict[str, Any]:
    """A finished job's summary."""
    return dict(json.loads((folder / "summary.json").read_text()))


def settle_environment() -> None:
    """What has to be set before vLLM is imported: one process, so that whole batches arrive at
    once and replay is exact; the V1 runner, which takes drafts from the scheduler.
    """
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
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
        "additional_config": {"longtail": {"drafter": f"ngram:k={room}" if room else "none"}},
        **more,
    }
    if current_platform.is_cpu():
        import torch

        torch.set_num_threads(1)  # OMP_NUM_THREADS is too late where torch is imported already
        arguments |= {"dtype": "float32", "enforce_eager": True, "gpu_memory_utilization": 0.3}
    if any(isinstance(job.work, Replay) for job in jobs):
        arguments |= {"enable_prefix_caching": False, "async_scheduling": False}
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
    return LiveSettings.of({**job.policy, **kept})


def warm_up(engine: Any) -> None:
    """The first forwards compile and allocate; nobody should measure them."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=1.0, max_tokens=8, ignore_eos=True, detokenize=False)
    engine.generate([{"prompt_token_ids": [0, 1, 2, 3]}] * 2, params, use_tqdm=False)


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
        assert isinstance(job.work, Replay)
        trace = open_trace(job.work.trace)
        size = _vocab_size(trace)
        return dummy_model(folder / ".model", vocab_size=size, max_position=1 << 20), DUMMY
    if job.model in SHAPES:
        return shape_model(folder / ".model", job.model), DUMMY
    path = Path(job.model)
    if not (path / "config.json").is_file():
        raise TraceError(
            "no model here (config.json is missing)",
            file=path,
            remedy=f"name a model's folder, tiny, dummy, or a shape: {', '.join(SHAPES)}",
        )
    return path, {}


def _vocab_size(trace: Trace) -> int:
    if trace.meta.vocab_size:
        return trace.meta.vocab_size
    tokens = trace.tokens()
    return int(max(tokens.output_tokens.max(), tokens.prompt_tokens.max())) + 1


def _replay(engine: Any, work: Replay) -> Iterator[dict[str, Any]]:
    """Each RL step's requests at once, every token as it was recorded."""
    from vllm import SamplingParams

    trace = open_trace(work.trace)
    session = core(engine).scheduler.session
    lengths = trace.lengths()
    recorded = work.cap or trace.meta.sampling.get("max_tokens") or int(NO_CAP)
    general = max(recorded) if isinstance(recorded, list) else recorded
    last = -1
    for step in replayed_steps(trace, work):
        session.policy.load(trace, rl_steps=range(last + 1, step))
        last = step
        rows = lengths.select(lengths.rl_step == step)
        tokens = trace.tokens([step])
        prompts, params = [], []
        for i in range(len(rows)):
            size = int(rows.output_len[i])
            # As in the simulator: where a text ends must not become known by its cap.
            cap = size if rows.capped[i] else general if size <= general else int(NO_CAP)
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
                        "longtail_cap": int(cap),
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

    for rl_step in range(work.rounds):
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
                        seed=_seed(work.seed, rl_step, name, sample) if work.temperature else None,
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


def replayed_steps(trace: Trace, work: Replay) -> list[int]:
    """The RL steps that are replayed, ascending. Raises TraceError for one that is not there."""
    if work.rl_steps is None:
        return trace.rl_steps
    trace.lengths(work.rl_steps)  # says which one is missing
    return sorted(set(work.rl_steps))


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
