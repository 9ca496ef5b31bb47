"""A published claim, and whether numbers bear it out: theirs (their own figure) and ours.

Verdicts are computed from the numbers alone. Where there is no number there is no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a number says of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "cannot be judged here"


@dataclass(frozen=True)
class Rule:
    """What a number has to be: from `low` to `high`, both included, in the words `text`."""

    text: str
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"no number lies between {self.low} and {self.high}")

    def judge(self, value: float | None) -> Verdict:
        """Of no number (None or NaN) nothing is known."""
        if value is None or math.isnan(value):
            return Verdict.UNKNOWN
        return Verdict.HOLDS if self.low <= value <= self.high else Verdict.FAILS


def at_least(bound: float, form: str = "{:g}") -> Rule:
    """No less than the bound, which is shown as `form`."""
    return Rule(f"at least {form.format(bound)}", low=bound)


def at_most(bound: float, form: str = "{:g}") -> Rule:
    """No more than the bound."""
    return Rule(f"at most {form.format(bound)}", high=bound)


def near(value: float, share: float, form: str = "{:g}") -> Rule:
    """Within a share of a positive value, above or below."""
    return Rule(
        f"{form.format(value)} ± {share:.0%}", low=value * (1 - share), high=value * (1 + share)
    )


def exactly(value: float, form: str = "{:g}") -> Rule:
    """That very number."""
    return Rule(form.format(value), low=value, high=value)


@dataclass(frozen=True)
class Claim:
    """What a paper says, made a rule for one number."""

    text: str
    where: str  # in the paper
    rule: Rule
    theirs: float | None  # by their own figure or table
    ours: float | None  # simulated
    form: str = "{:.2f}"  # how both numbers are shown
    why: str = ""  # what differs, or what is missing; shown where ours does not bear it out

    @property
    def theirs_verdict(self) -> Verdict:
        """Whether their own figure bears it out."""
        return self.rule.judge(self.theirs)

    @property
    def verdict(self) -> Verdict:
        """Whether our simulation does."""
        return self.rule.judge(self.ours)

    def show(self, value: float | None) -> str:
        """One of the numbers, for people."""
        return "-" if value is None or math.isnan(value) else self.form.format(value)
