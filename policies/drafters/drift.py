"""How a learned drafter's acceptance falls while the policy moves on, and what updates bring back.

staleness: RL steps since the drafter's last update; updates: how many it has had. The model

    rate = floor + (fresh - floor) · 2^(-staleness / half_life)
    fresh = top - (top - start) · 2^(-updates / recover)

is this project's: no paper gives a law. Fit it to what was measured (`fit_drift`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.optimize import least_squares

from ..measured import number_in, read_rows

NORMAL = 1.96  # of the normal distribution, 95 % within
RATES = ("floor", "start", "top")
UNKNOWN = {"rate": 0.25, "log": 0.7}  # standard errors beyond which nothing is known: an interval
# of all rates, one of a factor of 4 up and down


@dataclass(frozen=True)
class Drift:
    """Acceptance rates in [0, 1], or shares of a rate; half_life in RL steps (0: none is lost),
    recover in updates (0: the first brings all of it).
    """

    start: float = 1.0  # never updated, not stale
    top: float = 1.0  # after many updates, not stale
    recover: float = 0.0
    floor: float = 0.0  # when very stale
    half_life: float = 0.0
    intervals: tuple[tuple[str, float, float], ...] = ()  # name, low, high: 95 %, where fitted

    def __post_init__(self) -> None:
        for name in RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not between 0 and 1")
        for name in ("recover", "half_life"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name}={getattr(self, name)} is not 0 or more")

    def rate(self, staleness: float, updates: float) -> float:
        """The acceptance rate of a drafter so stale after so many updates."""
        old = 0.5 ** (staleness / self.half_life) if self.half_life else 1.0
        new = 0.5 ** (updates / self.recover) if self.recover else float(updates == 0)
        return self.floor + (self.top - (self.top - self.start) * new - self.floor) * old

    def share(self) -> Drift:
        """The same as shares of `top`, as the options of the drafter `learned` take it, for a table
        that was measured with a drafter at its best. Raises ValueError where `top` is not the most.
        """
        if not max(self.start, self.floor) <= self.top > 0:
            raise ValueError(f"start and floor are not below top={self.top:.3g}: take them as 1")
        return replace(
            self, start=self.start / self.top, top=1.0, floor=self.floor / self.top, intervals=()
        )


def age_of(rl_step: int, first: int, every: int) -> tuple[int, int]:
    """(staleness, updates) in an RL step, if the drafter is updated before the RL steps
    first + every, first + 2 · every, …; never if `every` is 0.
    """
    since = max(rl_step - first, 0)
    return (since % every, since // every) if every else (since, 0)


def read_outcomes(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """staleness, updates, drafted, accepted (float64[n] each) of a CSV file with these columns.

    updates may be left out (0). Count one position, the first draft token for instance: how often
    it was drafted, and how often accepted. Raises ComponentError naming the file and the row.
    """
    rows, columns = read_rows(path, ("staleness", "drafted", "accepted"))
    table = []
    for where, row in rows:
        drafted = number_in(row, "drafted", where, 1)
        updates = number_in(row, "updates", where, 0) if "updates" in columns else 0.0
        staleness = number_in(row, "staleness", where, 0)
        table.append((staleness, updates, drafted, number_in(row, "accepted", where, 0, drafted)))
    staleness_, updates_, drafted_, accepted_ = np.array(table).T
    return staleness_, updates_, drafted_, accepted_


def fit_drift(
    staleness: np.ndarray, updates: np.ndarray, drafted: np.ndarray, accepted: np.ndarray
) -> Drift:
    """The model that least squares fit to n measurements, with 95 % intervals.

    staleness in RL steps, updates, and how many tokens were drafted and accepted: float64[n] each.
    Weighted by the binomial variance; where the rates scatter more than that, so do the intervals.
    If all have the same number of updates, recovery is left out (start = top). Raises ValueError
    where the data do not determine a parameter.
    """
    s, u = np.asarray(staleness, np.float64), np.asarray(updates, np.float64)
    n, good = np.asarray(drafted, np.float64), np.asarray(accepted, np.float64)
    recovers = len(np.unique(u)) > 1
    _enough(s, u, n, good, recovers)
    rates = good / n
    spread = (good + 1) / (n + 2)  # never 0 or 1, unlike the rate of few tokens
    for _ in range(3):
        weights = np.sqrt(n / (spread * (1 - spread)))
        x, jacobian, cost = _least_squares(s, u, rates, weights, recovers)
        fitted = _model(x, s, u, recovers)
        spread = np.clip(fitted, 0.5 / (n + 1), 1 - 0.5 / (n + 1))
    names = ["floor", "top", "log half_life"] + (["start", "log recover"] if recovers else [])
    errors = _errors(jacobian, 2 * cost, len(s))
    for name, error in zip(names, errors.tolist(), strict=True):
        kind = "log" if name.startswith("log ") else "rate"
        if not error <= UNKNOWN[kind]:
            raise ValueError(
                f"the data do not determine {name.removeprefix('log ')}: measure more tokens, or "
                "other staleness and updates (some several half-lives old, some after few updates)"
            )
    values, intervals = {}, []
    for name, value, error in zip(names, x.tolist(), errors.tolist(), strict=True):
        low, high = value - NORMAL * error, value + NORMAL * error
        if name.startswith("log "):
            value, low, high = float(np.exp(value)), float(np.exp(low)), float(np.exp(high))
            name = name.removeprefix("log ")
        else:
            low, high = max(low, 0.0), min(high, 1.0)
        values[name] = value
        intervals.append((name, low, high))
    values.setdefault("start", values["top"])
    return Drift(**values, intervals=tuple(intervals))


def _enough(s: np.ndarray, u: np.ndarray, n: np.ndarray, good: np.ndarray, recovers: bool) -> None:
    """Raises ValueError for counts that are none, and for too few places to fit a curve."""
    if not len(s) == len(u) == len(n) == len(good):
        raise ValueError("staleness, updates, drafted and accepted differ in length")
    sound = (s >= 0) & (u >= 0) & (n >= 1) & (good >= 0) & (good <= n) & np.isfinite(s + u + n)
    if not sound.all():
        raise ValueError(f"measurement {int(np.argmin(sound))}: these are no counts")
    if len(np.unique(s)) < 3:
        raise ValueError(
            f"{len(np.unique(s))} different staleness: three at least determine floor, top and "
            "half_life; measure the drafter at more ages"
        )
    if recovers and len(np.unique(u)) < 3:
        raise ValueError(
            "2 different numbers of updates: three at least determine start, top and recover; "
            "measure more, or fit one number of updates alone"
        )
    if len(s) < (5 if recovers else 3):
        raise ValueError(f"{len(s)} measurements are fewer than the parameters")


def _columns(s: np.ndarray, u: np.ndarray, half: float, recover: float | None) -> np.ndarray:
    """float64[n, 2 or 3]: what floor, top (and start) count in each rate: they do so linearly."""
    old = 0.5 ** (s / half)
    if recover is None:
        return np.stack([1 - old, old], axis=1)
    new = 0.5 ** (u / recover)
    return np.stack([1 - old, old * (1 - new), old * new], axis=1)


def _model(x: np.ndarray, s: np.ndarray, u: np.ndarray, recovers: bool) -> np.ndarray:
    """x: floor, top, log half_life (, start, log recover)."""
    if not recovers:
        return _columns(s, u, np.exp(x[2]), None) @ x[:2]
    return _columns(s, u, np.exp(x[2]), np.exp(x[4])) @ x[[0, 1, 3]]


def _least_squares(
    s: np.ndarray, u: np.ndarray, rates: np.ndarray, weights: np.ndarray, recovers: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """x, its Jacobian and half the sum of squares, from the best of a grid of half-lives."""

    def grid(values: np.ndarray) -> np.ndarray:
        positive = np.unique(values)[1:] if values.min() == 0 else np.unique(values)
        return np.geomspace(positive[0] / 4, positive[-1] * 4, 16)

    best, begin = np.inf, np.empty(0)
    for half, recover in product(grid(s), grid(u) if recovers else [None]):
        columns = _columns(s, u, half, recover) * weights[:, None]
        linear = np.clip(np.linalg.lstsq(columns, rates * weights, rcond=None)[0], 0.001, 0.999)
        left = float(np.sum((columns @ linear - rates * weights) ** 2))
        if left < best:
            rest = [linear[2], np.log(recover)] if recover is not None else []
            best, begin = left, np.array([linear[0], linear[1], np.log(half), *rest])
    logs = [False, False, True, False, True][: len(begin)]
    residual: Callable[[np.ndarray], np.ndarray] = lambda x: (  # noqa: E731
        (_model(x, s, u, recovers) - rates) * weights
    )
    found = least_squares(
        residual,
        begin,
        bounds=(np.where(logs, begin - 7, 0.0), np.where(logs, begin + 7, 1.0)),
        x_scale="jac",
    )
    return found.x, found.jac, float(found.cost)


def _errors(jacobian: np.ndarray, chi2: float, count: int) -> np.ndarray:
    """Standard errors; infinite where the data say nothing."""
    free = count - jacobian.shape[1]
    scale = max(1.0, chi2 / free) if free > 0 else 1.0
    try:
        variances = np.diag(np.linalg.inv(jacobian.T @ jacobian)) * scale
    except np.linalg.LinAlgError:
        return np.full(jacobian.shape[1], np.inf)
    return np.sqrt(np.where(variances >= 0, variances, np.inf))
