"""How long a sweep would take, from a few of its points run here and now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..sim.simulate import Setup
from ..sim.sweep import bounds_key, sweep
from ..sim.workload import Workload, cores

MEASURED = 5  # points, evenly spaced


@dataclass(frozen=True)
class SweepTime:
    """What a sweep is made of, and the seconds expected of it."""

    points: int
    drafters: int
    rl_steps: int
    bounds: int  # computed once for all budgets of a drafter, latency, placement and limits
    measured: int  # points that were run
    jobs: int
    profiles_s: float  # one after the other, before the points
    simulate_s: float  # on all jobs at once

    @property
    def seconds(self) -> float:
        """Reading and compiling not included: they were done to know this."""
        return self.profiles_s + self.simulate_s

    def __str__(self) -> str:
        return (
            f"points: {self.points:,} ({self.drafters:,} drafters), each over {self.rl_steps:,} RL "
            f"steps; bounds: {self.bounds:,}\n"
            f"expected: about {clock(self.seconds)} with {self.jobs} jobs, of which profiles "
            f"{clock(self.profiles_s)} (from {self.measured} points run now); nothing written"
        )


def clock(seconds: float) -> str:
    """Seconds, or minutes or hours, as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def sweep_time(
    workload: Workload,
    setups: Sequence[Setup],
    *,
    rl_steps: Sequence[int] | None = None,
    jobs: int | None = None,
) -> SweepTime:
    """Run a few points, evenly spaced over the sweep, on the RL step of median size, and extend
    their seconds to all points in proportion to output tokens.

    Drafters that those points do not have are taken to need as long as theirs. Raises what `sweep`
    raises for these points.
    """
    chosen = workload.choose(rl_steps)
    lengths = workload.lengths
    tokens = {s: int(lengths.output_len[lengths.rl_step == s].sum()) for s in chosen}
    by_size = sorted(chosen, key=tokens.__getitem__)
    spread = np.linspace(0, len(setups) - 1, min(MEASURED, len(setups)))
    few = [setups[i] for i in sorted({round(i) for i in spread})]

    if workload.trace:  # compile what they need, on as little as there is
        first = workload.trace.rl_steps[:1]
        sweep(Workload.from_trace(workload.trace, rl_steps=first), few, rl_steps=first, jobs=1)
    before = workload.wall_s["profile"]
    for setup in few:
        workload.prepare(setup.drafter, setup.budget)
    profile_s = (workload.wall_s["profile"] - before) / _drafters(few)

    step, at = by_size[len(by_size) // 2], [time.perf_counter()]
    sweep(workload, few, rl_steps=[step], jobs=1,
          progress=lambda done, of: at.append(time.perf_counter()))  # fmt: skip
    took, n_bounds = np.diff(at), len(at) - 1 - len(few)
    scale = sum(tokens.values()) / max(tokens[step], 1)
    each_bound, each_point = took[:n_bounds].mean() * scale, took[n_bounds:].mean() * scale

    bounds, workers = len({bounds_key(setup) for setup in setups}), jobs or cores()
    return SweepTime(
        points=len(setups),
        drafters=_drafters(setups),
        rl_steps=len(chosen),
        bounds=bounds,
        measured=len(few),
        jobs=workers,
        profiles_s=profile_s * _drafters(setups),
        simulate_s=float(bounds * each_bound + len(setups) * each_point)
        / min(workers, bounds + len(setups)),
    )


def _drafters(setups: Sequence[Setup]) -> int:
    return len({setup.row["drafter"] for setup in setups})
