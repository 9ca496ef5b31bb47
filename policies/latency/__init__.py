"""How long a forward takes. One file a model; presets name their source.

A latency model is a compiled function of the signature `LATENCY_SIGNATURE`: tokens in the forward,
requests in it, KV tokens (the contexts of those requests, each once), pairs of a query and a key
(what attention computes; a draft of d tokens has d + 1 queries), prefill tokens among the tokens,
draft tokens among the tokens, and the model's parameters; it returns seconds.
"""

from typing import Any

import numpy as np
from numba import types

LATENCY_SIGNATURE = types.float64(
    types.int64, types.int64, types.int64, types.int64, types.int64, types.int64,
    types.float64[::1],
)  # fmt: skip
LATENCY = types.FunctionType(LATENCY_SIGNATURE)
ARGUMENTS = ("tokens", "requests", "kv_tokens", "pairs", "prefill_tokens")
"""What a measured model has a range of; draft tokens are among the tokens."""


def covered(latency: Any) -> np.ndarray:
    """float64[5, 2]: least and most of each of `ARGUMENTS` that the model was measured for;
    everything for one that was not measured.
    """
    measured = getattr(latency, "covered", None)
    if measured is None:
        return np.tile([-np.inf, np.inf], (len(ARGUMENTS), 1))
    return np.ascontiguousarray(measured, np.float64)


def bound(latency: Any, drafter: Any) -> Any:
    """The model for runs with this drafter: itself, unless drafters cost different amounts."""
    bind = getattr(latency, "bind", None)
    return bind(drafter) if bind else latency
