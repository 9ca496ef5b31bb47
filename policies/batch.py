"""What a policy may see of the running batch, as a structure of arrays.

In: nothing but what a live engine knows. There is no recorded length here and no future token: that
is the knowledge boundary, and it holds because this is the only thing a rule is given. Arrays are
indexed by request; `slots` says which of them are decoding now, in the engine's order.

A budget rule is one compiled function of the signature `RULE`. The simulator's compiled loop calls
it through its address, a live engine calls it from Python: it is the same function. It is told what
forwards cost (policies/latency) by a function and its parameters, which need not be the clock's.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from .latency import LATENCY

MAX_DRAFT = 128  # K: vLLM's rejection sampler refuses longer drafts (MAX_SPEC_LEN)
NO_CAP = np.int32(2**31 - 1)  # a request without a token cap of its own


class Batch(NamedTuple):
    """The running batch. N requests in all, `counts[0]` of them decoding in this forward.

    What is known of the drafts at hand is there for budgets that see them (`sees_drafts`): they are
    made before the rule is asked.
    """

    slots: np.ndarray  # int32[N]: the decoding requests, first counts[0] entries
    prompt_len: np.ndarray  # int32[N] tokens
    cap: np.ndarray  # int32[N]: the request's own limit of output tokens
    generated: np.ndarray  # int32[N]: output tokens so far
    forwards: np.ndarray  # int32[N]: forwards that gave it tokens so far
    drafted: np.ndarray  # int32[N]: draft tokens verified so far
    accepted: np.ndarray  # int32[N]: of which accepted
    group: np.ndarray  # int32[N]: whose prompts are the same; -1: nobody
    ended: np.ndarray  # int32[N]: output tokens of a request that is over, 0 before
    offered: np.ndarray  # int32[N]: tokens of the draft at hand, as far as K and the cap allow
    labels_at: np.ndarray  # int64[N]: where its labels begin in `labels`
    labels: np.ndarray  # uint8: what the drafter knows of each token's chances
    chances: np.ndarray  # float64[LABELS]: what that means (policies/confidence.py)
    last: np.ndarray  # int64[LASTS]: the forward before: tokens, requests, KV tokens, pairs,
    # prefill tokens, draft tokens, accepted
    counts: np.ndarray  # int64[COUNTS]: decoding, waiting, prefilling, tokens of all running;
    # whether drafts are trees; set by the rule: all running are to be prefilled again; and, if it
    # sees drafts, how long those of the next forward are to be made at most


class Plan(NamedTuple):
    """What a policy decided at the start of an RL step; `request` may also be its own memory."""

    values: np.ndarray  # float64[M]: anything that is the same for all requests
    request: np.ndarray  # float64[N, C]: one row per request, the rule may write to it


# entries of `counts`
DECODING, WAITING, PREFILLING, KV_TOKENS, TREES, RESTART, NEXT_LONGEST = range(COUNTS := 7)
# and of `last`
LAST_TOKENS, LAST_REQUESTS, LAST_KV, LAST_PAIRS, LAST_PREFILL, LAST_DRAFTED, LAST_ACCEPTED = range(
    LASTS := 7
)
LABELS = 256

_I4, _I8, _F8 = types.int32[::1], types.int64[::1], types.float64[::1]
# Labels may be a view of read-only memory shared between processes.
_LABELS = types.Array(types.uint8, 1, "C", readonly=True)
BATCH = types.NamedTuple([*[_I4] * 10, _I8, _LABELS, _F8, _I8, _I8], Batch)

# rule(handles, latency, params): fills budget[slot] for every decoding slot, with 0 <= budget <=
# MAX_DRAFT. handles: of batch, plan and budget (policies/handles.py); latency and params: what a
# forward is said to cost.
RULE_SIGNATURE = types.void(_I8, LATENCY, _F8)
RULE = types.FunctionType(RULE_SIGNATURE)


def empty_batch(prompt_len: np.ndarray, cap: np.ndarray, group: np.ndarray | None = None) -> Batch:
    """A batch of len(prompt_len) requests of which none has started, without groups if none are
    given.
    """
    n = len(prompt_len)

    def zeros() -> np.ndarray:
        return np.zeros(n, np.int32)

    counts = np.zeros(COUNTS, np.int64)
    counts[NEXT_LONGEST] = MAX_DRAFT
    return Batch(
        slots=zeros(),
        prompt_len=np.ascontiguousarray(prompt_len, np.int32),
        cap=np.ascontiguousarray(cap, np.int32),
        generated=zeros(),
        forwards=zeros(),
        drafted=zeros(),
        accepted=zeros(),
        group=np.full(n, -1, np.int32) if group is None else np.ascontiguousarray(group, np.int32),
        ended=zeros(),
        offered=zeros(),
        labels_at=np.zeros(n, np.int64),
        labels=read_only(np.zeros(0, np.uint8)),
        chances=np.zeros(LABELS),
        last=np.zeros(LASTS, np.int64),
        counts=counts,
    )


def read_only(array: np.ndarray) -> np.ndarray:
    """A view typed as compiled loops take what they only read."""
    view = array.view()
    view.flags.writeable = False
    return view
