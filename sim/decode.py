"""The compiled decode loop: one replica's forwards, from one decision of the outside world to the
next.

In: a replica's state, a drafter's profile, a budget rule and a latency model (both called through
their address), engine limits, and the time until which to run. The loop schedules as vLLM V1 does
(vllm/v1/core/sched/scheduler.py): running requests first, in order of admission, each 1 + d tokens
if it decodes or a chunk of its prefill; then admissions while tokens, seats and KV blocks (for the
whole of what is to be prefilled: `scheduler_reserve_full_isl`) last and nobody was preempted in
this forward. Too few blocks: the request admitted last loses its KV cache and goes back to the head
of the queue, to be recomputed. It knows the recorded lengths; the rule does not.

Acceptance, for a draft of d tokens of which the first m equal the recorded ones: a = min(m, d) are
accepted and one more token comes for free, unless the last accepted one was the rollout's end.
"""

import numpy as np
from numba import types

from ..policies.batch import (
    BATCH,
    DECODING,
    KV_TOKENS,
    NEXT_LONGEST,
    PREFILLING,
    RESTART,
    RULE,
    WAITING,
)
from ..policies.compiled import jit
from ..policies.drafters.cost import drafting_s
from ..policies.latency import LATENCY
from ..policies.profile import accepted_of
from .jump import decode_jump, retire
from .schedule import preempt_last, schedule
from .state import (
    ACCEPTED,
    BLOCK,
    BLOCKS,
    COVERED,
    DECODE,
    DONE,
    DRAFTED,
    F8,
    FORWARD_TOKENS,
    FORWARDS,
    FREE,
    HEAD,
    I8,
    IDLE,
    IN_PREFILL,
    LOG,
    LOG_FULL,
    LOGGED,
    LONGEST_DRAFT,
    MOST_FORWARDS,
    OFFSETS,
    OUTSIDE,
    PAUSED,
    RUNNING,
    SEATS,
    SHAPE,
    STATE,
    TAIL,
    TOKENS,
    U1,
    UNLIMITED,
    UNTIL,
)
from .tally import locate, record, remember, unmeasured


@jit(inner=True)
def _offer(batch, drafted, offsets, label_starts, longest, n):
    """Show the rule the drafts of the n who decode; returns their tokens, and the longest's."""
    longest = min(longest, batch.counts[NEXT_LONGEST])
    made, deepest = 0, np.int32(0)
    for j in range(n):
        i = batch.slots[j]
        g = batch.generated[i]
        at = offsets[i] + g
        most = min(np.int32(longest), batch.cap[i] - g - np.int32(1))
        batch.offered[i] = max(min(np.int32(drafted[at]), most), np.int32(0))
        batch.labels_at[i] = label_starts[at]
        made += batch.offered[i]
        deepest = max(deepest, batch.offered[i])
    return made, deepest


@jit(inner=True)
def _restart(batch, state):
    """Everybody who runs goes back to the queue, to be prefilled again."""
    while state.n[RUNNING] > 0:
        preempt_last(batch, state)
    batch.counts[RESTART] = 0


@jit(inner=True)
def _decode_forwards(
    batch, handles, state, drafted, matched, offsets, shape, rule, told, told_params, latency,
    params, covered, limits, until_s, log,
):  # fmt: skip
    """Forwards in which everybody decodes and no limit can bind, as many as there are in a row."""
    n = state.n[RUNNING]
    waiting = state.n[TAIL] - state.n[HEAD]
    bounded = limits[BLOCKS] < UNLIMITED
    logging, sees = len(log.seconds) > 0, len(shape.label_starts) > 0
    longest = np.int32(limits[LONGEST_DRAFT])
    block = limits[BLOCK]
    margin = limits[LONGEST_DRAFT] // block + 1
    # Local names: the arrays' addresses stay in registers over all forwards.
    slots, prompt_len, cap = batch.slots, batch.prompt_len, batch.cap
    generated, forwards = batch.generated, batch.forwards
    all_drafted, all_accepted, counts = batch.drafted, batch.accepted, batch.counts
    budget, output_len, blocks = state.budget, state.output_len, state.blocks
    offered, labels_at, last = batch.offered, batch.labels_at, batch.last
    label_starts, ended = shape.label_starts, batch.ended
    # (Nor is `shape` passed on from here: for every request that would cost more than the rest.)
    ranks, rank_starts, trees = shape.ranks, shape.rank_starts, len(shape.ranks) > 0
    clock = state.clock[0]
    free = state.n[FREE]
    done, tokens, sum_drafted, sum_accepted, outside = 0, 0, 0, 0, 0
    finished = False
    held = 0
    for j in range(n):
        held += prompt_len[slots[j]] + generated[slots[j]]
    counts[WAITING] = waiting
    counts[PREFILLING] = 0
    while n > 0 and clock < until_s and n * margin <= free and not (finished and waiting > 0):
        finished = False
        if done == limits[MOST_FORWARDS]:
            break
        if logging and state.n[LOGGED] == len(log.seconds):
            break
        counts[DECODING] = n
        counts[KV_TOKENS] = held
        made, deepest, now = 0, np.int32(0), longest
        if sees:
            now = min(longest, np.int32(counts[NEXT_LONGEST]))
            for j in range(n):
                i = np.uint32(slots[j])
                g = generated[i]
                at = np.uint64(offsets[i] + g)
                most = min(now, cap[i] - g - np.int32(1))
                offered[i] = max(min(np.int32(drafted[at]), most), np.int32(0))
                labels_at[i] = label_starts[at]
                made += offered[i]
                deepest = max(deepest, offered[i])
        rule(handles, told, told_params)
        if counts[RESTART] != 0:
            break
        total, good, kv, pairs = 0, 0, 0, 0
        for j in range(n):
            i = np.uint32(slots[j])
            g = generated[i]
            at = np.uint64(offsets[i] + g)
            d = min(min(budget[i], np.int32(drafted[at])), min(now, cap[i] - g - np.int32(1)))
            d = max(d, np.int32(0))
            a = min(d, np.int32(matched[at]))
            if trees and a > 0:
                a = accepted_of(d, np.int32(matched[at]), ranks, rank_starts[at])
            left = output_len[i] - g
            gain = min(a + np.int32(1), left)
            generated[i] = g + gain
            forwards[i] += 1
            all_drafted[i] += d
            all_accepted[i] += a
            total += d
            if not sees:
                deepest = max(deepest, d)
            good += a
            held += gain
            reach = prompt_len[i] + g + d
            kv += reach
            pairs += (d + 1) * (2 * reach - d) // 2
            finished |= gain == left
            if bounded:
                need = (reach - 1) // block + 1
                if need > blocks[i]:
                    free -= need - blocks[i]
                    blocks[i] = need
            if logging:
                locate(log, g, d, a)
        begin = clock
        clock = begin + latency(n + total, n, kv, pairs, 0, total, params)
        clock += drafting_s(shape.cost, made if sees else total, deepest)
        outside += unmeasured(covered, n + total, n, kv, pairs, 0)
        remember(last, n + total, n, kv, pairs, 0, total, good)
        done += 1
        tokens += n + total
        sum_drafted += total
        sum_accepted += good
        if logging:
            state.clock[0] = clock
            record(log, state, begin, waiting, n + total, n, total, good, kv, pairs, 0)
        if finished:
            kept = 0
            for j in range(n):
                i = np.uint32(slots[j])
                if generated[i] == output_len[i]:
                    state.phase[i] = DONE
                    ended[i] = output_len[i]
                    state.finish_s[i] = clock
                    free += blocks[i]
                    blocks[i] = 0
                    held -= prompt_len[i] + output_len[i]
                else:
                    state.running[kept] = i
                    slots[kept] = i
                    kept += 1
            n = kept
            state.n[RUNNING] = n
    state.clock[0] = clock
    state.n[FREE] = free
    state.n[FORWARDS] += done
    state.n[TOKENS] += tokens
    state.n[DRAFTED] += sum_drafted
    state.n[ACCEPTED] += sum_accepted
    state.n[OUTSIDE] += outside


@jit(inner=True)
def _forward(
    batch, handles, state, drafted, matched, offsets, shape, rule, told, told_params, latency,
    params, covered, limits, log,
):  # fmt: skip
    """One forward in full: schedule, run, postprocess."""
    decoding, held = 0, 0
    for j in range(state.n[RUNNING]):
        i = state.running[j]
        held += batch.prompt_len[i] + batch.generated[i]
        if state.phase[i] == DECODE:
            batch.slots[decoding] = i
            decoding += 1
    batch.counts[DECODING] = decoding
    batch.counts[WAITING] = state.n[TAIL] - state.n[HEAD]
    batch.counts[PREFILLING] = state.n[IN_PREFILL]
    batch.counts[KV_TOKENS] = held
    sees, made, deepest = len(shape.label_starts) > 0, 0, 0
    if decoding > 0 and limits[LONGEST_DRAFT] > 0:
        if sees:
            made, deepest = _offer(
                batch, drafted, offsets, shape.label_starts, limits[LONGEST_DRAFT], decoding
            )
        rule(handles, told, told_params)
        if batch.counts[RESTART] != 0:
            return
        if sees:
            for j in range(decoding):
                i = batch.slots[j]
                state.budget[i] = min(state.budget[i], batch.offered[i])

    requests = schedule(batch, state, limits, drafted, offsets)
    if requests == 0:
        return  # everybody was preempted: nothing runs, no time passes

    tokens, kv, pairs, prefill, total, good = 0, 0, 0, 0, 0, 0
    for j in range(requests):
        i = state.running[j]
        mine = state.scheduled[i]
        if state.phase[i] == DECODE:
            reach = batch.prompt_len[i] + batch.generated[i] - 1 + mine
            total += mine - 1
            if not sees:
                deepest = max(deepest, mine - 1)
        else:
            reach = state.computed[i] + mine
            prefill += mine
        tokens += mine
        kv += reach
        pairs += mine * (2 * np.int64(reach) - mine + 1) // 2
    begin = state.clock[0]
    state.clock[0] = begin + latency(tokens, requests, kv, pairs, prefill, total, params)
    state.clock[0] += drafting_s(shape.cost, made if sees else total, deepest)
    state.n[OUTSIDE] += unmeasured(covered, tokens, requests, kv, pairs, prefill)

    finished, heads = False, 0
    for j in range(requests):
        i = state.running[j]
        g = batch.generated[i]
        if state.phase[i] == DECODE:
            d = state.scheduled[i] - 1
            at = offsets[i] + g
            a = min(d, np.int32(matched[at]))
            if a > 0 and len(shape.ranks) > 0:
                a = accepted_of(d, matched[at], shape.ranks, shape.rank_starts[at])
            gain = min(np.int32(a) + np.int32(1), state.output_len[i] - g)
            batch.drafted[i] += d
            batch.accepted[i] += a
            good += a
            if len(log.seconds) > 0 and limits[LONGEST_DRAFT] > 0:
                locate(log, g, d, a)
        else:
            state.computed[i] += state.scheduled[i]
            if state.computed[i] < batch.prompt_len[i] + state.head[i] + g:
                continue  # a chunk, more to come
            state.phase[i] = DECODE
            state.n[IN_PREFILL] -= 1
            gain = np.int32(1)
            if state.head[i] > 0:
                a = state.head_matched[i]
                gain = min(np.int32(a) + np.int32(1), state.output_len[i] - g)
                batch.drafted[i] += state.head[i]
                batch.accepted[i] += a
                heads += state.head[i]
                good += a
                state.head[i] = 0
                kept = (batch.prompt_len[i] + g + a - 1) // limits[BLOCK] + 1
                if kept < state.blocks[i]:  # what was rejected is given back
                    state.n[FREE] += state.blocks[i] - kept
                    state.blocks[i] = kept
        batch.generated[i] = g + gain
        batch.forwards[i] += 1
        finished |= batch.generated[i] == state.output_len[i]
    state.n[FORWARDS] += 1
    total += heads
    remember(batch.last, tokens, requests, kv, pairs, prefill, total, good)
    state.n[TOKENS] += tokens
    state.n[DRAFTED] += total
    state.n[ACCEPTED] += good
    if len(log.seconds) > 0:
        waiting = state.n[TAIL] - state.n[HEAD]
        record(log, state, begin, waiting, tokens, requests, total, good, kv, pairs, prefill)
    if finished:
        retire(batch, state)
    else:
        for j in range(state.n[RUNNING]):
            batch.slots[j] = state.running[j]


@jit(
    types.int64(
        BATCH, I8, STATE, U1, U1, OFFSETS, SHAPE, RULE, LATENCY, F8, LATENCY, F8, COVERED, I8,
        types.float64, LOG,
    ),
)  # fmt: skip
def run(
    batch, handles, state, drafted, matched, offsets, shape, rule, told, told_params, latency,
    params, covered, limits, until_s, log,
):  # fmt: skip
    """Run forwards until nothing is left to do, `until_s` is reached, the log is full, or
    limits[MOST_FORWARDS] are done.

    batch, state: as documented on the types; changed in place. handles: what the rule takes
    (policies/handles.py). drafted, matched: uint8,
    offsets: int64[N + 1]: the drafter's profile of these N requests; shape: of its trees, and what
    drafting costs: whatever is verified, or, if the rule sees drafts, whatever is at hand. told,
    told_params: what the rule is told that forwards cost. covered:
    float64[5, 2], the range of the latency model's arguments (policies/latency). limits: int64[6]:
    seats (max_num_seqs), tokens per forward (max_num_batched_tokens), tokens per KV block, K, KV
    blocks, forwards to be done (UNLIMITED: no limit). A forward that has begun is finished, so the
    clock may end past `until_s`. Returns IDLE,
    UNTIL, LOG_FULL or PAUSED.
    """
    longest = limits[LONGEST_DRAFT]
    margin = longest // limits[BLOCK] + 1  # blocks one request can need at most in one forward
    first = state.n[FORWARDS]
    while True:
        n = state.n[RUNNING]
        waiting = state.n[TAIL] - state.n[HEAD]
        if n == 0 and waiting == 0:
            return IDLE
        if state.clock[0] >= until_s:
            return UNTIL
        if len(log.seconds) > 0 and state.n[LOGGED] == len(log.seconds):
            return LOG_FULL
        if state.n[FORWARDS] - first >= limits[MOST_FORWARDS]:
            return PAUSED
        if (
            n > 0
            and state.n[IN_PREFILL] == 0
            and (waiting == 0 or n == limits[SEATS])
            and n * (longest + 1) <= limits[FORWARD_TOKENS]
            and n * margin <= state.n[FREE]
        ):
            if longest == 0:
                decode_jump(batch, state, latency, params, covered, limits, until_s, log)
            else:
                _decode_forwards(
                    batch, handles, state, drafted, matched, offsets, shape, rule, told,
                    told_params, latency, params, covered, limits, until_s, log,
                )  # fmt: skip
        else:
            _forward(
                batch, handles, state, drafted, matched, offsets, shape, rule, told, told_params,
                latency, params, covered, limits, log,
            )  # fmt: skip
        if batch.counts[RESTART] != 0:
            _restart(batch, state)
