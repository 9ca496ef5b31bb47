"""How far a predicted RL step and the measured one are apart, beyond their forwards' seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

DONE = 0.9  # of the requests, at which the tail begins


def step_seconds(log: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """float64[n] begin and end of each forward, from the first one's begin."""
    begin = log.begin_s.to_numpy(float)
    start = begin[0] if len(begin) else 0.0
    return begin - start, begin + log.forward_s.to_numpy(float) - start


def tail_seconds(finish_s: np.ndarray) -> float:
    """From the moment `DONE` of the requests are finished to the last one."""
    order = np.sort(finish_s)
    return float(order[-1] - order[int(np.ceil(DONE * len(order))) - 1])


def active_curve(log: pd.DataFrame, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, requests running and waiting): steps, each holding until the next; ends at 0."""
    begin, end = step_seconds(log)
    active = (log.running + log.waiting).to_numpy(float)
    return stretch * np.append(begin, end[-1:]), np.append(active, 0.0)


def curve_distance(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Area between two active curves over the area under the second."""
    times = np.union1d(a[0], b[0])
    width = np.diff(times)
    held = [_at(curve, times[:-1]) for curve in (a, b)]
    under = float((held[1] * width).sum())
    return float((np.abs(held[0] - held[1]) * width).sum()) / under if under else 0.0


def _at(curve: tuple[np.ndarray, np.ndarray], times: np.ndarray) -> np.ndarray:
    index = np.searchsorted(curve[0], times, "right") - 1
    return np.where(index >= 0, curve[1][np.maximum(index, 0)], 0.0)


def finish_order(predicted_s: np.ndarray, measured_s: np.ndarray) -> float | None:
    """Kendall's tau-b of the order in which requests finish; None where there is none."""
    if len(predicted_s) < 2:
        return None
    tau = float(kendalltau(predicted_s, measured_s).statistic)
    return tau if np.isfinite(tau) else None
