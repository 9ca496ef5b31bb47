"""Seconds from a table over tokens and context, with CUDA-graph capture sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..compiled import jit
from ..registry import option
from . import LATENCY_SIGNATURE
from .terms import TERMS, Terms, add_terms, first_at_least, padded

HEADER = TERMS + 3  # number of token nodes, of KV nodes, of capture sizes


@jit(inner=True)
def _cell(x, p, start, count):
    """Right node of the cell that x lies in, and how far into it, from 0; beyond the last, > 1."""
    right = max(first_at_least(x, p, start, count), 1)
    left = p[start + right - 1]
    return right, max(0.0, (x - left) / (p[start + right] - left))


@jit(LATENCY_SIGNATURE)
def _seconds(tokens, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p):
    rows, columns, captures = int(p[TERMS]), int(p[TERMS + 1]), int(p[TERMS + 2])
    values = HEADER + rows + columns
    x = padded(tokens, p, values + rows * columns, captures)
    i, u = _cell(x, p, HEADER, rows)
    j, v = _cell(float(kv_tokens), p, HEADER + rows, columns)
    below = values + (i - 1) * columns + j
    above = below + columns
    low = p[below - 1] + v * (p[below] - p[below - 1])
    high = p[above - 1] + v * (p[above] - p[above - 1])
    seconds = low + u * (high - low)
    return add_terms(seconds, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p)


@dataclass(frozen=True)
class Table(Terms):
    """Bilinear between measured seconds over (tokens, KV tokens), padded to capture sizes if given.

    Below the first node of an axis its value holds, beyond the last the last cell continues. It has
    no defaults worth using: `longtail calibrate` fills it in.
    """

    name: ClassVar[str] = "table"
    source: ClassVar[str] = "longtail calibrate; padding as in vLLM's dispatcher"
    seconds: ClassVar[Any] = staticmethod(_seconds)

    tokens: tuple[float, ...] = option((1.0, 2.0), "tokens, ascending, a/b/c", low=0.0)
    kv: tuple[float, ...] = option((0.0, 1.0), "KV tokens, ascending, a/b/c", low=0.0)
    time: tuple[float, ...] = option(
        (0.0, 0.0, 0.0, 0.0), "seconds, all KV tokens of the first tokens first", low=0.0, unit="s"
    )
    capture: tuple[float, ...] = option((), "CUDA-graph capture sizes, ascending, a/b/c", low=1.0)

    def __post_init__(self) -> None:
        if min(len(self.tokens), len(self.kv)) < 2:
            raise ValueError("tokens and kv need at least two nodes each")
        if len(self.time) != len(self.tokens) * len(self.kv):
            raise ValueError(f"time needs {len(self.tokens)} times {len(self.kv)} values")
        for name in ("tokens", "kv", "capture"):
            values = getattr(self, name)
            if any(b <= a for a, b in pairwise(values)):
                raise ValueError(f"{name} must ascend")

    @property
    def params(self) -> np.ndarray:
        """float64: header, nodes, seconds, capture sizes, as `seconds` takes them."""
        header = [*self.terms, len(self.tokens), len(self.kv), len(self.capture)]
        return np.array([*header, *self.tokens, *self.kv, *self.time, *self.capture])
