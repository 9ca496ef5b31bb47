"""Runs live in vLLM, all of them side by side: folders of `longtail run`, and step logs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...engine.step_log import read_step_log
from .calibrations import CPU
from .folder import UNREADABLE, Folder, Item
from .page import Block, Facts, Part, Table
from .words import policy

ABOUT = ("hardware", "engine", "architecture", "load_format", "dtype", "tensor_parallel",
         "max_num_seqs", "max_num_batched_tokens", "prefix_caching")  # fmt: skip
SUMMARY = {"name", "steps", "faults"}
LOG = {"forward", "rl_step", "begin_s", "forward_s", "running", "drafted", "accepted"}
FORMS = {"makespan_s": "{:,.2f}", "wasted": "{:.1%}"}


def read_runs(folder: Folder) -> Iterator[Part]:
    """One part, if there are any."""
    rows: list[dict[str, Any]] = []
    engines: dict[str, dict[str, Any]] = {}
    for where, summary in _places(folder):
        try:
            log = read_step_log(folder.root / where)
            job = folder.at(f"{where.removesuffix('/steps')}/job.json") if summary else None
            told = job.content if job is not None else {}
            rows += list(_steps(where, log, summary.content if summary else {}, told))
            about = {key: log.attrs["run"].get(key) for key in ABOUT}
        except UNREADABLE as error:
            for item in [summary] if summary else folder.below(where):
                folder.refuse(item, error)
            continue
        engines.setdefault(repr(about), about)
        for item in folder.below(where):
            folder.take(item, "step log")
        for found in (summary, job):
            if found is not None:
                folder.take(found, "run of `longtail run`")
    if rows:
        yield _part(pd.DataFrame(rows), list(engines.values()))


def _places(folder: Folder) -> Iterator[tuple[str, Item | None]]:
    """Folders of step logs, with the summary of the run that they belong to."""
    for item in folder.find("json", where=_is_summary):
        yield item.beside("steps"), item
    logs = folder.find("parquet", where=lambda item: item.columns >= LOG)
    for where in dict.fromkeys(item.folder for item in logs):
        if any(folder.is_left(item) for item in logs if item.folder == where):
            yield where, None


def _is_summary(item: Item) -> bool:
    return isinstance(item.content, dict) and item.content.keys() >= SUMMARY


def _steps(
    where: str, log: pd.DataFrame, summary: Mapping[str, Any], job: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row per RL step; seconds as the program counted them, else from first to last forward."""
    about = log.attrs["run"]
    told = job.get("policy") or about.get("policy") or {}
    named = policy(told.get("drafter", "none"), told.get("budget", "unlimited"))
    method = about.get("speculative_method")
    ((kind, work),) = (job.get("work") or {"step log": {}}).items()
    counted = {step["rl_step"]: step for step in summary.get("steps", ())}
    for step, mine in log.groupby("rl_step"):
        drafted, accepted = int(mine.drafted.sum()), int(mine.accepted.sum())
        seconds = float((mine.begin_s + mine.forward_s).max() - mine.begin_s.min())
        yield {
            "run": where.removesuffix("/steps") or "steps",
            "policy": named if method in (None, "custom_class") else f"vllm:{method}",
            "work": kind,
            "trace": Path(str(work["trace"])).name if work.get("trace") else None,
            "model": Path(str(job["model"])).name if job.get("model") else None,
            "rl_step": step,
            "makespan_s": float(counted.get(step, {}).get("makespan_s", seconds)),
            "forwards": len(mine),
            "most running": int(mine.running.max()),
            "requests": counted.get(step, {}).get("requests"),
            "output_tokens": counted.get(step, {}).get("output_tokens"),
            "drafted": drafted,
            "accepted": accepted,
            "wasted": 1 - accepted / drafted if drafted else None,
            "faults": sum((summary.get("faults") or {}).values()),
        }


def _part(rows: pd.DataFrame, engines: list[dict[str, Any]]) -> Part:
    sums = rows.groupby(["run", "policy"], sort=False).makespan_s.sum().reset_index()
    sums = sums.sort_values("makespan_s", kind="stable", ignore_index=True)
    blocks: list[Block] = [Facts(about) for about in engines]
    if rows.rl_step.nunique() > 1:
        blocks.append(Table("Runs, the shortest makespan first", sums, FORMS))
    blocks.append(Table("RL steps, as measured", rows, FORMS))
    best = sums.iloc[0]
    hardware = sorted({str(about.get("hardware")) for about in engines})
    headline = (
        f"{len(sums)} live run{'' if len(sums) == 1 else 's'} on {', '.join(hardware)}; the "
        f"shortest makespan measured is {best.makespan_s:,.2f} s ({best.policy})."
    )
    told = [f"Live runs: {CPU}"] if any("CPU" in name for name in hardware) else []
    if any(about.get("load_format") == "dummy" for about in engines):
        told.append("Live runs: dummy weights; seconds are those of the model's shape")
    faults = int(rows.faults.sum())
    if faults:
        told.append(f"Live runs: {faults:,} faults of drafters or budgets; those drafts were lost")
    return Part("Live runs", blocks, headlines=[headline], limitations=told)
