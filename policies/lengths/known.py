"""What is known of lengths when an RL step begins, as compiled predictors take it."""

from __future__ import annotations

import numpy as np

from ..batch import Plan
from ..compiled import jit
from ..view import StepView

OWN, MOST = 32, 64  # quantiles kept of a prompt's lengths, and of everybody's or a class's
SCENES = 16  # quantiles of what is left

# plan.values: which function, its options, and from POOL on everybody's lengths, ascending
KIND, GENERAL, SPREAD, POOL = range(4)
MIXTURE, EARLIER, GROUP, SURVIVAL, AHEAD = range(5)  # kinds


def plan_of(view: StepView, kind: int, rows: np.ndarray | None = None) -> Plan:
    """A predictor's plan. rows: float64[N, C], what it knows of each request; nothing if None."""
    options = np.zeros(POOL)
    options[KIND] = kind
    lengths, _ = earlier_lengths(view)
    values = np.concatenate([options, thinned(lengths, MOST)])
    return Plan(values, np.zeros((len(view.prompt), 1)) if rows is None else rows)


def earlier_lengths(view: StepView) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of all rollouts of earlier RL steps, and whose they are."""
    lengths = np.concatenate([past.output_len for past in view.past] or [np.empty(0, np.int32)])
    prompts = np.concatenate([past.prompt for past in view.past] or [np.empty(0, np.int32)])
    return lengths, prompts


def own_lengths(view: StepView) -> np.ndarray:
    """float64[N, 1 + OWN]: how many lengths of earlier rollouts of its prompt, and these."""
    lengths, prompts = earlier_lengths(view)
    own = np.zeros((len(view.prompt), 1 + OWN))
    for prompt in np.unique(view.prompt):
        own[view.prompt == prompt] = row_of(lengths[prompts == prompt], OWN)
    return own


def row_of(lengths: np.ndarray, most: int) -> np.ndarray:
    """float64[1 + most]: how many follow, and the lengths, ascending, at most so many of them."""
    kept, row = thinned(lengths, most), np.zeros(1 + most)
    row[0], row[1 : 1 + len(kept)] = len(kept), kept
    return row


def thinned(lengths: np.ndarray, most: int) -> np.ndarray:
    """Ascending, at most so many of them."""
    if len(lengths) > most:
        return np.quantile(lengths, (np.arange(most) + 0.5) / most)
    return np.sort(lengths).astype(float)


@jit(inner=True)
def add(lengths, each, generated, size, length, weight):
    """Append those lengths that are still possible, with weight `each`; how many there are then."""
    for one in lengths:
        if one > generated:
            length[size], weight[size] = one, each
            size += 1
    return size
