"""What is noted of a forward, compiled: its row in the log, where drafts were made, and whether it
was measured. See sim/decode.py.
"""

from ..policies.batch import (
    LAST_ACCEPTED,
    LAST_DRAFTED,
    LAST_KV,
    LAST_PAIRS,
    LAST_PREFILL,
    LAST_REQUESTS,
    LAST_TOKENS,
)
from ..policies.compiled import jit
from .state import LOGGED, POSITION_BIN, RUNNING


@jit(inner=True)
def record(
    log, state, begin, waiting, tokens, requests, drafted, accepted, kv_tokens, pairs, prefill
):
    """The forward that has just run, as the log's next row."""
    row = state.n[LOGGED]
    log.seconds[row, 0] = begin
    log.seconds[row, 1] = state.clock[0] - begin
    counts = log.counts
    counts[row, 0], counts[row, 1], counts[row, 2] = state.n[RUNNING], waiting, tokens
    counts[row, 3], counts[row, 4], counts[row, 5] = requests, drafted, accepted
    counts[row, 6], counts[row, 7], counts[row, 8] = kv_tokens, pairs, prefill
    state.n[LOGGED] = row + 1


@jit(inner=True)
def locate(log, g, drafted, accepted):
    """Draft tokens of a request with g output tokens."""
    row = min(g // POSITION_BIN, len(log.positions) - 1)
    log.positions[row, 0] += 1
    log.positions[row, 1] += drafted
    log.positions[row, 2] += accepted


@jit(inner=True)
def unmeasured(covered, tokens, requests, kv_tokens, pairs, prefill_tokens):
    """1 for a forward in which one of these lies outside what was measured, else 0."""
    seen = (
        covered[0, 0] <= tokens <= covered[0, 1]
        and covered[1, 0] <= requests <= covered[1, 1]
        and covered[2, 0] <= kv_tokens <= covered[2, 1]
        and covered[3, 0] <= pairs <= covered[3, 1]
        and covered[4, 0] <= prefill_tokens <= covered[4, 1]
    )
    return 0 if seen else 1


@jit(inner=True)
def remember(last, tokens, requests, kv_tokens, pairs, prefill, drafted, accepted):
    """The forward that has just run, for the rule of the next one."""
    last[LAST_TOKENS], last[LAST_REQUESTS], last[LAST_KV] = tokens, requests, kv_tokens
    last[LAST_PAIRS], last[LAST_PREFILL] = pairs, prefill
    last[LAST_DRAFTED], last[LAST_ACCEPTED] = drafted, accepted
