"""DAS's length classes, and what they say of lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..batch import Plan
from ..registry import option
from ..view import StepView
from .known import EARLIER, MOST, earlier_lengths, plan_of, row_of

SHORT, MEDIUM, LONG = range(3)


def class_cuts(length: np.ndarray, short: float, long: float) -> np.ndarray:
    """float64[2]: the longest SHORT length and the shortest LONG one, tokens.

    short, long: tokens if above 1, else quantiles of the lengths.
    """
    low, high = (float(np.quantile(length, q)) if q <= 1 else q for q in (short, long))
    return np.array([low, max(high, low + 1)])  # quantiles can coincide


def class_of(length: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """SHORT up to cut[0] tokens, LONG from cut[1], MEDIUM between."""
    return np.where(length >= cut[1], LONG, np.where(length <= cut[0], SHORT, MEDIUM))


def initial_classes(prompt: np.ndarray, kind: np.ndarray, size: int) -> np.ndarray:
    """int[size]: the class in which requests of each prompt begin, the majority of its rollouts'.

    prompt, kind: of the rollouts of history. A prompt never seen has all of history's; ties go to
    the longer class.
    """
    votes = np.zeros((size, 3), np.int64)
    np.add.at(votes, (prompt, kind), 1)
    votes[votes.sum(1) == 0] = np.bincount(kind, minlength=3)
    majority: np.ndarray = 2 - votes[:, ::-1].argmax(1)
    return majority


@dataclass(frozen=True)
class Classes:
    """The posterior of DAS's length classes, given the prompt's class and the tokens generated.

    Rollouts are short, medium or long; a request begins in the majority class of its prompt's
    earlier rollouts, and P(c | l, initial class) is the share of class c among those rollouts of
    such prompts that were longer than l. Each class having the lengths that its rollouts had, this
    posterior's lengths are those of all rollouts of prompts with the same initial class.
    """

    name: ClassVar[str] = "classes"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 §4.2, length classes and runtime update"

    short: float = option(
        0.5, "short up to this length: quantile of history, above 1 tokens", low=0.0
    )
    long: float = option(0.9, "long from this length: quantile of history, above 1 tokens", low=0.0)

    def __post_init__(self) -> None:
        if (self.short > 1) == (self.long > 1) and self.long < self.short:
            raise ValueError(f"long={self.long} is below short={self.short}")

    def plan(self, view: StepView) -> Plan:
        """The lengths of all prompts of the class that the request begins in."""
        length, prompt = earlier_lengths(view)
        if not len(length):
            return plan_of(view, EARLIER, np.zeros((len(view.prompt), 1 + MOST)))
        size = int(max(prompt.max(), view.prompt.max(initial=0))) + 1
        kind = class_of(length, class_cuts(length, self.short, self.long))
        initial = initial_classes(prompt, kind, size)
        rows = np.stack([row_of(length[initial[prompt] == c], MOST) for c in (SHORT, MEDIUM, LONG)])
        return plan_of(view, EARLIER, rows[initial[view.prompt]])
