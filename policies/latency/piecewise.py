"""Seconds along measured points, with CUDA-graph capture sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..compiled import jit
from ..registry import option
from . import LATENCY_SIGNATURE
from .terms import TERMS, Terms, add_terms, first_at_least, padded

HEADER = TERMS + 3  # number of points, number of capture sizes, slope beyond


@jit(LATENCY_SIGNATURE)
def _seconds(tokens, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p):
    points, captures = int(p[TERMS]), int(p[TERMS + 1])
    x = padded(tokens, p, HEADER + 2 * points, captures)
    right = max(first_at_least(x, p, HEADER, points), 1)
    x0, x1 = p[HEADER + right - 1], p[HEADER + right]
    y0, y1 = p[HEADER + points + right - 1], p[HEADER + points + right]
    if x <= p[HEADER]:
        seconds = y0  # a forward is never cheaper than the smallest one measured
    elif x > x1:
        seconds = y1 + (x - x1) * p[TERMS + 2]
    else:
        seconds = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return add_terms(seconds, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p)


@dataclass(frozen=True)
class Piecewise(Terms):
    """Straight lines between measured (tokens, seconds) points, padded to capture sizes if given.

    Below the first point its value holds, beyond the last one the line through the first and the
    last continues. The default points are DAS Fig. 8 (DeepSeek-R1-Distill-Qwen-7B on an H100, knee
    near 512 tokens): a prior, not a calibration. With `capture`, a forward of up to the largest
    size is padded to the next size, as vLLM replays the CUDA graph of that many tokens.
    """

    name: ClassVar[str] = "piecewise"
    source: ClassVar[str] = (
        "DAS, arXiv 2511.13841 Fig. 8 (digitized); padding as in vLLM's dispatcher"
    )
    seconds: ClassVar[Any] = staticmethod(_seconds)

    tokens: tuple[float, ...] = option(
        (10.0, 100.0, 200.0, 400.0, 500.0, 600.0, 1000.0, 1850.0, 3000.0, 3500.0),
        "tokens in the forward, ascending, a/b/c",
        low=0.0,
    )
    time: tuple[float, ...] = option(
        (8.3e-3, 10.9e-3, 13.3e-3, 18.8e-3, 21.7e-3, 26.6e-3, 35.2e-3, 55.6e-3, 85.5e-3, 96.9e-3),
        "seconds of each",
        low=0.0,
        unit="s",
    )
    capture: tuple[float, ...] = option((), "CUDA-graph capture sizes, ascending, a/b/c", low=1.0)

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.time) or len(self.tokens) < 2:
            raise ValueError("tokens and time need the same number of points, at least two")
        for name in ("tokens", "capture"):
            values = getattr(self, name)
            if any(b <= a for a, b in pairwise(values)):
                raise ValueError(f"{name} must ascend")

    @property
    def params(self) -> np.ndarray:
        """float64: header, tokens, seconds, capture sizes, as `seconds` takes them."""
        slope = (self.time[-1] - self.time[0]) / (self.tokens[-1] - self.tokens[0])
        header = [*self.terms, len(self.tokens), len(self.capture), slope]
        return np.array([*header, *self.tokens, *self.time, *self.capture])
