"""Drafters on recorded rollouts, beside what the DAS paper shows (its figures 5, 6 and 7).

`python -m tests.bench.drafters T.parquet …` takes other traces than the bundled sample. Rollouts
are decoded alone, drafts as long as the drafter wants them; microseconds are of drafting and
indexing at every position, on one thread.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import longtail
from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.suffix import Suffix
from longtail.policies.profile import PROBES
from longtail.traces import Trace, find_trace

from . import index

SCOPES = ("problem", "both", "global", "all")
WINDOWS = (1, 2, 4, 8, 16, 32, 0)
OTHERS = ("ngram:k=8", "suffix:scope=own", "das", "das:half_life=4", "das:half_life=1")
FIGURE_5 = {10_000: 20.0, 50_000: 70.0, 100_000: 90.0, 500_000: 230.0, 1_000_000: 420.0}
"""Tokens -> microseconds per draft of DAS's suffix tree, digitized."""
SEER = {0: 1.70, 1: 2.04, 5: 2.32, 15: 2.53}
"""References -> mean acceptance length with the bonus token, Qwen2-VL-72B on 20 groups."""
TARGETS, SEER_DRAFT = 4, 8
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
        references(trace)
    speed()


def row(trace: Trace, spec: str) -> None:
    """One drafter: every RL step but the first, which has no history."""
    drafter = DRAFTERS.make(spec)
    lengths, tokens = trace.lengths(), trace.tokens()
    drafter.profile(trace.lengths(trace.rl_steps[:1]), trace.tokens(trace.rl_steps[:1]))  # compiles
    began = time.perf_counter()
    profile = drafter.profile(lengths, tokens)
    us = 1e6 * (time.perf_counter() - began) / len(profile.drafted)
    later = lengths.rl_step > trace.rl_steps[0]
    at = int(np.flatnonzero(drafter.longest_draft <= PROBES)[0])
    forwards, drafted, accepted = profile.walks[later, at].sum(axis=0).tolist()
    count = int(later.sum())
    gain = (int(lengths.output_len[later].sum()) - count) / (forwards - count)
    wasted = 1 - accepted / drafted if drafted else 0.0
    print(f"{spec:28} {gain:14.3f} {drafted / (forwards - count):8.2f} {wasted:7.1%} {us:6.2f}")


def references(trace: Trace) -> None:
    """Seer Table 2: how far own text gets with n finished rollouts of the same group beside it.

    Of each group of the last RL step that is large enough, the first samples are drafted for, one
    at a time, and the ones after them are the references.
    """
    last = trace.rl_steps[-1:]
    lengths, tokens = trace.lengths(last), trace.tokens(last)
    groups = [np.flatnonzero(lengths.prompt == p) for p in np.unique(lengths.prompt)]
    groups = [rows for rows in groups if len(rows) >= TARGETS + max(SEER)]
    if not groups:
        return
    print(f"references of the group (Seer Table 2, linear drafts); {len(groups)} groups")
    for n, theirs in SEER.items():
        forwards = gained = 0
        drafter = Suffix(scope="both", max=SEER_DRAFT)
        for k in range(TARGETS):
            rows = np.concatenate([np.r_[g[TARGETS : TARGETS + n], g[k]] for g in groups])
            target = np.concatenate([np.r_[np.zeros(n, bool), True] for _ in groups])
            order = np.argsort(target, kind="stable")
            part = replace(lengths.select(rows[order]), rl_step=target[order].astype(np.int32))
            profile = drafter.profile(part, tokens.select(rows[order]))
            at = int(np.flatnonzero(drafter.longest_draft <= PROBES)[0])
            forwards += int(profile.walks[target[order], at, 0].sum()) - len(groups)
            gained += int(part.output_len[target[order]].sum()) - len(groups)
        print(f"{f'n = {n}':28} {gained / forwards:14.3f} {'theirs':>8} {theirs:7.2f}")


def speed() -> None:
    """DAS Fig. 5: how long a draft takes as the corpus grows."""
    texts, asked = index.read("sample")
    index.ours(texts[:3], asked[:2], quiet=True)
    print("\nDAS Fig. 5    tokens  us/draft  theirs           us/token added  theirs")
    for size, theirs in FIGURE_5.items():
        added, draft, _, _ = index.ours(index.grown(texts, size), asked, quiet=True)
        print(
            f"          {size:10,} {draft:9.2f} {theirs:7.0f} {theirs / draft:6.0f}x "
            f"{added:17.2f} {UPDATE_US:7.1f} {UPDATE_US / added:6.1f}x"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
