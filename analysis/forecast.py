"""Live generation, predicted: from the history alone, and in hindsight.

What a prompt will be continued with is not known before. The forecast lets its latest earlier
rollouts stand in, drawn anew many times, each drafted from what came before it; so it needs no
model, and supposes that the policy has hardly changed. In hindsight the recorded rollouts are
simulated, which leaves the error of the clock and of the engine, and takes away that of the
forecast.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.settings import LiveSettings
from ..policies.latency.calibrated import Calibrated
from ..policies.profile import Profile
from ..sim.simulate import Setup, run_step, simulate_steps
from ..sim.step import Requests, StepResult
from ..sim.workload import Workload
from ..traces.schema import TraceError
from ..traces.select import join_traces, traces_in
from ..traces.store import open_trace
from .clock import Clock
from .composition import step_seconds
from .observations import LiveRun, same_engine
from .parity import engine_limits

DRAWS = 25
EDGES = (0.05, 0.95)


@dataclass(frozen=True)
class Forecast:
    """One RL step of a live generation; seconds at the machine's speed during the run."""

    run: str
    policy: str
    rl_step: int
    requests: int
    held_out: bool
    known: float  # share of the requests whose prompt has earlier rollouts
    slow: float
    measured_s: float
    hindsight_s: float
    forecast_s: tuple[float, float, float] | None  # median, and 90 % of the draws; None: no history
    measured_tokens: int
    forecast_tokens: float | None
    measured_gain: float  # tokens per request and forward that gave it any
    hindsight_gain: float
    forecast_gain: float | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Forecast:
        """From `to_json`."""
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists})


def forecast_run(run: LiveRun, latency: Calibrated, held_out: bool) -> list[Forecast]:
    """Its RL steps. Raises TraceError for a run of another engine, or without its rollouts."""
    same_engine([run], latency.content["engine"], "the calibration's")
    policy = run.run["policy"]
    recorded = traces_in(run.folder / "rollouts")
    if not recorded:
        raise TraceError("no rollouts were recorded", file=run.folder, remedy="run it again")
    history = [trace.path for trace in LiveSettings.of(policy).open_history()]
    setup = Setup.of(
        **{name: policy[name] for name in ("drafter", "budget", "placement")},
        latency=latency,
        told=policy["latency"],
        limits=engine_limits(run.run),
    )
    with tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch) / "all.parquet"
        join_traces([*history, *recorded], joined)
        workload = Workload.from_trace(open_trace(joined))
        profile = workload.profile(setup.drafter)
    slow = Clock(latency.content).slow(run)
    return [
        _forecast(run, workload, profile, setup, int(step["rl_step"]), slow, held_out)
        for step in (run.summary or {})["steps"]
    ]


def _forecast(
    run: LiveRun,
    workload: Workload,
    profile: Profile,
    setup: Setup,
    rl_step: int,
    slow: float,
    held_out: bool,
) -> Forecast:
    longest = run.run["policy"]["longest_draft"]
    live = run.forwards[run.forwards.rl_step == rl_step]
    requests = run.requests[run.requests.rl_step == rl_step]
    (hindsight,) = simulate_steps(workload, setup, [rl_step], longest_draft=longest)
    draws, known = _draw(workload, profile, setup, rl_step, longest)
    seconds = slow * np.array([result.makespan_s for result in draws])
    spread = [float(np.quantile(seconds, q)) for q in (0.5, *EDGES)] if draws else None
    return Forecast(
        run=run.name,
        policy=run.policy,
        rl_step=rl_step,
        requests=len(requests),
        held_out=held_out,
        known=known,
        slow=slow,
        measured_s=float(step_seconds(live)[1][-1]),
        hindsight_s=slow * hindsight.makespan_s,
        forecast_s=(spread[0], spread[1], spread[2]) if spread else None,
        measured_tokens=int(requests.output_len.sum()),
        forecast_tokens=float(np.median([r.output_tokens for r in draws])) if draws else None,
        measured_gain=float(requests.output_len.sum() / requests.forwards.sum()),
        hindsight_gain=_gain(hindsight),
        forecast_gain=float(np.median([_gain(r) for r in draws])) if draws else None,
        notes=setup.notes,
    )


def _gain(result: StepResult) -> float:
    return result.output_tokens / int(result.request_forwards.sum())


def _draw(
    workload: Workload, profile: Profile, setup: Setup, rl_step: int, longest: int
) -> tuple[list[StepResult], float]:
    """The RL step with earlier rollouts in its requests' places, `DRAWS` times; and the share of
    requests that have some of their own prompt.
    """
    lengths, wanted = workload.lengths, workload.requests(rl_step)
    earlier = np.flatnonzero(lengths.rl_step < rl_step)
    if not len(earlier):
        return [], 0.0
    last = earlier[lengths.rl_step[earlier] == lengths.rl_step[earlier].max()]
    candidates = []
    for prompt in wanted.prompt:
        mine = earlier[lengths.prompt[earlier] == prompt]
        newest = mine[lengths.rl_step[mine] == lengths.rl_step[mine].max(initial=-1)]
        candidates.append(newest)
    known = float(np.mean([len(rows) > 0 for rows in candidates]))
    past = workload.past(rl_step, profile) if setup.budget.past_steps != 0 else ()
    rng = np.random.default_rng(rl_step)
    results = []
    for _ in range(DRAWS):
        rows = np.array([rng.choice(rows if len(rows) else last) for rows in candidates])
        output_len = np.minimum(lengths.output_len[rows], wanted.cap).astype(np.int32)
        requests = Requests(rl_step, wanted.prompt, wanted.prompt_len, output_len, wanted.cap)
        part = profile.take(rows, output_len)
        results.append(run_step(requests, part, setup, rl_step, longest, past=past))
    return results, known
