"""What labels of suffix drafts mean before anything was drafted: fitted to recorded traces.

`python -m tests.bench.prior TRACE…` fits, of each trace as much, the logistic sums that
policies/drafters/suffix_label.py has (REACH … PLACE, MATCH, PATH), and prints them, with the Brier
score on each trace when it is left out, beside the lowest that any 256 chances could have there.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import minimize

import longtail
from longtail.policies.components import DRAFTERS
from longtail.policies.confidence import outcomes
from longtail.policies.drafters.suffix_label import terms

CHAINS = ("suffix:scope=problem", "suffix:scope=own")
TREES = ("suffix:paths=128,max=32,factor=2",)
RIDGE = 1e-5


def counts_of(path: str, spec: str) -> np.ndarray:
    """float64[256, 2]: tried and accepted by label, in all RL steps but the first."""
    trace, drafter = longtail.read_trace(path), DRAFTERS.make(spec)
    lengths = trace.lengths()
    profile = drafter.profile(lengths, trace.tokens(), 2, labels=True)
    first = int(np.searchsorted(lengths.rl_step, trace.rl_steps[0], "right"))
    return outcomes(profile.part(first, len(lengths)))


def fit(counts: list[np.ndarray], trees: bool) -> list[np.ndarray]:
    """One weight for each class of each term."""
    which, sizes = terms(trees)
    design = np.concatenate([np.eye(n)[w] for w, n in zip(which, sizes, strict=True)], axis=1)
    tried, accepted = sum(c / c[:, 0].sum() for c in counts).T

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        p = 1 / (1 + np.exp(-design @ weights))
        likelihood = accepted @ np.log(p) + (tried - accepted) @ np.log1p(-p)
        slope = design.T @ (accepted - tried * p)
        return RIDGE * weights @ weights - likelihood, 2 * RIDGE * weights - slope

    best = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return np.split(best.x, np.cumsum(sizes)[:-1])


def brier(counts: np.ndarray, chances: np.ndarray) -> float:
    """Mean squared difference between chance and outcome."""
    tried, accepted = counts.T
    missed = accepted @ (1 - chances) ** 2 + (tried - accepted) @ chances**2
    return float(missed / tried.sum())


def main(*paths: str) -> None:
    """Print both fits."""
    for trees, specs in ((False, CHAINS), (True, TREES)):
        found = {(path, spec): counts_of(path, spec) for path in paths for spec in specs}
        which, _ = terms(trees)
        for path, spec in found:
            others = [c for (p, _), c in found.items() if p != path]
            if others:
                sums = sum(w[i] for w, i in zip(fit(others, trees), which, strict=True))
                counts = found[path, spec]
                known = counts[:, 1] / np.maximum(counts[:, 0], 1)
                print(
                    f"{path} {spec}: Brier {brier(counts, 1 / (1 + np.exp(-sums))):.3f} left out, "
                    f"{brier(counts, known):.3f} at best"
                )
        for weights in fit(list(found.values()), trees):
            print(", ".join(f"{w:.2f}" for w in weights))


if __name__ == "__main__":
    main(*sys.argv[1:])
