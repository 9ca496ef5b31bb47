"""One live run: an engine, a policy, and either prompts to continue or a trace to replay.

A job is plain data, so that it can be written down, sent to another process or machine, and found
again: a job's folder is written under a temporary name and renamed when it is whole, and a job
whose folder is there is not run again. In it: `job.json`, `summary.json`, `steps/` (the step log)
and, for generation, `rollouts/` (traces).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..policies.latency.shapes import SHAPES
from ..traces.schema import TraceError
from ..traces.store import Trace, open_trace
from .folders import make_folder
from .settings import LiveSettings
from .tiny.task import VOCABULARY

Say = Callable[[str], None]


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
    history: str | None = None  # a trace to learn from first; rounds are the RL steps after it


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
        size = None  # a dummy model has the vocabulary of what is replayed
        if isinstance(self.work, Replay) and self.model == "dummy":
            size = trace_vocabulary(open_trace(self.work.trace))
        return json.dumps([self.model, self.engine, drafts, replay, size], sort_keys=True)

    def check(self) -> None:
        """Raise TraceError for what can be seen to be wrong before an engine starts."""
        LiveSettings.of(self.policy).open_history()
        if isinstance(self.work, Generate):
            if self.work.history:
                open_trace(self.work.history).require_tokens()
            if self.model == "dummy" or self.model in SHAPES:
                raise TraceError(
                    f"{self.model} has dummy weights and writes noise",
                    remedy="name a model's folder, or give --replay",
                )
            tokens = max(map(max, self.work.prompts))
        else:
            trace = open_trace(self.work.trace)
            trace.require_tokens()
            replayed_steps(trace, self.work)
            tokens = highest_token(trace)
        known = vocabulary(self.model)
        if known is not None and tokens >= known:
            raise TraceError(
                f"token {tokens} is not in the vocabulary of {self.model}, which has {known}",
                remedy="name the model that these tokens are for (a replay can also take dummy)",
            )

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


class JobError(RuntimeError):
    """Some jobs failed; `summaries` are those of the others, by name."""

    def __init__(self, failures: list[str], summaries: dict[str, dict[str, Any]]) -> None:
        super().__init__("\n".join(failures))
        self.summaries = summaries


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
    is done by the next call. Raises TraceError, before any of them runs, for a job that cannot be
    run or whose folder holds something else; JobError, after the others have run, with the last
    words of the engines that failed (the engine's own error where it is not apart).
    """
    end = time.monotonic() + limit_s if limit_s is not None else None
    jobs = list({job.name: job for job in jobs}.values())
    for job in jobs:
        place = folder / job.name
        if not place.exists():
            job.check()
        elif not holds(place, job):
            raise TraceError(
                "this folder holds another run", file=place, remedy="name another output folder"
            )
    engines: dict[str, list[Job]] = {}
    room: dict[str, int] = {}  # K of the engine: the same whatever is left to do on it
    for job in jobs:
        key = job.engine_key
        room[key] = max(room.get(key, 0), LiveSettings.of(job.policy).k)
        if not (folder / job.name).exists():
            engines.setdefault(key, []).append(job)
    make_folder(folder)
    failures = []
    for key, group in engines.items():
        left_s = end - time.monotonic() if end else None
        if left_s is not None and left_s <= 0:
            break
        say(f"{', '.join(job.name for job in group)} …")
        if apart:
            words = _run_apart(group, folder, room[key], left_s)
            if words:
                lost = [job.name for job in group if not (folder / job.name).exists()]
                last = words.strip().rpartition("\n")[2]
                failures.append(f"{', '.join(lost)} failed: {last}\nThe last words:\n{words}")
        else:
            from .execute import execute

            execute(group, folder, room[key], left_s)
    done = [job.name for job in jobs if (folder / job.name).exists()]
    summaries = {name: read_summary(folder / name) for name in done}
    if failures:
        raise JobError(failures, summaries)
    return summaries


def _run_apart(group: Sequence[Job], folder: Path, room: int, left_s: float | None) -> str:
    """Empty, or what an engine that failed said last."""
    orders = folder / f".{group[0].name}.jobs.json"
    texts = [job.to_json() for job in group]
    orders.write_text(json.dumps({"jobs": texts, "room": room, "left_s": left_s}))
    command = [sys.executable, "-m", "longtail.engine.execute", str(orders)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        orders.unlink()
    return done.stdout[-4000:] if done.returncode else ""


def read_summary(folder: Path) -> dict[str, Any]:
    """A finished job's summary."""
    return dict(json.loads((folder / "summary.json").read_text()))


def holds(folder: Path, job: Job) -> bool:
    """Whether this is the folder of just that job."""
    stored = folder / "job.json"
    return stored.is_file() and stored.read_text() == job.to_json()


def vocabulary(model: str) -> int | None:
    """A model's number of tokens; None for one that is made to fit. Raises TraceError for none."""
    if model == "dummy":
        return None
    if model == "tiny":
        return len(VOCABULARY)
    if model in SHAPES:
        return int(SHAPES[model]["vocab_size"])
    config = Path(model) / "config.json"
    if not config.is_file():
        raise TraceError(
            "no model here (config.json is missing)",
            file=model,
            remedy=f"name a model's folder, tiny, dummy, or a shape: {', '.join(SHAPES)}",
        )
    try:
        size = json.loads(config.read_text()).get("vocab_size")
    except (ValueError, AttributeError):
        raise TraceError("no JSON object", file=config, remedy="give the model's own") from None
    return None if size is None else int(size)  # some keep it in a part of the configuration


def trace_vocabulary(trace: Trace) -> int:
    """How many tokens the model of a trace had, as far as is known."""
    return trace.meta.vocab_size or highest_token(trace) + 1


def highest_token(trace: Trace) -> int:
    """The largest token id of a trace with tokens."""
    tokens = trace.tokens()
    return int(max(tokens.output_tokens.max(), tokens.prompt_tokens.max(initial=0)))


def replayed_steps(trace: Trace, work: Replay) -> list[int]:
    """The RL steps that are replayed, ascending. Raises TraceError for one that is not there."""
    if work.rl_steps is None:
        return trace.rl_steps
    trace.lengths(work.rl_steps)  # says which one is missing
    return sorted(set(work.rl_steps))
