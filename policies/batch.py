"""What a policy may see of the running batch, as a structure of arrays.

In: nothing but what a live engine knows. There is no recorded length here and no future token: that
is the knowledge boundary, and it holds because this is the only thing a rule is given. Arrays are
indexed by request; `slots` says which of them are decoding now, in the engine's order.

A budget rule is one compiled function of the signature `RULE`. The simulator's compiled loop calls
it through its address, a live engine calls it from Python: it is the same function.
"""

from typing import NamedTuple

import numpy as np
from numba import types

MAX_DRAFT = 128  # K: vLLM's rejection sampler refuses longer drafts (MAX_SPEC_LEN)
NO_CAP = np.int32(2**31 - 1)  # a request without a token cap of its own


class Batch(NamedTuple):
    """The running batch. N requests in all, `counts[0]` of them decoding in this forward."""

    slots: np.ndarray  # int32[N]: the decoding requests, first counts[0] entries
    prompt_len: np.ndarray  # int32[N] tokens
    cap: np.ndarray  # int32[N]: the request's own limit of output tokens
    generated: np.ndarray  # int32[N]: output tokens so far
    forwards: np.ndarray  # int32[N]: forwards that gave it tokens so far
    drafted: np.ndarray  # int32[N]: draft tokens verified so far
    accepted: np.ndarray  # int32[N]: of which accepted
    counts: np.ndarray  # int64[4]: decoding, waiting, prefilling, tokens of all running


class Plan(NamedTuple):
    """What a policy decided at the start of an RL step; `request` may also be its own memory."""

    values: np.ndarray  # float64[M]: anything that is the same for all requests
    request: np.ndarray  # float64[N, C]: one row per request, the rule may write to it


DECODING, WAITING, PREFILLING, KV_TOKENS = range(4)

BATCH = types.NamedTuple(
    [types.int32[::1]] * 7 + [types.int64[::1]],
    Batch,
)
PLAN = types.NamedTuple([types.float64[::1], types.float64[:, ::1]], Plan)

# rule(batch, plan, budget): fills budget[slot] for every decoding slot, 0 <= budget <= MAX_DRAFT.
RULE_SIGNATURE = types.void(BATCH, PLAN, types.int32[::1])
RULE = types.FunctionType(RULE_SIGNATURE)


def empty_batch(prompt_len: np.ndarray, cap: np.ndarray) -> Batch:
    """A batch of len(prompt_len) requests of which none has started."""
    n = len(prompt_len)

    def zeros() -> np.ndarray:
        return np.zeros(n, np.int32)

    return Batch(
        slots=zeros(),
        prompt_len=np.ascontiguousarray(prompt_len, np.int32),
        cap=np.ascontiguousarray(cap, np.int32),
        generated=zeros(),
        forwards=zeros(),
        drafted=zeros(),
        accepted=zeros(),
        counts=np.zeros(4, np.int64),
    )
