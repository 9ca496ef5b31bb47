"""Kaplan and Meier's estimate: those still running have told something, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..batch import Plan
from ..compiled import jit
from ..view import StepView
from .known import POOL, SURVIVAL, add, own_lengths, plan_of

BEYOND = 1.25  # times the longest progress: the length where survival's end is not known


@jit(inner=True)
def survival(known, row, finished, running, generated, cap, length, weight):
    """Weights are the steps of S(t) = product over lengths t_i <= t of 1 - ended_i / at risk_i."""
    size = add(row[1 : 1 + int(row[0])], 1.0, generated, 0, length, weight)
    size = add(finished, 1.0, generated, size, length, weight)
    length[:size].sort()
    alive, first = 1.0, 0
    while first < size:
        last, at_risk = first, size - first
        while last < size and length[last] == length[first]:
            last += 1
        for each in running:
            at_risk += each >= length[first]
        weight[first:last] = alive / at_risk
        alive -= alive * (last - first) / at_risk
        first = last
    # Where somebody has outlived them all, S does not fall to 0: what is left of it lies beyond.
    longest = length[size - 1] if size else float(generated)
    outlived = False
    for each in running:
        if each > longest:
            longest, outlived = each, True
    if not outlived:
        return size
    end = add(known[POOL:], 1.0, longest, size, length, weight)
    if end == size:
        length[size], end = BEYOND * longest + 1.0, size + 1
    weight[size:end] = alive / (end - size)
    return end


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier over the prompt's rollouts: running siblings are censored at their progress.

    Earlier rollouts and finished siblings are events; a running sibling is at risk up to what it
    has generated. The estimate is taken given that the request is longer than what it has
    generated, and where siblings have outlived every length known of the prompt, what is left of
    it goes to everybody's lengths beyond.
    """

    name: ClassVar[str] = "survival"
    source: ClassVar[str] = "Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958), 457-481"

    def plan(self, view: StepView) -> Plan:
        """The prompts' lengths."""
        return plan_of(view, SURVIVAL, own_lengths(view))
