"""Budgets on recorded rollouts: makespan and regret, by trace, latency and requests at once.

`python -m tests.bench.budgets T.parquet …` takes other traces than the bundled sample. Of every RL
step but the first, groups drawn at random (16 rollouts at most of each) run until so many requests
are there, all at once, on one replica; history is whole. Regret: over no token drafted in vain.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import longtail
from longtail.policies.components import sees_drafts
from longtail.policies.profile import blank_profile
from longtail.sim.simulate import Setup, run_step
from longtail.sim.step import Requests
from longtail.sim.workload import Workload
from longtail.traces import find_trace

DRAFTER = "suffix:scope=both,max=16"
FIXED = tuple(f"fixed:k={k}" for k in (1, 2, 4, 8, 16))
LATENCIES = {
    "H100, 7B": "h100-7b",
    "launch-bound": "linear:base=2e-3,token=3e-6",
    "KV-bound, 32B": "roofline:gpu=h100,model=qwen2.5-32b",
}
BATCHES = (16, 128, 512)
SAMPLES = 16


def main(traces: list[str], budgets: list[str]) -> None:
    """A row per budget, a column per latency and batch: percent above the clairvoyant makespan."""
    for name in traces:
        trace = longtail.read_trace(str(find_trace(name)))
        load = Workload.from_trace(trace)
        print(f"\n{Path(name).name} ({trace.meta.origin}), {DRAFTER}: regret in %")
        columns = [(label, batch) for label in LATENCIES for batch in BATCHES]
        print(f"{'':34}" + "".join(f"{f'{label} x{batch}':>20}" for label, batch in columns))
        best: list[float] = []
        for budget in ("fixed:k=0", *FIXED, *budgets):
            cells = [regret(load, budget, LATENCIES[label], batch) for label, batch in columns]
            if budget in FIXED:
                best = [min(pair) for pair in zip(cells, best or cells, strict=True)]
                if budget == FIXED[-1]:
                    show("best fixed k in hindsight", best)
            else:
                show(budget, cells)


def show(name: str, cells: list[float]) -> None:
    """One line."""
    print(f"{name:34}" + "".join(f"{100 * cell:20.1f}" for cell in cells), flush=True)


def regret(load: Workload, budget: str, latency: str, batch: int) -> float:
    """Makespan over the clairvoyant one, minus 1, all RL steps but the first together."""
    setup = Setup.of(drafter=DRAFTER, budget=budget, latency=latency)
    free = replace(setup, budget=Setup.of(budget="unlimited").budget)
    longest, lengths = setup.drafter.longest_draft, load.lengths
    profile = load.profile(setup.drafter, sees_drafts(setup.budget))
    makespan_s = bound_s = 0.0
    for step in load.rl_steps[1:]:
        rows = some(load, step, batch)
        requests = Requests(
            step,
            lengths.prompt[rows],
            lengths.prompt_len[rows],
            lengths.output_len[rows],
            load.cap[rows],
        )
        part = profile.take(rows, requests.output_len)
        past = load.past(step, profile)
        makespan_s += run_step(requests, part, setup, step, longest, past=past).makespan_s
        bound_s += min(
            run_step(requests, part.clairvoyant(), free, step, longest).makespan_s,
            run_step(requests, blank_profile(requests.output_len), free, step, 0).makespan_s,
        )
    return makespan_s / bound_s - 1


def some(load: Workload, step: int, batch: int) -> np.ndarray:
    """Rows of the first `batch` rollouts of groups drawn at random, or of all there are."""
    rows = np.arange(load.rows(step).start, load.rows(step).stop)
    prompt = load.lengths.prompt[rows]
    drawn = np.random.default_rng(0).permutation(np.unique(prompt))
    groups = [rows[prompt == each][:SAMPLES] for each in drawn]
    return np.sort(np.concatenate(groups)[:batch])


if __name__ == "__main__":
    given = sys.argv[1:]
    main([g for g in given if "=" not in g] or ["sample"], [g[2:] for g in given if g[:2] == "b="])
