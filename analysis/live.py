"""What live runs came to, as a table: seconds, throughput, acceptance, cost of drafting, parity."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.job import Generate, Job
from ..engine.step_log import read_step_log
from .parity import Parity, check_parity
from .show import Output, table

logger = logging.getLogger(__name__)

COLUMNS = (
    "run", "RL step", "seconds", "tokens/s", "forwards", "gain", "drafted", "wasted",
    "draft us", "text",
)  # fmt: skip
LEGEND = (
    "seconds: measured, on this machine; gain: tokens per request and forward that gave it any;\n"
    "drafted: draft tokens per output token; wasted: share of those rejected; draft us: policy,\n"
    "drafting and indexing per request and forward (median); text: whether every token equals the\n"
    "first run's"
)


def show_runs(jobs: Sequence[Job], summaries: Mapping[str, Any], folder: Path) -> None:
    """Print a row per run and RL step, those of `jobs` that are done."""
    rows = []
    first: dict[tuple[str, int], str] = {}
    for job in jobs:
        if job.name not in summaries:
            continue
        log = read_step_log(folder / job.name / "steps")
        requests = read_step_log(folder / job.name / "steps", "requests")
        logger.info("step log of %s: %d forwards", job.name, len(log))
        for step in summaries[job.name]["steps"]:
            part = log[log.rl_step == step["rl_step"]]
            # Sampled text differs from run to run, unless it is coupled.
            free = isinstance(job.work, Generate) and job.work.temperature and not job.work.coupled
            same = first.setdefault((str(job.work), step["rl_step"]), step["text"]) == step["text"]
            alone = sum(j.work == job.work and j.name in summaries for j in jobs) == 1
            decoded = int(requests.forwards[requests.rl_step == step["rl_step"]].sum())
            gained = step["output_tokens"] / max(decoded, 1)
            drafted, accepted = int(part.drafted.sum()), int(part.accepted.sum())
            rows.append(
                [
                    job.name,
                    str(step["rl_step"]),
                    f"{step['makespan_s']:.2f}",
                    f"{step['output_tokens'] / step['makespan_s']:,.0f}",
                    f"{len(part):,}",
                    f"{gained:.2f}",
                    f"{drafted / max(step['output_tokens'], 1):.2f}",
                    f"{1 - accepted / drafted:.0%}" if drafted else "-",
                    f"{(part.draft_s / part.requests).median() * 1e6:.1f}",
                    "-" if alone else "same" if same else "sampled" if free else "DIFFERS",
                ]
            )
    out = Output()
    out.show(table(COLUMNS, rows, "Live runs"))
    out.print(LEGEND)
    for name, summary in summaries.items():
        if summary["faults"]:
            out.print(f"{name}: faults {summary['faults']}")


def show_parity(jobs: Sequence[Job], folder: Path) -> bool:
    """Print, per replay under a policy of ours, whether it agrees with the simulator; all do."""
    out, exact = Output(), True
    for job in jobs:
        if (folder / job.name).exists() and "speculative_config" not in job.engine:
            parity: Parity = check_parity(folder / job.name)
            out.print(f"{job.name}: {parity}")
            exact &= parity.exact
    return exact
