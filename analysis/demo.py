"""The first answer: a trace under the field's simplest policies and ours, as a table and
pictures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..policies.components import split_policy
from ..sim.grid import Grid
from ..sim.limits import Limits
from ..sim.simulate import Bounds, Result, Setup, simulate, simulate_bounds
from ..sim.sweep import sweep
from ..sim.workload import Workload
from ..traces import open_trace, sample_path

POLICIES = (
    "none",
    "ngram/fixed:k=8",
    "suffix:scope=own/unlimited",
    "suffix:scope=problem/unlimited",
    "suffix:scope=both/unlimited",
    "suffix:scope=both/fixed:k=2",
    "suffix:scope=both/das",
)
BUDGETS_SWEPT = Grid(
    drafter=["none", "suffix:scope=own+problem+both"],
    budget=["fixed:k=1+2+4+8", "unlimited", "das"],
)


def compare(
    workload: Workload,
    policies: Sequence[str],
    *,
    latency: str = "h100-7b",
    limits: Limits | None = None,
    rl_steps: Sequence[int] | None = None,
    log: bool = True,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Result]:
    """Results by policy, each written `DRAFTER` or `DRAFTER/BUDGET`, on one workload.

    Bounds are shared between policies with one drafter. Raises what `simulate` raises.
    """
    bounds: dict[str, Bounds] = {}
    results = {}
    for policy in policies:
        drafter, budget = split_policy(policy)
        setup = Setup.of(
            drafter=drafter, budget=budget or "unlimited", latency=latency, limits=limits
        )
        if drafter not in bounds:
            bounds[drafter] = simulate_bounds(workload, setup, rl_steps=rl_steps)
        results[policy] = simulate(
            workload, setup, rl_steps=rl_steps, log=log, bounds=bounds[drafter]
        )
        if progress:
            progress(policy)
    return results


def run_demo(folder: Path) -> dict[str, Result]:
    """Compare POLICIES on the bundled sample, print the table, write the pictures to `folder`."""
    from .plots import draw_all, draw_sweep
    from .show import caption, show_comparison

    began = time.perf_counter()
    workload = Workload.from_trace(open_trace(sample_path()))
    results = compare(workload, POLICIES)
    show_comparison(results, caption(workload))
    paths = draw_all(results, workload.lengths, caption(workload), folder)
    paths += draw_sweep(sweep(workload, BUDGETS_SWEPT.setups()), caption(workload), folder)
    pictures = [path for path in paths if path.suffix == ".png"]
    took_s = time.perf_counter() - began
    print(f"\n{len(pictures)} pictures in {folder}/, with their numbers as CSV ({took_s:.1f} s):")
    for path in pictures:
        print(f"  {path}")
    sys.stdout.flush()
    return results
