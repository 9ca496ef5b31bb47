"""The index of earlier rollouts beside arctic-inference's suffix tree, by size, in one run.

The text is the bundled sample's (its vocabulary is small: few continuations to choose from); where
more is wanted, copies of it in which all tokens have other ids, so that the index grows and what is
looked up does not. `python -m tests.bench.index TRACE` takes another trace. A draft is what one
costs per request and forward: finding where its text stands, and drafting. The rival has no call
for a batch. What is dropped is the oldest; the rival can take out any text.

The last lines are both as an engine calls them, all included: what a request costs per forward in
which it gets one token, looks into its own text and into history, and is learnt from in the end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

import longtail
from longtail.policies.drafters.suffix_history import SuffixHistory
from longtail.policies.drafters.suffix_live import LiveSuffix
from longtail.policies.drafters.suffix_rule import HISTORY, OWN, SuffixRule
from longtail.traces import find_trace

DEPTH, LONGEST, FACTOR, MIN_PROB = 24, 16, 1.0, 0.1
RULE = SuffixRule(HISTORY, True, DEPTH, LONGEST, FACTOR, MIN_PROB)
SIZES = (100_000, 1_000_000, 10_000_000)
ASKED, POSITIONS, BATCH = 64, 400, 32  # rollouts that are drafted for, tokens of each, at a time
DROPPED = 0.02  # of the rollouts


def main(trace: str = "sample") -> None:
    """Print microseconds and bytes per token at each size, and the ratio to arctic-inference."""
    texts, asked = read(trace)
    try:
        from arctic_inference.suffix_decoding._C import SuffixTree
    except ImportError:
        SuffixTree = None
        print("arctic-inference is not installed: no rival in this run")
    print(
        f"\n{'index of ' + trace:22} {'tokens':>10} {'us/token added':>15} {'us/draft':>9} "
        f"{'alone':>6} {'after a drop':>13} {'bytes/token':>12} {'us/token dropped':>17} "
        f"{'drafted':>9} {'accepted':>9}"
    )
    ours(texts[:3], asked[:2], quiet=True)  # compiles
    for size in SIZES:
        some = grown(texts, size)
        mine = ours(some, asked)
        if SuffixTree is not None:
            rival = arctic(SuffixTree, some, asked)
            added, draft, alone, _, held, dropped = (
                f"{b / a:.1f}x" for a, b in zip(mine, rival, strict=True)
            )
            print(f"{'':33} {added:>15} {draft:>9} {alone:>6} {'':13} {held:>12} {dropped:>17}")
    own(asked, SuffixTree)
    engine(grown(texts, SIZES[1]), asked, SuffixTree is not None)


def read(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Rollouts of all RL steps but the last in trace order, and some of the last one."""
    trace = longtail.read_trace(str(find_trace(name)))
    lengths, tokens = trace.lengths(None), trace.tokens(None)
    last = lengths.rl_step == trace.rl_steps[-1]
    rows = np.flatnonzero(~last)
    later = np.random.default_rng(0).permutation(np.flatnonzero(last))[:ASKED]
    return [tokens.output(i) for i in rows], [tokens.output(i)[:POSITIONS] for i in later]


def grown(texts: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    """The latest rollouts, `size` tokens of them; copies with other ids before them if need be."""
    width = 1 + max(int(text.max()) for text in texts)
    some: list[np.ndarray] = []
    total = 0
    while total < size:
        shift = width * (len(some) // len(texts))
        for text in reversed(texts):
            some.append((text + shift).astype(np.int32))
            total += len(text)
            if total >= size:
                break
    return some[::-1]


def show(name: str, tokens: int, figures: Sequence[float], drafted: int, accepted: int) -> None:
    """One line."""
    added, draft, alone, after, held, dropped = figures
    print(
        f"{name:22} {tokens:10,} {added:15.2f} {draft:9.2f} {alone:6.2f} {after:13.2f} "
        f"{held:12.1f} {dropped:17.3f} {drafted:9,} {accepted:9,}"
    )


def ours(
    texts: Sequence[np.ndarray], asked: Sequence[np.ndarray], quiet: bool = False
) -> tuple[float, ...]:
    """One corpus of all rollouts, `BATCH` requests a call; each rollout an RL step of its own."""
    tokens, took = sum(map(len, texts)), []
    for _ in range(repeats(tokens)):
        history = SuffixHistory(replace(RULE, window=len(texts) + 1))
        began = time.perf_counter()
        for step, text in enumerate(texts):
            history.add(step, "", text)
        took.append(time.perf_counter() - began)
    held = history.nbytes / tokens
    live = LiveSuffix(history.rule, history)
    live.start_step(len(texts))
    draft_us, drafted, accepted = drafting(live, asked, BATCH)
    alone_us, _, _ = drafting(live, asked[:4], 1)
    gone = max(1, int(DROPPED * len(texts)))
    began = time.perf_counter()
    history.start_step(len(texts) + 1 + gone)
    dropped = (time.perf_counter() - began) / sum(map(len, texts[:gone]))
    after_us, _, _ = drafting(live, [text[: DEPTH + 1] for text in asked], len(asked))
    figures = (1e6 * median(took) / tokens, draft_us, alone_us, after_us, held, 1e6 * dropped)
    if not quiet:
        show("longtail", tokens, figures, drafted, accepted)
    return figures


def drafting(live: LiveSuffix, asked: Sequence[np.ndarray], batch: int) -> tuple[float, int, int]:
    """(microseconds per request and forward, drafted, accepted): `batch` requests together, one
    token a forward.
    """
    took, drafts, drafted, accepted = 0.0, 0, 0, 0
    for first in range(0, len(asked), batch):
        group = range(first, min(first + batch, len(asked)))
        for i in group:
            live.begin(i, "", asked[i][:DEPTH])
        for g in range(DEPTH, max(len(asked[i]) for i in group)):
            now = [i for i in group if len(asked[i]) > g]
            new = [asked[i][g : g + 1] for i in now]
            began = time.perf_counter()
            answers = live.draft(now)
            live.extend(now, new)
            took += time.perf_counter() - began
            for i, answer in zip(now, answers, strict=True):
                drafted, accepted = drafted + len(answer), accepted + matching(answer, asked[i], g)
            drafts += len(now)
        for i in group:
            live.finish(i, learn=False)
    return 1e6 * took / max(drafts, 1), drafted, accepted


def arctic(
    tree_class: Any, texts: Sequence[np.ndarray], asked: Sequence[np.ndarray]
) -> tuple[float, ...]:
    """Its tree itself, without the Python around it."""
    tokens, took = sum(map(len, texts)), []
    for _ in range(repeats(tokens)):
        tree = tree_class(DEPTH)
        began = time.perf_counter()
        for i, text in enumerate(texts):
            tree.extend_ndarray(i, text)
        took.append(time.perf_counter() - began)
    held = tree.estimate_memory() / tokens
    draft_s, drafts, drafted, accepted = 0.0, 0, 0, 0
    for text in asked:
        for g in range(DEPTH, len(text)):
            # As ours: matches of up to DEPTH - 1 tokens, none of which begins with the first of all
            context = np.ascontiguousarray(text[max(1, g - DEPTH + 1) : g])
            began = time.perf_counter()
            draft = tree.speculate_ndarray(context, LONGEST, FACTOR, 0.0, MIN_PROB, False)
            draft_s += time.perf_counter() - began
            answer = np.array(draft.token_ids, np.int32)
            drafts, drafted = drafts + 1, drafted + len(answer)
            accepted += matching(answer, text, g)
    gone = max(1, int(DROPPED * len(texts)))
    began = time.perf_counter()
    for i in range(gone):
        tree.remove(i)
    dropped = (time.perf_counter() - began) / sum(map(len, texts[:gone]))
    draft_us = 1e6 * draft_s / drafts
    nothing = float("nan")  # the rival keeps its heads in order all the time
    figures = (1e6 * median(took) / tokens, draft_us, draft_us, nothing, held, 1e6 * dropped)
    show("arctic-inference", tokens, figures, drafted, accepted)
    return figures


def repeats(tokens: int) -> int:
    """How often a corpus is built, for the median."""
    return 5 if tokens < 5_000_000 else 1


def matching(draft: np.ndarray, text: np.ndarray, g: int) -> int:
    """How many tokens of a draft at position g are the rollout's."""
    rest = text[g : g + len(draft)]
    wrong = np.flatnonzero(draft[: len(rest)] != rest)
    return int(wrong[0]) if len(wrong) else len(rest)


def own(asked: Sequence[np.ndarray], tree_class: Any) -> None:
    """A request's own text, one token a forward: what the index costs while it is decoded."""
    for batch in (1, BATCH):
        live = LiveSuffix(replace(RULE, scope=OWN))
        took, tokens = 0.0, 0
        for first in range(0, len(asked), batch):
            group = range(first, min(first + batch, len(asked)))
            for i in group:
                live.begin(i, "", [])
            for a, b in pairwise(range(POSITIONS)):
                now = [i for i in group if len(asked[i]) > a]
                new = [asked[i][a:b] for i in now]
                began = time.perf_counter()
                live.extend(now, new)
                took += time.perf_counter() - began
                tokens += len(now)
        print(f"{f'longtail, own text, {batch} a call':33} {1e6 * took / tokens:15.2f}")
    if tree_class is not None:
        took, tokens = 0.0, 0
        for text in asked:
            tree = tree_class(DEPTH)
            for g in range(len(text)):
                new = text[g : g + 1]
                began = time.perf_counter()
                tree.extend_ndarray(0, new)
                took += time.perf_counter() - began
                tokens += 1
        print(f"{'arctic-inference, own text':33} {1e6 * took / tokens:15.2f}")


def engine(texts: Sequence[np.ndarray], asked: Sequence[np.ndarray], rival: bool) -> None:
    """Own text and history, from the first token of a request to when it has become history."""
    rows = sum(map(len, asked))
    live = LiveSuffix(replace(RULE, scope=HISTORY | OWN))
    for text in texts:
        live.learn("", text)
    live.start_step(1)
    took = 0.0
    for first in range(0, len(asked), BATCH):
        group = range(first, min(first + BATCH, len(asked)))
        new = [asked[i].tolist() for i in group]
        began = time.perf_counter()
        for i in group:
            live.begin(i, "", [])
        for g in range(max(map(len, new))):
            now = [i for i in group if len(new[i - first]) > g]
            live.extend(now, [new[i - first][g : g + 1] for i in now])
            live.draft(now)
        for i in group:
            live.finish(i)
        live.start_step(2)
        took += time.perf_counter() - began
    mine = 1e6 * took / rows
    print(f"{f'longtail, as called, {BATCH} a call':33} {mine:15.2f}")
    if not rival:
        return
    from arctic_inference.suffix_decoding import SuffixDecodingCache

    cache = SuffixDecodingCache(DEPTH)
    for i, text in enumerate(texts):
        cache.start_request(-1 - i, [])
        cache.add_active_response(-1 - i, text)
        cache.stop_request(-1 - i)
    took = 0.0
    for i, text in enumerate(asked):
        new = text.tolist()
        began = time.perf_counter()
        cache.start_request(i, [])
        for g in range(len(new)):
            cache.add_active_response(i, new[g : g + 1])
            cache.speculate(i, text[max(0, g + 1 - DEPTH) : g + 1], LONGEST, FACTOR, 0.0, MIN_PROB)
        cache.stop_request(i)
        took += time.perf_counter() - began
    theirs = 1e6 * took / rows
    print(f"{'arctic-inference, as called':33} {theirs:15.2f} {theirs / mine:14.1f}x")


if __name__ == "__main__":
    main(*sys.argv[1:])
