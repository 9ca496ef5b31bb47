"""Which points a sweep visits: alternatives in inline specifications, and their product.

`fixed:k=1..4` stands for k = 1, 2, 3, 4 and `suffix:scope=own+both,max=8+16` for four drafters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..policies.components import BUDGETS
from ..policies.registry import ComponentError
from .limits import Limits
from .simulate import Setup

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
EXPONENT = re.compile(r"[\d.]+[eE]")  # 1e+3 is a number, not the alternatives "1e" and "3"


def expand(spec: Any) -> list[Any]:
    """All components that a specification with alternatives stands for, in order."""
    if isinstance(spec, Mapping):
        return [spec]
    name, colon, options = str(spec).partition(":")
    if not colon:
        return [spec]
    parts = []
    for option in options.split(","):
        key, equals, value = option.partition("=")
        parts.append([f"{key}{equals}{v}" for v in _alternatives(value)])
    return [f"{name}:{','.join(point)}" for point in itertools.product(*parts)]


def _alternatives(value: str) -> list[str]:
    if "(" in value:  # drafters with options of their own
        return [value]
    span = RANGE.fullmatch(value)
    if span:
        first, last = int(span[1]), int(span[2])
        if last < first:
            raise ComponentError(f"'{value}': a range counts upwards")
        return [str(k) for k in range(first, last + 1)]
    parts = value.split("+")
    return [value] if any(EXPONENT.fullmatch(p) for p in parts) else parts


@dataclass(frozen=True)
class Grid:
    """Alternatives for each part of a setup; every combination is a point. None is unlimited."""

    drafter: Sequence[Any] = ("none",)
    budget: Sequence[Any] = ("unlimited",)
    latency: Sequence[Any] = ("h100-7b",)
    placement: Sequence[Any] = ("fcfs",)
    max_num_seqs: Sequence[int | None] = (None,)
    max_num_batched_tokens: Sequence[int | None] = (None,)
    kv_tokens: Sequence[int | None] = (None,)
    block_size: Sequence[int] = (16,)
    replicas: Sequence[int] = (1,)

    def setups(self) -> list[Setup]:
        """Every point, drafter varying slowest; a budget for the drafter `none` is one point only.

        Raises ComponentError for an unusable one.
        """
        found: dict[str, Setup] = {}
        capacities = [
            Limits(*limits)
            for limits in itertools.product(
                self.max_num_seqs,
                self.max_num_batched_tokens,
                self.kv_tokens,
                self.block_size,
                self.replicas,
            )
        ]
        parts = (self.drafter, self.budget, self.latency, self.placement)
        for *specs, limits in itertools.product(*map(_all, parts), capacities):
            drafter, budget, latency, placement = specs
            setup = Setup.of(
                drafter=drafter, budget=budget, latency=latency, placement=placement, limits=limits
            )
            if setup.drafter.longest_draft == 0:  # without drafts every budget is the same
                setup = replace(setup, budget=BUDGETS.make("fixed:k=0"))
            found.setdefault(repr(setup.row), setup)
        return list(found.values())


def _all(specs: Iterable[Any]) -> list[Any]:
    return [point for spec in specs for point in expand(spec)]
