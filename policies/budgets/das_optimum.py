"""DAS's draft-budget problem and its solution, as printed and as corrected.

Request i of final length l accepts A(p) = k l (1 - exp(-alpha p / l)) of p draft tokens (eq. 3).
The rollout takes N = max_i (l_i - A_i) forwards (eq. 4) and c_base N + c_tok sum p_i seconds (eq.
5). With eq. 6's constraint tight, 1 - k + k exp(-alpha p / l) = N / l, so

    p(N) = -(l / alpha) ln(1 - (1 - N/l) / k)                for l > N, else 0,
    c_base = c_tok * sum over l_i > N of 1 / (alpha_i (k_i - 1 + N/l_i)).

The paper prints (eq. 7, 9) ln(1 - k (1 - N/l)) and k / (alpha (1 - k + k N/l)) instead, which does
not meet the constraint unless k = 1. The printed form is kept for comparison only.
"""

from __future__ import annotations

import numpy as np

FORMS = ("corrected", "printed")


def draft_totals(
    length: np.ndarray,
    alpha: np.ndarray,
    capacity: np.ndarray,
    forwards: float,
    form: str = "corrected",
) -> np.ndarray:
    """Lifetime draft tokens p_i that bring every request's forwards down to `forwards`.

    length: float[n] tokens; alpha, capacity: float[n]; 0 where length <= forwards; inf where no
    number of drafts suffices. arXiv 2511.13841 eq. 7 (printed), corrected as the module says.
    """
    length, alpha, capacity = (np.asarray(a, float) for a in (length, alpha, capacity))
    share = np.maximum(1.0 - forwards / length, 0.0)
    left = 1.0 - (capacity * share if form == "printed" else share / capacity)
    with np.errstate(divide="ignore", invalid="ignore"):
        totals = -(length / alpha) * np.log(np.maximum(left, 0.0))
    return np.where(share > 0, totals, 0.0)


def optimal_budgets(
    length: np.ndarray,
    alpha: np.ndarray,
    capacity: np.ndarray,
    base_s: float,
    token_s: float,
    form: str = "corrected",
    weight: float = 1.0,
) -> tuple[float, np.ndarray]:
    """(N*, p*): the forwards and lifetime draft tokens that minimise eq. 5.

    length: float[n] tokens, alpha > 0, 0 < capacity <= 1; base_s, token_s: seconds per forward and
    per token; weight: how many requests each entry stands for. The marginal condition's right side
    falls in N, jumping down where a request drops out, so its crossing is found by bisection.
    """
    length, alpha, capacity = (np.asarray(a, float) for a in (length, alpha, capacity))
    price = token_s * weight

    def gain(forwards: float) -> float:
        """Derivative of eq. 5 in N."""
        active = length > forwards
        x = forwards / length[active]
        k, a = capacity[active], alpha[active]
        slope = k / (a * (1 - k + k * x)) if form == "printed" else 1 / (a * (k - 1 + x))
        return base_s - price * float(slope.sum())

    high = float(length.max())
    low = 0.0 if form == "printed" else float(((1 - capacity) * length).max())
    low += 1e-9 * high
    if gain(high * (1 - 1e-12)) <= 0:
        return high, np.zeros(
            len(length)
        )  # not even the last request's last forward is worth a draft
    if gain(low) >= 0:
        return low, draft_totals(length, alpha, capacity, low, form)
    for _ in range(80):
        middle = (low + high) / 2
        if gain(middle) >= 0:
            high = middle
        else:
            low = middle
    return high, draft_totals(length, alpha, capacity, high, form)


def fit_acceptance(drafted: np.ndarray, accepted: np.ndarray) -> tuple[float, float]:
    """(alpha, capacity) of eq. 3 through points of (drafted, accepted) tokens per output token.

    Least squares: capacity in closed form for each alpha, alpha by a grid in the logarithm refined
    three times. No accepted token at all gives capacity 0.
    """
    x, y = np.asarray(drafted, float), np.asarray(accepted, float)
    if not (y > 0).any():
        return 1.0, 0.0
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(4):
        grid = np.linspace(low, high, 61)
        shape = 1 - np.exp(-np.exp(grid)[:, None] * x)
        capacity = np.clip((shape @ y) / np.maximum((shape**2).sum(1), 1e-300), 1e-6, 1.0)
        error = ((y - capacity[:, None] * shape) ** 2).sum(1)
        best = int(error.argmin())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 60)]
    return float(np.exp(grid[best])), float(capacity[best])
