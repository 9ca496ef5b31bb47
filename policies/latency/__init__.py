"""How long a forward takes. One file a model; presets name their source.

A latency model is a compiled function of the signature `LATENCY_SIGNATURE`: tokens in the forward,
requests in it, KV tokens read, prefill tokens among the tokens, draft tokens among the tokens, and
the model's parameters; it returns seconds.
"""

from numba import types

LATENCY_SIGNATURE = types.float64(
    types.int64, types.int64, types.int64, types.int64, types.int64, types.float64[::1]
)
LATENCY = types.FunctionType(LATENCY_SIGNATURE)
