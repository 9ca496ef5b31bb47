"""Policies in order of makespan, predicted beside measured, with the spread of repeated runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .validate import Check

CLEAR = 2.0  # spreads that two policies have to differ by


@dataclass(frozen=True)
class Cell:
    """Repeats of one policy on one trace and engine, at the speed of the quiet machine."""

    policy: str
    workload: str
    batch: int
    repeats: int
    held_out: bool
    measured_s: float  # median
    spread: float | None  # standard deviation over the mean; None for one run
    raw_spread: float | None  # of the seconds as measured
    predicted_s: float  # median
    error: float
    raw_error: float


@dataclass(frozen=True)
class Ranking:
    """The cells of one workload, and how many pairs of them are in the right order."""

    workload: str
    batch: int
    cells: tuple[Cell, ...]  # the fastest measured first
    clear: int  # pairs that differ by more than `CLEAR` spreads
    right: int  # of these, predicted in the same order
    wrong: tuple[str, ...]


def rank(checks: Sequence[Check]) -> list[Ranking]:
    """One ranking per workload (trace, RL steps, batch size)."""
    groups: dict[tuple[str, str, int, str], list[Check]] = {}
    for check in checks:
        groups.setdefault(check.cell, []).append(check)
    workloads: dict[tuple[str, int], list[Cell]] = {}
    for (policy, workload, batch, _), repeats in groups.items():
        cell = _cell(policy, workload, batch, repeats)
        workloads.setdefault((workload, batch), []).append(cell)
    return [_rank(*key, cells) for key, cells in workloads.items()]


def _cell(policy: str, workload: str, batch: int, repeats: Sequence[Check]) -> Cell:
    quiet = np.array([check.quiet_s for check in repeats])
    raw = np.array([check.measured_s for check in repeats])
    predicted = float(np.median([check.predicted_s for check in repeats]))
    measured = float(np.median(quiet))
    return Cell(
        policy=policy,
        workload=workload,
        batch=batch,
        repeats=len(repeats),
        held_out=all(check.held_out for check in repeats),
        measured_s=measured,
        spread=_spread(quiet),
        raw_spread=_spread(raw),
        predicted_s=predicted,
        error=predicted / measured - 1,
        raw_error=predicted / float(np.median(raw)) - 1,
    )


def _spread(seconds: np.ndarray) -> float | None:
    return float(seconds.std(ddof=1) / seconds.mean()) if len(seconds) > 1 else None


def _rank(workload: str, batch: int, cells: Sequence[Cell]) -> Ranking:
    ordered = sorted(cells, key=lambda cell: cell.measured_s)
    clear, wrong = 0, []
    for a, b in combinations(ordered, 2):
        if a.spread is None or b.spread is None:
            continue  # nobody knows what a difference is worth
        apart = b.measured_s - a.measured_s
        if apart > CLEAR * max(a.spread * a.measured_s, b.spread * b.measured_s):
            clear += 1
            if a.predicted_s >= b.predicted_s:
                wrong.append(f"{a.policy} before {b.policy}")
    return Ranking(workload, batch, tuple(ordered), clear, clear - len(wrong), tuple(wrong))
