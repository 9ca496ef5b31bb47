"""Forwards without drafts, many in one go: nothing changes until somebody finishes. See
sim/decode.py.
"""

import numpy as np

from ..policies.compiled import jit
from .state import (
    BLOCK,
    BLOCKS,
    DONE,
    FORWARDS,
    FREE,
    HEAD,
    LOGGED,
    MOST_FORWARDS,
    OUTSIDE,
    RUNNING,
    TAIL,
    TOKENS,
    UNLIMITED,
)
from .tally import record, unmeasured


@jit(inner=True)
def retire(batch, state):
    """Take out the running requests that have reached their end, keeping the others' order."""
    kept = 0
    for j in range(state.n[RUNNING]):
        i = state.running[j]
        if batch.generated[i] == state.output_len[i]:
            state.phase[i] = DONE
            batch.ended[i] = state.output_len[i]
            state.finish_s[i] = state.clock[0]
            state.n[FREE] += state.blocks[i]
            state.blocks[i] = 0
        else:
            state.running[kept] = i
            batch.slots[kept] = i
            kept += 1
    state.n[RUNNING] = kept


@jit(inner=True)
def decode_jump(batch, state, latency, params, covered, limits, until_s, log):
    """Forwards without drafts until somebody finishes: the batch does not change, only KV grows."""
    n = state.n[RUNNING]
    steps = np.int64(UNLIMITED)
    kv = 0
    for j in range(n):
        i = state.running[j]
        steps = min(steps, state.output_len[i] - batch.generated[i])
        kv += batch.prompt_len[i] + batch.generated[i]
    if limits[BLOCKS] < UNLIMITED:
        steps = min(steps, state.n[FREE] // n * limits[BLOCK])
    if len(log.seconds) > 0:
        steps = min(steps, len(log.seconds) - state.n[LOGGED])
    steps = min(steps, limits[MOST_FORWARDS])
    done, outside = 0, 0
    while done < steps and state.clock[0] < until_s:
        begin = state.clock[0]
        state.clock[0] = begin + latency(n, n, kv, kv, 0, 0, params)
        outside += unmeasured(covered, n, n, kv, kv, 0)
        if len(log.seconds) > 0:
            record(log, state, begin, state.n[TAIL] - state.n[HEAD], n, n, 0, 0, kv, kv, 0)
        kv += n
        done += 1
    finished = False
    for j in range(n):
        i = state.running[j]
        batch.generated[i] += done
        batch.forwards[i] += done
        finished |= batch.generated[i] == state.output_len[i]
        if limits[BLOCKS] < UNLIMITED:
            need = (batch.prompt_len[i] + batch.generated[i] - 2) // limits[BLOCK] + 1
            if need > state.blocks[i]:
                state.n[FREE] -= need - state.blocks[i]
                state.blocks[i] = need
    state.n[FORWARDS] += done
    state.n[TOKENS] += done * n
    state.n[OUTSIDE] += outside
    if finished:
        retire(batch, state)
