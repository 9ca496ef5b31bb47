"""A live replay against the simulator, forward by forward.

Seconds may differ; who ran, what was drafted and what was accepted may not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..engine.job import Job, Replay, replayed_steps
from ..engine.settings import LiveSettings
from ..engine.step_log import read_step_log
from ..sim.limits import Limits
from ..sim.simulate import Setup, simulate_steps
from ..sim.step import StepResult
from ..sim.workload import Workload
from ..traces.schema import TraceError
from ..traces.store import open_trace

MUST = ("running", "drafted", "accepted")
POLICY = ("drafter", "budget", "placement", "latency", "longest_draft")
ALSO = ("waiting", "tokens", "requests", "kv_tokens", "pairs", "prefill_tokens")


@dataclass(frozen=True)
class Parity:
    """How far a live log and the simulator's agree."""

    forwards: int  # of the longer of the two logs
    agreeing: int  # forwards with the same running, drafted and accepted
    agreeing_all: int  # and the same waiting, tokens, requests and KV tokens
    difference: str | None  # the first one

    @property
    def exact(self) -> bool:
        """Whether every forward agrees in what it must."""
        return self.agreeing == self.forwards

    def __str__(self) -> str:
        share = f"{self.agreeing} of {self.forwards} forwards agree with the simulator"
        return share + (f"; first difference: {self.difference}" if self.difference else "")


def check_parity(folder: Path) -> Parity:
    """Simulate what a replay's folder (engine/job.py) holds, and compare.

    Raises TraceError where there is no replay.
    """
    stored = folder / "job.json"
    job = Job.from_json(stored.read_text()) if stored.is_file() else None
    if job is None or not isinstance(job.work, Replay):
        raise TraceError("not a replay", file=folder, remedy="name the folder of a replay")
    live = read_step_log(folder / "steps")
    run = live.attrs["run"]
    ran, asked = run["policy"], LiveSettings.of(job.policy).to_dict()
    other = [name for name in POLICY if ran[name] != asked[name]]
    if other:
        raise TraceError(
            f"the step log is of another policy than job.json ({', '.join(other)})",
            file=folder,
            remedy="run it again in a new folder",
        )
    return compare_logs(live, simulated_log(job, run))


def simulated_log(job: Job, run: dict[str, Any]) -> pd.DataFrame:
    """The simulator's log of the job, under the limits the engine really had (`run`)."""
    results = simulate_replay(job, run)
    return steps_log(results)


def steps_log(results: Sequence[StepResult]) -> pd.DataFrame:
    """The logs of RL steps that were simulated with one, one after the other."""
    return pd.concat([r.log.assign(rl_step=r.rl_step) for r in results if r.log is not None])


def simulate_replay(job: Job, run: dict[str, Any], latency: Any = None) -> list[StepResult]:
    """The job's RL steps in the simulator, logged, under the limits the engine really had (`run`).

    latency: the clock's, where it is another one than the live policy was told.
    """
    assert isinstance(job.work, Replay)
    policy = run["policy"]
    setup = Setup.of(
        **{name: policy[name] for name in ("drafter", "budget", "placement")},
        latency=policy["latency"] if latency is None else latency,
        told=policy["latency"],
        limits=engine_limits(run),
    )
    workload, steps = _workload(
        job.work.trace, job.work.cap, tuple(job.work.rl_steps) if job.work.rl_steps else None
    )
    return simulate_steps(workload, setup, steps, log=True, longest_draft=policy["longest_draft"])


@functools.lru_cache(maxsize=2)
def _workload(
    path: str, cap: int | None, wanted: tuple[int, ...] | None
) -> tuple[Workload, list[int]]:
    """What is replayed, and the profiles that are computed on the way: runs are often repeated."""
    trace = open_trace(path)
    steps = replayed_steps(trace, Replay(path, list(wanted) if wanted else None, cap))
    return Workload.from_trace(trace, cap=cap, rl_steps=steps), steps


def engine_limits(run: dict[str, Any]) -> Limits:
    """The simulator's limits for an engine's resolved configuration; vLLM keeps one KV block."""
    return Limits(
        max_num_seqs=run["max_num_seqs"],
        max_num_batched_tokens=run["max_num_batched_tokens"],
        kv_tokens=(run["kv_blocks"] - 1) * run["block_size"],
        block_size=run["block_size"],
    )


def compare_logs(live: pd.DataFrame, simulated: pd.DataFrame) -> Parity:
    """Row by row, in order of RL step and forward."""
    columns = ["rl_step", *MUST, *ALSO]
    a, b = (f[columns].reset_index(drop=True) for f in (live, simulated))
    longer, shared = max(len(a), len(b)), min(len(a), len(b))
    same = a[:shared].eq(b[:shared])
    must = same[["rl_step", *MUST]].all(axis=1)
    all_ = same.all(axis=1)
    difference = None
    if not must.all():
        row = int((~must).to_numpy().argmax())
        what = [c for c in ("rl_step", *MUST) if not same.loc[row, c]]
        difference = f"forward {row}: " + ", ".join(
            f"{c} {a[c][row]} live, {b[c][row]} simulated" for c in what
        )
    elif len(a) != len(b):
        difference = f"{len(a)} forwards live, {len(b)} simulated"
    return Parity(longer, int(must.sum()), int(all_.sum()), difference)
