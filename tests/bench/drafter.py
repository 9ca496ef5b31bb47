"""Suffix drafts beside arctic-inference: the same recorded rollouts, in the same run."""

from __future__ import annotations

import time

import numpy as np

import longtail
from longtail.policies.drafters.suffix import Suffix
from longtail.traces.rollouts import Lengths, Tokens

DEPTH, LONGEST, FACTOR, MIN_PROB = 24, 16, 1.0, 0.1


def main(limit: int = 400) -> None:
    """Print microseconds per draft call and per indexed token; the sample's last two RL steps."""
    trace = longtail.read_trace("sample")
    steps = trace.rl_steps[-2:]
    lengths, tokens = trace.lengths(steps), trace.tokens(steps)
    options = Suffix(scope="both", depth=DEPTH, factor=FACTOR, min_prob=MIN_PROB, max=LONGEST)
    history = np.flatnonzero(lengths.rl_step == steps[0])
    later = np.flatnonzero(lengths.rl_step == steps[1])[:limit]

    print(f"\n{'drafter':34} {'us/draft':>9} {'us/token indexed':>17} {'drafted':>9}")
    replayed(options, lengths, tokens)
    ours(options, lengths, tokens, history[:2], later[:2], 1, quiet=True)  # compiles
    live = ours(options, lengths, tokens, history, later, 1)
    ours(options, lengths, tokens, history, later, 32)
    ours(options, lengths, tokens, history, later, len(later))
    rival = arctic(lengths, tokens, history, later)
    if rival:
        print(
            f"one request at a time: {rival[0] / live[0]:.1f}x arctic's speed per draft, "
            f"{rival[1] / live[1]:.1f}x per token indexed"
        )


def replayed(options: Suffix, lengths: Lengths, tokens: Tokens) -> None:
    """The profile stage: append, follow and draft at every position, one thread."""
    options.profile(lengths, tokens)
    began = time.perf_counter()
    profile = options.profile(lengths, tokens)
    took = time.perf_counter() - began
    print(
        f"{'profile (draft + index, 1 thread)':34} {took / len(profile.drafted) * 1e6:9.2f}"
        f" {'(included)':>17} {int(profile.drafted.sum()):9}"
    )


def ours(
    options: Suffix,
    lengths: Lengths,
    tokens: Tokens,
    history: np.ndarray,
    later: np.ndarray,
    batch: int,
    quiet: bool = False,
) -> tuple[float, float]:
    """The live face: `batch` requests advance together by one token per call."""
    live = options.live()
    for i in history:
        live.begin(int(i), int(lengths.prompt[i]), tokens.prompt(i))
        live.extend([int(i)], [tokens.output(i)])
        live.finish(int(i))
    live.start_step(1)
    draft_s = index_s = 0.0
    drafts = indexed = drafted = 0
    for first in range(0, len(later), batch):
        group = [int(i) for i in later[first : first + batch]]
        for i in group:
            live.begin(i, int(lengths.prompt[i]), tokens.prompt(i))
        longest = int(lengths.output_len[group].max())
        for g in range(1, longest):
            now = [i for i in group if lengths.output_len[i] > g]
            new = [tokens.output(i)[g - 1 : g] for i in now]
            t0 = time.perf_counter()
            live.extend(now, new)
            t1 = time.perf_counter()
            answers = live.draft(now)
            t2 = time.perf_counter()
            index_s, draft_s = index_s + t1 - t0, draft_s + t2 - t1
            drafts, indexed = drafts + len(now), indexed + len(now)
            drafted += sum(map(len, answers))
        for i in group:
            live.finish(i)
    us = draft_s / drafts * 1e6, index_s / indexed * 1e6
    if not quiet:
        print(f"{f'live, {batch} requests a call':34} {us[0]:9.2f} {us[1]:17.2f} {drafted:9}")
    return us


def arctic(
    lengths: Lengths,
    tokens: Tokens,
    history: np.ndarray,
    later: np.ndarray,
) -> tuple[float, float] | None:
    """SuffixDecodingCache, one per problem, fed and asked as vLLM does."""
    try:
        from arctic_inference.suffix_decoding import SuffixDecodingCache
    except ImportError:
        print("arctic-inference is not installed: no rival in this run")
        return None
    caches = {int(p): SuffixDecodingCache(DEPTH) for p in np.unique(lengths.prompt)}
    for i in history:
        cache = caches[int(lengths.prompt[i])]
        cache.start_request(int(i), tokens.prompt(i))
        cache.add_active_response(int(i), np.ascontiguousarray(tokens.output(i)))
        cache.stop_request(int(i))
    draft_s = index_s = 0.0
    drafts = drafted = 0
    for i in map(int, later):
        cache = caches[int(lengths.prompt[i])]
        cache.start_request(i, tokens.prompt(i))
        cache.evict_cached_response(i)  # its own tokens go to its own tree only
        text = np.concatenate([tokens.prompt(i), tokens.output(i)]).astype(np.int32)
        begin = len(tokens.prompt(i))
        for g in range(1, len(text) - begin):
            new, context = (
                text[begin + g - 1 : begin + g],
                text[max(0, begin + g - DEPTH) : begin + g],
            )
            t0 = time.perf_counter()
            cache.add_active_response(i, new)
            t1 = time.perf_counter()
            draft = cache.speculate(
                i, context, max_spec_tokens=LONGEST, max_spec_factor=FACTOR, min_token_prob=MIN_PROB
            )
            t2 = time.perf_counter()
            index_s, draft_s = index_s + t1 - t0, draft_s + t2 - t1
            drafts, drafted = drafts + 1, drafted + len(draft.token_ids)
        cache.stop_request(i)
    us = draft_s / drafts * 1e6, index_s / drafts * 1e6
    print(f"{'arctic-inference':34} {us[0]:9.2f} {us[1]:17.2f} {drafted:9}")
    return us


if __name__ == "__main__":
    main()
