"""How fast the machine was, and how far each part of a forward follows it.

The probe (engine/probe.py) is fixed work on the host. What runs on the host slows down with it;
what runs on a GPU does not. So seconds are modelled as those of the quiet machine times
(probe / quiet probe) ** follows, with `follows` found per part.
"""

from __future__ import annotations

import numpy as np

from .regression import fit_robust

QUIET = 0.1  # quantile of the probes that counts as the quiet machine
FOLLOWS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
WORTH = 0.002  # of the mean error has to go for a part to be said to follow
WORST = 0.5  # relative error that a forward counts for at most


def quiet_probe(probe_s: np.ndarray) -> float | None:
    """Seconds of the probe on the quiet machine; None where none was done."""
    known = probe_s[np.isfinite(probe_s)]
    return float(np.quantile(known, QUIET)) if len(known) else None


def slowness(probe_s: np.ndarray, quiet_s: float | None) -> np.ndarray:
    """float64[n]: how many times slower than quiet; 1 where that is not known."""
    if not quiet_s:
        return np.ones(len(probe_s))
    return np.where(np.isfinite(probe_s), probe_s / quiet_s, 1.0)


def find_follows(x: np.ndarray, y: np.ndarray, slow: np.ndarray) -> float:
    """The exponent under which y / slow ** exponent ~ x b errs least."""
    errors = []
    for follows in FOLLOWS:
        quiet = y / slow**follows
        fitted = np.maximum(x @ fit_robust(x, quiet).coefficients, 1e-12)
        errors.append(float(np.minimum(np.abs(quiet / fitted - 1), WORST).mean()))
    best = int(np.argmin(errors))
    return FOLLOWS[best] if errors[best] < (1 - WORTH) * errors[0] else 0.0
