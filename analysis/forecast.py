"""Live generation, predicted: from the history alone, and in hindsight.

What a prompt will be continued with is not known before. The forecast lets its latest earlier
rollouts stand in, drawn anew many times, each drafted from all the history but a part of the latest
rollouts that it belongs to itself; so it needs no model, and supposes that the policy has hardly
changed. In hindsight the recorded rollouts are simulated, which leaves the error of the clock and
of the engine, and takes away that of the forecast.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..engine.job import Generate
from ..engine.settings import LiveSettings
from ..policies.latency.calibrated import Calibrated
from ..policies.profile import Profile
from ..sim.simulate import Setup, run_step, simulate_steps
from ..sim.step import Requests, StepResult
from ..sim.workload import Workload, cores
from ..traces.schema import TraceError
from ..traces.select import join_traces, traces_in
from ..traces.store import open_trace
from .clock import Clock
from .composition import step_seconds
from .observations import LiveRun, same_engine
from .parity import engine_limits, steps_log

DRAWS = 25
FOLDS = 4  # parts of the latest rollouts, each drafted from the others
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


def forecast_run(
    run: LiveRun, latency: Calibrated, held_out: bool
) -> tuple[list[Forecast], pd.DataFrame]:
    """Its RL steps, and the log of the simulation in hindsight.

    Raises TraceError for a run of another engine, or without its rollouts.
    """
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
        first = min(int(step["rl_step"]) for step in (run.summary or {})["steps"])
        workload = _as_they_came(Workload.from_trace(open_trace(joined)), first, run)
        profile = workload.profile(setup.drafter)
    clock = Clock(latency.content)
    steps = [int(step["rl_step"]) for step in (run.summary or {})["steps"]]
    longest = run.run["policy"]["longest_draft"]
    hindsight = simulate_steps(workload, setup, steps, log=True, longest_draft=longest)
    forecasts = [
        _forecast(run, workload, profile, setup, result, clock, held_out) for result in hindsight
    ]
    return forecasts, steps_log(hindsight)


def _as_they_came(workload: Workload, first: int, run: LiveRun) -> Workload:
    """The workload with the rollouts of RL steps from `first` on in the order of their arrival, in
    which they become history; they were recorded in that in which they finished. Their caps are
    what the engine told the policy.
    """
    trace, lengths = workload.trace, workload.lengths
    assert trace is not None
    arrived = np.where(lengths.rl_step < first, 0.0, trace.column("start_s"))
    order = np.lexsort((arrived, lengths.rl_step))
    assert run.job is not None and isinstance(run.job.work, Generate)
    room = np.minimum(run.job.work.max_tokens, run.run["max_model_len"] - lengths.prompt_len)
    cap = np.where(lengths.rl_step < first, workload.cap, room).astype(np.int32)
    return Workload(lengths.select(order), cap[order], tokens=trace.tokens().select(order))


def _forecast(
    run: LiveRun,
    workload: Workload,
    profile: Profile,
    setup: Setup,
    hindsight: StepResult,
    clock: Clock,
    held_out: bool,
) -> Forecast:
    rl_step = hindsight.rl_step
    slow = clock.slow(run, rl_step)
    longest = run.run["policy"]["longest_draft"]
    live = run.forwards[run.forwards.rl_step == rl_step]
    requests = run.requests[run.requests.rl_step == rl_step]
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
    candidates = [rows if len(rows) else last for rows in candidates]
    drafts = _drafted_from_others(workload, setup.drafter, rl_step, np.concatenate(candidates))
    past = workload.past(rl_step, profile) if setup.budget.past_steps != 0 else ()
    rng = np.random.default_rng(rl_step)
    results = []
    for _ in range(DRAWS):
        rows = np.array([rng.choice(rows) for rows in candidates])
        output_len = np.minimum(lengths.output_len[rows], wanted.cap).astype(np.int32)
        requests = Requests(rl_step, wanted.prompt, wanted.prompt_len, output_len, wanted.cap)
        part = drafts.take(rows, output_len)
        results.append(run_step(requests, part, setup, rl_step, longest, past=past))
    return results, known


def _drafted_from_others(
    workload: Workload, drafter: Any, rl_step: int, rows: np.ndarray
) -> Profile:
    """A profile of the workload in which `rows` are drafted as if they came in RL step `rl_step`,
    a fold at a time: from everything earlier, the other folds included.
    """
    known = workload.profile(drafter)
    if workload.tokens is None:
        return known  # it drafts nothing
    lengths = workload.lengths
    earlier = np.flatnonzero(lengths.rl_step < rl_step)
    rows = np.unique(rows)
    rows = rows[np.argsort(lengths.prompt[rows], kind="stable")]
    first = np.searchsorted(lengths.prompt[rows], lengths.prompt[rows])
    fold = (np.arange(len(rows)) - first) % FOLDS  # of each prompt's, in turns
    drafted, matched = known.drafted.copy(), known.matched.copy()
    for number in range(FOLDS):
        mine = np.sort(rows[fold == number])
        steps = np.where(np.isin(earlier, mine), rl_step, lengths.rl_step[earlier])
        order = earlier[np.argsort(steps, kind="stable")]
        late = replace(lengths.select(order), rl_step=np.sort(steps).astype(np.int32))
        part = drafter.profile(late, workload.tokens.select(order), threads=cores())
        for row, at in zip(mine, range(len(order) - len(mine), len(order)), strict=True):
            to = slice(known.offsets[row], known.offsets[row + 1])
            source = slice(part.offsets[at], part.offsets[at + 1])
            drafted[to], matched[to] = part.drafted[source], part.matched[source]
    return Profile(drafted, matched, known.offsets)
