"""Predictions held against live replays, the error split by where it comes from.

Tokens: forwards, drafted and accepted have to be equal. Clock: the seconds of the forwards as they
really were. Composition: the RL step as it was predicted from the trace alone. Machine: how much
slower than the quiet one it was during the run, by the probe (analysis/speed.py); predictions are
made for the quiet machine, and compared at the speed that the machine had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..engine.job import Replay
from ..engine.step_check import explode
from ..policies.latency.calibrated import Calibrated
from ..traces.schema import TraceError
from .calibrate import calibrate
from .clock import Clock
from .composition import active_curve, curve_distance, finish_order, step_seconds, tail_seconds
from .observations import LiveRun, same_engine
from .parity import compare_logs, simulate_replay, steps_log

ALL = "all"


@dataclass(frozen=True)
class Check:
    """One live replay and its prediction; errors are predicted over measured, minus 1."""

    run: str
    policy: str
    trace: str
    rl_steps: str
    batch: int  # requests at once: max_num_seqs of the engine, or all there are
    setting: str  # digest of what else decides a run: what the budget is told, engine limits
    held_out: bool  # no calibration saw this run
    calibration: str
    exact: bool  # every forward's running, drafted and accepted
    forwards: int
    tokens: str  # how many forwards agree, and the first that does not
    measured_s: float  # makespan, summed over RL steps
    slow: float  # times slower than on the quiet machine
    predicted_s: float  # on the quiet machine
    clock_error: float  # sum of the forwards' seconds, given the batch and the machine's speed
    forward_error: float  # median over forwards, absolute
    makespan_error: float  # at the machine's speed
    raw_error: float  # of the quiet machine's makespan, whatever the machine did
    tail_error: float | None  # None: nothing was left after 90 % were done
    curve: float  # area between the active curves over the measured one's
    finish_tau: float | None  # None: nothing to order
    outside: float  # share of forwards outside what was calibrated
    notes: tuple[str, ...] = ()

    @property
    def quiet_s(self) -> float:
        """What the run would have taken on the quiet machine."""
        return self.measured_s / self.slow

    @property
    def cell(self) -> tuple[str, str, int, str]:
        """Equal for repeats of the same run."""
        return (self.policy, f"{self.trace}, RL step {self.rl_steps}", self.batch, self.setting)

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """A check and the simulation that it rests on, one row per forward."""

    check: Check
    simulated: pd.DataFrame


def check_run(
    run: LiveRun, latency: Calibrated, seen: Sequence[str], name: str, ruler: Clock
) -> Checked:
    """Predict one live replay. seen: digests of the runs that `latency` was fitted to; ruler: what
    tells how slow the machine was, the same for all runs that are compared.

    Raises TraceError for a run of another engine, and for one that is no replay.
    """
    if run.job is None or not isinstance(run.job.work, Replay):
        raise TraceError("not a replay", file=run.folder, remedy="name the folder of a replay")
    same_engine([run], latency.content["engine"], f"the calibration's ({name})")
    clock = Clock(latency.content)
    results = simulate_replay(run.job, run.run, latency)
    simulated = steps_log(results)
    parity = compare_logs(run.forwards, simulated)
    fitted, slow = clock.seconds(run), ruler.slow(run)
    whole = clock.measured(run)
    measured = predicted = tail = predicted_tail = area = curves = 0.0
    most = 0
    taus = []
    ends = _last_ends(run)
    for result in results:
        live = run.forwards[run.forwards.rl_step == result.rl_step]
        mine = run.requests[run.requests.rl_step == result.rl_step].sort_values("request")
        finish = ends.reindex(mine.request).dropna().to_numpy()  # submitted in the trace's order
        if not len(live) or len(finish) != len(result.finish_s):
            raise TraceError(
                f"RL step {result.rl_step} is not whole in the log",
                file=run.folder,
                remedy="run it again in a new folder",
            )
        seconds = float(step_seconds(live)[1][-1])
        measured, predicted = measured + seconds, predicted + result.makespan_s
        tail += tail_seconds(finish)
        predicted_tail += result.tail_s
        assert result.log is not None
        distance = curve_distance(active_curve(result.log, slow), active_curve(live))
        area, curves = area + distance * seconds, curves + seconds
        taus.append(finish_order(result.finish_s, finish))
        most = max(most, len(finish))
    outside = sum(result.outside for result in results)
    check = Check(
        run=run.name,
        policy=run.policy,
        trace=Path(run.job.work.trace).name,
        rl_steps=",".join(str(result.rl_step) for result in results),
        batch=min(int(run.run["max_num_seqs"]), most),
        setting=_setting(run),
        held_out=run.digest not in seen,
        calibration=name,
        exact=parity.exact,
        forwards=len(run.forwards),
        tokens=str(parity),
        measured_s=measured,
        slow=slow,
        predicted_s=predicted,
        clock_error=float(fitted.sum() / whole.sum() - 1),
        forward_error=float(np.median(np.abs(fitted / np.maximum(whole, 1e-12) - 1))),
        makespan_error=predicted * slow / measured - 1,
        raw_error=predicted / measured - 1,
        tail_error=predicted_tail * slow / tail - 1 if tail else None,
        curve=area / curves,
        finish_tau=float(np.mean(known)) if (known := [t for t in taus if t is not None]) else None,
        outside=outside / max(len(simulated), 1),
        notes=latency.bind(run.component).notes,
    )
    return Checked(check, simulated)


def _last_ends(run: LiveRun) -> pd.Series:
    """When each request's last forward ended, by its number; those of one forward end together, as
    in the simulator.
    """
    last = explode(run.forwards).groupby("request").forward.max()
    return (run.forwards.begin_s + run.forwards.forward_s).iloc[last].set_axis(last.index)


def _setting(run: LiveRun) -> str:
    """What decides a run beside its policy, its rollouts and the requests at once."""
    policy = run.run["policy"]
    told = [policy.get(name) for name in ("latency", "placement", "longest_draft")]
    limits = [run.run.get(name) for name in ("max_num_batched_tokens", "kv_blocks", "block_size")]
    work = getattr(run.job, "work", None)
    text = repr((told, limits, getattr(work, "trace", None), getattr(work, "cap", None)))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def leave_one_out(runs: Sequence[LiveRun]) -> dict[str, dict[str, Any]]:
    """By policy, what is calibrated from the runs of all others; and from all runs as ``all``.

    Runs without speculation are in every calibration: theirs is another engine, of which nothing
    can be told from those that verify drafts. Raises TraceError for fewer than two policies.
    """
    policies = list(dict.fromkeys(run.policy for run in runs if run.speculates))
    if len(policies) < 2:
        names = ", ".join(dict.fromkeys(run.policy for run in runs))
        raise TraceError(
            f"leaving one policy out takes at least two that draft; here: {names}",
            file=runs[0].folder.parent,
            remedy="name more runs, or give --calibration",
        )
    every = calibrate(runs).content
    quiet_s = every["probe"]["quiet_s"]  # one ruler for all
    left = {
        policy: calibrate([run for run in runs if run.policy != policy], quiet_s=quiet_s).content
        for policy in policies
    }
    return left | {ALL: every}


def calibration_for(contents: Mapping[str, Path], run: LiveRun) -> tuple[str, Calibrated]:
    """The one that leaves the run's policy out, else that of all; and its name."""
    key = run.policy if run.policy in contents else ALL
    return key, Calibrated(file=str(contents[key].absolute()))
