"""Drafters on recorded rollouts, beside what papers show: DAS figures 4 to 7.

`python -m tests.bench.drafters T.parquet …` takes other traces than the bundled sample. Rollouts
are decoded alone, drafts as long as the drafter wants them; microseconds are of drafting and
indexing at every position, on one thread.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import longtail
from longtail.analysis.acceptance import Decoded
from longtail.analysis.staleness import by_age, measure
from longtail.policies.components import DRAFTERS
from longtail.traces import Trace, find_trace

from . import index

SCOPES = ("problem", "both", "global", "all")
WINDOWS = (1, 2, 4, 8, 16, 32, 0)
OTHERS = ("ngram:k=8", "suffix:scope=own", "das", "das:half_life=4", "das:half_life=1")
FIGURE_5 = {10_000: 20.0, 50_000: 70.0, 100_000: 90.0, 500_000: 230.0, 1_000_000: 420.0}
"""Tokens -> microseconds per draft of DAS's suffix tree, digitized."""
UPDATE_US = 1.0  # per token, the same figure: 100 tokens in about 0.1 ms, whatever the size


def main(*names: str) -> None:
    """Print the tables."""
    for name in names or ("sample",):
        trace = longtail.read_trace(str(find_trace(name)))
        steps = len(trace.rl_steps)
        print(f"\n{Path(name).name}: {steps} RL steps, all but the first of them")
        print(f"{'drafter':28} {'tokens/forward':>14} {'drafted':>8} {'wasted':>7} {'us':>6}")
        for spec in OTHERS:
            row(trace, spec)
        print("scope (DAS Fig. 6: problem and both 2.2 to 4.1, all below them)")
        for scope in SCOPES:
            row(trace, f"suffix:scope={scope}")
        print("window (DAS Fig. 7: 4 below 16, 32 and all, which are alike)")
        for window in WINDOWS:
            if window < steps:
                row(trace, f"suffix:scope=both,window={window}")
        by_step(trace)
        ages(trace)
    speed()


def row(trace: Trace, spec: str) -> None:
    """One drafter: every RL step but the first, which has no history."""
    drafter = DRAFTERS.make(spec)
    lengths, tokens = trace.lengths(), trace.tokens()
    drafter.profile(trace.lengths(trace.rl_steps[:1]), trace.tokens(trace.rl_steps[:1]))  # compiles
    began = time.perf_counter()
    profile = drafter.profile(lengths, tokens)
    us = 1e6 * (time.perf_counter() - began) / len(profile.drafted)
    later = int(np.searchsorted(lengths.rl_step, trace.rl_steps[0], "right"))
    done = Decoded.of(profile.part(later, len(lengths)))
    print(
        f"{spec:28} {done.gain:14.3f} {done.drafted_per_forward:8.2f} {done.wasted:7.1%} {us:6.2f}"
    )


def by_step(trace: Trace) -> None:
    """DAS Fig. 4: acceptance as the policy and its history grow."""
    drafter = DRAFTERS.make("das")
    lengths = trace.lengths()
    profile = drafter.profile(lengths, trace.tokens())
    gains = []
    for step in trace.rl_steps:
        first, last = np.searchsorted(lengths.rl_step, [step, step + 1])
        gains.append(f"{Decoded.of(profile.part(int(first), int(last))).gain:.2f}")
    print(f"das by RL step (DAS Fig. 4: 1.5, rising to 4 to 4.5): {' '.join(gains)}")


def ages(trace: Trace) -> None:
    """Acceptance with one RL step of history, by how long ago that was."""
    pairs = measure(trace.lengths(), trace.tokens(), trace.rl_steps[1:], most=None)
    gains = [f"{done.gain:.2f}" for done in by_age(pairs).values()]
    print(f"problem's history of one RL step, 1, 2, … steps old: {' '.join(gains)}")


def speed() -> None:
    """DAS Fig. 5: how long a draft takes as the corpus grows (theirs on their machine, one request
    at a time; ours 32 at a time, the context's place included).
    """
    texts, asked = index.read("sample")
    index.ours(texts[:3], asked[:2], quiet=True)
    print("\nDAS Fig. 5    tokens  us/draft  theirs           us/token added  theirs")
    for size, theirs in FIGURE_5.items():
        added, draft, *_ = index.ours(index.grown(texts, size), asked, quiet=True)
        print(
            f"          {size:10,} {draft:9.2f} {theirs:7.0f} {theirs / draft:6.0f}x "
            f"{added:17.2f} {UPDATE_US:7.1f} {UPDATE_US / added:6.1f}x"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
