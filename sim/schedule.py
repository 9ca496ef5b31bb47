"""Who takes part in a forward and with how many tokens: vLLM V1's scheduler, compiled.

Running requests first, in order of admission, then admissions; see sim/decode.py for the rules and
vllm/v1/core/sched/scheduler.py for the original.
"""

import numpy as np

from ..policies.compiled import jit
from .state import (
    BLOCK,
    DECODE,
    FORWARD_TOKENS,
    FREE,
    HEAD,
    IN_PREFILL,
    LONGEST_DRAFT,
    PREEMPTED,
    PREFILL,
    QUEUED,
    RUNNING,
    SEATS,
    TAIL,
)


@jit(inner=True)
def _draft_length(batch, state, limits, drafted, offsets, i):
    g = batch.generated[i]
    d = min(state.budget[i], np.int32(drafted[offsets[i] + g]))
    return max(0, min(d, limits[LONGEST_DRAFT], batch.cap[i] - g - 1))


@jit(inner=True)
def preempt_last(batch, state):
    """vLLM's preemption by recomputation: the request admitted last gives everything back."""
    state.n[RUNNING] -= 1
    i = state.running[state.n[RUNNING]]
    state.n[FREE] += state.blocks[i]
    state.blocks[i] = 0
    state.computed[i] = 0
    state.n[IN_PREFILL] -= state.phase[i] == PREFILL
    state.phase[i] = QUEUED
    state.n[HEAD] -= 1
    state.queue[state.n[HEAD]] = i
    state.preemptions[i] += 1
    state.n[PREEMPTED] += 1
    return i


@jit(inner=True)
def schedule(batch, state, limits, drafted, offsets):
    """Fill state.scheduled for this forward; how many of state.running take part."""
    room = limits[FORWARD_TOKENS]
    block = limits[BLOCK]
    preempted = False
    j = 0
    while j < state.n[RUNNING] and room > 0:
        i = state.running[j]
        if state.phase[i] == DECODE:
            computed = batch.prompt_len[i] + batch.generated[i] - 1
            tokens = 1 + _draft_length(batch, state, limits, drafted, offsets, i)
        else:
            computed = state.computed[i]
            tokens = batch.prompt_len[i] + state.head[i] + batch.generated[i] - computed
        tokens = min(tokens, room)
        need = (computed + tokens - 1) // block + 1 - state.blocks[i]
        victim = -1
        while need > state.n[FREE] and victim != i:
            victim = preempt_last(batch, state)
            preempted = True
        if victim == i:
            break
        if need > 0:
            state.n[FREE] -= need
            state.blocks[i] += need
        state.scheduled[i] = tokens
        room -= tokens
        j += 1
    if preempted:
        return j
    while state.n[HEAD] < state.n[TAIL] and state.n[RUNNING] < limits[SEATS] and room > 0:
        i = state.queue[state.n[HEAD]]
        whole = batch.prompt_len[i] + state.head[i] + batch.generated[i]
        if (whole - 1) // block + 1 > state.n[FREE]:
            break  # all of it has to fit, though only the first chunk's blocks are taken now
        tokens = min(whole, room)
        need = (tokens - 1) // block + 1
        state.n[FREE] -= need
        state.blocks[i] = need
        state.scheduled[i] = tokens
        state.phase[i] = PREFILL
        state.n[IN_PREFILL] += 1
        state.n[HEAD] += 1
        state.running[state.n[RUNNING]] = i
        state.n[RUNNING] += 1
        room -= tokens
        j += 1
    return j
