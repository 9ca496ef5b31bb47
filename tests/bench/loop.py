"""The decode loop's speed beside a bare compiled loop over the same arrays, in the same run.

Workloads: 512 requests, prompt 512, log-normal outputs from one numpy default_rng(0). Acceptance
is made up (geometric), so this measures speed only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from numba import njit

from longtail.policies.batch import NO_CAP
from longtail.policies.profile import Profile, blank_profile
from longtail.policies.view import StepView
from longtail.sim.simulate import Setup
from longtail.sim.step import Requests, simulate_step
from longtail.sim.workload import Workload
from longtail.traces.rollouts import Lengths

SIZES = (("8k", 1200, 1.0, 7680), ("16k", 2000, 1.0, 15872), ("32k", 3000, 1.1, 32256))
REQUESTS, PROMPT, DRAFT = 512, 512, 8


def workloads() -> dict[str, np.ndarray]:
    """Output lengths, int32[512], by name: 922,505, 1,436,689 and 2,825,123 tokens."""
    rng = np.random.default_rng(0)
    return {
        name: np.clip(rng.lognormal(np.log(middle), sigma, REQUESTS).astype(int), 16, cap).astype(
            np.int32
        )
        for name, middle, sigma, cap in SIZES
    }


def made_up_profile(output_len: np.ndarray, seed: int = 1) -> Profile:
    """Drafts of DRAFT tokens of which a geometric number (each with probability 0.7) matches."""
    profile = blank_profile(output_len)
    rng = np.random.default_rng(seed)
    matched = np.minimum(rng.geometric(0.3, len(profile.drafted)) - 1, DRAFT).astype(np.uint8)
    left = np.repeat(profile.offsets[1:], output_len) - np.arange(len(matched))
    return Profile(
        np.full(len(matched), DRAFT, np.uint8),
        np.minimum(matched, np.minimum(left, DRAFT)).astype(np.uint8),
        profile.offsets,
    )


@njit
def bare_loop(output_len, drafted, matched, offsets, budget, base, token):
    """Nothing but the walk over the arrays: no scheduler, no policy, no counters per request."""
    n = len(output_len)
    left = output_len.copy() - 1
    at = offsets[:n] + 1
    seconds = base + token * PROMPT * n
    forwards, tokens = 1, 0
    while n > 0:
        total, kept = 0, 0
        for j in range(n):
            d = min(budget, int(drafted[at[j]]))
            gain = min(min(d, int(matched[at[j]])) + 1, left[j])
            total += 1 + d
            if left[j] > gain:
                left[kept] = left[j] - gain
                at[kept] = at[j] + gain
                kept += 1
        n = kept
        seconds += base + token * total
        tokens += total
        forwards += 1
    return seconds, forwards


def seconds_of(work: Callable[[], object], repeats: int = 7) -> float:
    """Median wall seconds after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def main() -> None:
    """Print one row per workload and mode."""
    print(
        f"{'workload':9} {'mode':14} {'output tok/s':>13} {'forwards/s':>11} {'ms':>8} "
        f"{'floor ms':>9} {'x floor':>8}"
    )
    for name, lengths in workloads().items():
        prompt = np.full(REQUESTS, PROMPT, np.int32)
        cap = np.full(REQUESTS, NO_CAP, np.int32)
        zeros = np.zeros(REQUESTS, np.int32)
        requests = Requests(0, zeros, prompt, lengths, cap)
        for mode, profile, budget, longest in (
            ("plain", blank_profile(lengths), "fixed:k=0", 0),
            ("plain, fixed:0", made_up_profile(lengths), "fixed:k=0", DRAFT),
            ("fixed:4", made_up_profile(lengths), "fixed:k=4", DRAFT),
            ("unlimited:8", made_up_profile(lengths), "unlimited", DRAFT),
        ):
            setup = Setup.of(budget=budget)
            view = StepView(0, zeros, prompt, cap, longest, (), lambda t, r: 0.01)

            def ours(requests=requests, profile=profile, setup=setup, view=view):
                return simulate_step(
                    requests,
                    profile,
                    budget=setup.budget,
                    latency=setup.latency,
                    told=setup.latency,
                    placement=setup.placement,
                    limits=setup.limits,
                    view=view,
                )

            k = {"fixed:4": 4, "unlimited:8": 8}.get(mode, 0)

            def bare(lengths=lengths, profile=profile, k=k):
                return bare_loop(
                    lengths, profile.drafted, profile.matched, profile.offsets, k, 9.5e-3, 25e-6
                )

            result = ours()
            floor_s, floor_forwards = bare()
            assert result.forwards == floor_forwards
            assert abs(result.makespan_s / floor_s - 1) < 1e-9
            took, floor = seconds_of(ours), seconds_of(bare)
            print(
                f"{name:9} {mode:14} {result.output_tokens / took:13.3g} "
                f"{result.forwards / took:11.3g} {took * 1e3:8.2f} {floor * 1e3:9.2f} "
                f"{took / floor:8.2f}"
            )
    sweep_rate()


def sweep_rate(points: int = 1000) -> None:
    """A sweep of the 16k workload: seconds for 1,000 points on every core."""
    from longtail.policies.registry import spec_of
    from longtail.sim.sweep import sweep

    lengths = workloads()["16k"]
    zeros = np.zeros(REQUESTS, np.int32)
    load = Workload(
        Lengths(
            zeros,
            zeros,
            np.arange(REQUESTS, dtype=np.int32),
            np.full(REQUESTS, PROMPT, np.int32),
            lengths,
            np.ones(REQUESTS, np.int8),
            np.zeros(REQUESTS, np.float32),
            ["p"],
        ),
        np.full(REQUESTS, NO_CAP, np.int32),
    )
    setups = [
        Setup.of(
            drafter="suffix:scope=own,max=8",
            budget=f"fixed:k={1 + i % 8}",
            latency=f"linear:base={9e-3 + 1e-5 * (i // 8)}",
        )
        for i in range(points)
    ]
    load._profiles[spec_of(setups[0].drafter), False] = made_up_profile(lengths)
    began = time.perf_counter()
    table = sweep(load, setups)
    took = time.perf_counter() - began
    print(
        f"\nsweep of {len(table)} points of the 16k workload, bounds included, on {os.cpu_count()} "
        f"cores: {took:.1f} s"
    )


if __name__ == "__main__":
    main()
