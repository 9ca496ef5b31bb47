"""Numbering RL steps: a source's own names for them become 0, 1, 2, ... in natural order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .schema import TraceError

REST = "*"


def number_steps(
    labels: Sequence[str], fixed: Sequence[str] | None = None
) -> tuple[list[int], dict[str, str]]:
    """The RL step of each (distinct) label, and {"0": label, ...} where labels were renumbered.

    Labels that are all whole numbers stay as they are. Others are numbered in natural order
    (`step_50` before `step_400`), or in the order `fixed`, in which `*` stands for all not named.
    Raises TraceError where `fixed` names a label that is not there or leaves one out, and for
    negative numbers.
    """
    if fixed is None and all(re.fullmatch(r"\d{1,9}", label) for label in labels):
        return [int(label) for label in labels], {}
    negative = [label for label in labels if re.fullmatch(r"-\d+", label)]
    if negative and all(re.fullmatch(r"-?\d+", label) for label in labels):
        raise TraceError(f"RL step {negative[0]} is negative", remedy="number RL steps from 0")
    natural = sorted(labels, key=natural_key)
    if labels and all(re.fullmatch(r"\d+\.\d+|\d+", label) for label in labels):
        natural.sort(key=float)
    order = natural if fixed is None else _fixed_order(natural, list(fixed))
    number = {label: i for i, label in enumerate(order)}
    return [number[label] for label in labels], {str(i): label for label, i in number.items()}


def natural_key(label: str) -> list[tuple[int, int, str]]:
    """Sorts digits by value and everything else as text."""
    parts = re.split(r"(\d+)", label)
    return [(0, *_by_value(part)) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _by_value(digits: str) -> tuple[int, str]:
    """Sorts digits, however many, by their value."""
    significant = digits.lstrip("0")
    return len(significant), significant + digits


def _fixed_order(natural: list[str], fixed: list[str]) -> list[str]:
    present = set(natural)
    named = [label for label in fixed if label != REST]
    if len(set(fixed)) < len(fixed):
        raise TraceError("--steps names an RL step twice", remedy="name each once")
    if unknown := [label for label in named if label not in present]:
        raise TraceError(
            f"--steps names {unknown[0]!r}, which no row has",
            remedy=f"the RL steps are {', '.join(natural)}",
        )
    rest = [label for label in natural if label not in set(named)]
    if REST not in fixed:
        if rest:
            raise TraceError(
                f"--steps leaves out RL step {rest[0]!r}",
                remedy=f"add it, or * for all the others ({len(rest)})",
            )
        return named
    place = fixed.index(REST)
    return [*fixed[:place], *rest, *fixed[place + 1 :]]
