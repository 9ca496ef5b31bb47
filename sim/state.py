"""One replica's requests, queues and log, as the compiled loop keeps them: structures of arrays."""

from typing import NamedTuple

import numpy as np
from numba import types

QUEUED, PREFILL, DECODE, DONE = range(4)  # phase of a request
# state.n
COUNTERS = 12
(RUNNING, HEAD, TAIL, FREE, FORWARDS, TOKENS, DRAFTED, ACCEPTED, PREEMPTED, LOGGED, IN_PREFILL,
 OUTSIDE) = range(COUNTERS)  # fmt: skip
# limits
SEATS, FORWARD_TOKENS, BLOCK, LONGEST_DRAFT, BLOCKS, MOST_FORWARDS = range(6)
UNLIMITED = 1 << 60
# columns of the log
LOG_COLUMNS = (
    "running", "waiting", "tokens", "requests", "drafted", "accepted", "kv_tokens", "pairs",
    "prefill_tokens",
)  # fmt: skip
POSITION_BIN = 128  # output tokens
# why the loop came back
IDLE, UNTIL, LOG_FULL, PAUSED = range(4)


class State(NamedTuple):
    """One replica's requests and queues; N requests in all."""

    output_len: np.ndarray  # int32[N]: recorded, end token included
    computed: np.ndarray  # int32[N]: prefill tokens in the KV cache (prefilling requests)
    blocks: np.ndarray  # int32[N]: KV blocks held
    phase: np.ndarray  # int8[N]
    scheduled: np.ndarray  # int32[N]: tokens in this forward
    budget: np.ndarray  # int32[N]: the rule's answer
    head: np.ndarray  # int32[N]: tokens to be verified with the prompt (0 once they were)
    head_matched: np.ndarray  # int32[N]: of which are accepted
    preemptions: np.ndarray  # int32[N]
    running: np.ndarray  # int32[N]: first n[RUNNING], in order of admission
    queue: np.ndarray  # int32[N]: n[HEAD]:n[TAIL] wait
    n: np.ndarray  # int64[COUNTERS]
    clock: np.ndarray  # float64[1] s
    finish_s: np.ndarray  # float64[N]


class Shape(NamedTuple):
    """What there is to drafts besides how long they are and how much of them matches."""

    ranks: np.ndarray  # uint8: of trees' matched tokens (policies/profile.py); empty for chains
    rank_starts: np.ndarray  # int64: where each position's ranks begin
    cost: np.ndarray  # float64[4] (policies/drafters/cost.py)
    label_starts: np.ndarray  # int64: where each position's labels begin; empty for a budget that
    # does not see drafts


class Log(NamedTuple):
    """One row per forward, and sums by position in the rollout; without rows nothing is logged."""

    seconds: np.ndarray  # float64[M, 2]: begin, duration
    counts: np.ndarray  # int64[M, len(LOG_COLUMNS)]
    positions: np.ndarray  # int64[B, 3]: decode forwards, drafted, accepted at g // POSITION_BIN


I4, I8, F8 = types.int32[::1], types.int64[::1], types.float64[::1]
STATE = types.NamedTuple(
    [I4, I4, I4, types.int8[::1], I4, I4, I4, I4, I4, I4, I4, I8, F8, F8], State
)
LOG = types.NamedTuple([types.float64[:, ::1], types.int64[:, ::1], types.int64[:, ::1]], Log)
# Profiles may be views of read-only memory shared between processes.
U1 = types.Array(types.uint8, 1, "C", readonly=True)
COVERED = types.float64[:, ::1]
OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
SHAPE = types.NamedTuple([U1, OFFSETS, F8, OFFSETS], Shape)
