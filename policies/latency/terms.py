"""What every latency model adds linearly to its own part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..compiled import jit
from ..registry import option

TERMS = 5  # parameters at the head of every model's


@jit(inner=True)
def add_terms(seconds, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p):
    """`seconds` and the linear terms; p begins with `Terms.terms`."""
    return (
        seconds
        + p[0] * kv_tokens
        + p[1] * pairs
        + p[2] * requests
        + p[3] * prefill_tokens
        + p[4] * draft_tokens
    )


@jit(inner=True)
def first_at_least(x, p, start, count):
    """Index of the first of the ascending p[start : start + count] that is >= x, or the last."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if p[start + middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@jit(inner=True)
def padded(tokens, p, start, count):
    """`tokens`, or the CUDA-graph capture size that a forward of so many is padded to."""
    if count == 0 or tokens > p[start + count - 1]:
        return float(tokens)
    return p[start + first_at_least(float(tokens), p, start, count)]


@dataclass(frozen=True)
class Terms:
    """Options that every model has; seconds each."""

    kv_token: float = option(0.0, "each KV token read", low=0.0, unit="s")
    pair: float = option(0.0, "each pair of a query and a key", low=0.0, unit="s")
    request: float = option(0.0, "each request in the forward", low=0.0, unit="s")
    prefill: float = option(0.0, "each prefill token, beyond any token", low=0.0, unit="s")
    draft: float = option(0.0, "drafting one draft token, on the critical path", low=0.0, unit="s")

    @property
    def terms(self) -> np.ndarray:
        """float64[5], as `add_terms` takes them."""
        return np.array([self.kv_token, self.pair, self.request, self.prefill, self.draft])
