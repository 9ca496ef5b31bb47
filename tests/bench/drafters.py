"""Drafters on recorded rollouts, beside what papers show: DAS figures 4 to 7, Seer table 2.

`python -m tests.bench.drafters T.parquet …` takes other traces than the bundled sample. Rollouts
are decoded alone, drafts as long as the drafter wants them; microseconds are of drafting and
indexing at every position, on one thread.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import longtail
from longtail.policies.components import DRAFTERS
from longtail.policies.profile import PROBES, Profile
from longtail.traces import Trace, find_trace
from longtail.traces.rollouts import Lengths, Tokens

from . import index

SCOPES = ("problem", "both", "global", "all")
WINDOWS = (1, 2, 4, 8, 16, 32, 0)
OTHERS = ("ngram:k=8", "suffix:scope=own", "das", "das:half_life=4", "das:half_life=1")
FIGURE_5 = {10_000: 20.0, 50_000: 70.0, 100_000: 90.0, 500_000: 230.0, 1_000_000: 420.0}
"""Tokens -> microseconds per draft of DAS's suffix tree, digitized."""
SEER = {0: 1.70, 1: 2.04, 5: 2.32, 15: 2.53}
"""References -> mean acceptance length with the bonus token, Qwen2-VL-72B on 20 groups."""
TARGETS, SEER_DRAFT = 4, 8
OLDEST = 8  # RL steps
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
        by_age(trace)
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
    done = Decoded.of(drafter, profile, lengths, lengths.rl_step > trace.rl_steps[0])
    print(
        f"{spec:28} {done.gain:14.3f} {done.drafted / done.forwards:8.2f} {done.wasted:7.1%} "
        f"{us:6.2f}"
    )


@dataclass(frozen=True)
class Decoded:
    """Some rollouts decoded alone; forwards that gave the first token are not counted."""

    forwards: int
    tokens: int
    drafted: int
    accepted: int

    @classmethod
    def of(cls, drafter: Any, profile: Profile, lengths: Lengths, rows: np.ndarray) -> Decoded:
        """The rollouts `rows` of a profile."""
        at = int(np.flatnonzero(drafter.longest_draft <= PROBES)[0])
        forwards, drafted, accepted = profile.walks[rows, at].sum(axis=0).tolist()
        count = int(np.count_nonzero(rows))
        return cls(forwards - count, int(lengths.output_len[rows].sum()) - count, drafted, accepted)

    @property
    def gain(self) -> float:
        """Tokens per forward."""
        return self.tokens / self.forwards

    @property
    def wasted(self) -> float:
        """Share of the draft tokens that were rejected."""
        return 1 - self.accepted / self.drafted if self.drafted else 0.0

    def __add__(self, other: Decoded) -> Decoded:
        return Decoded(
            self.forwards + other.forwards,
            self.tokens + other.tokens,
            self.drafted + other.drafted,
            self.accepted + other.accepted,
        )


def decode_after(drafter: Any, lengths: Lengths, tokens: Tokens, past: Any, now: Any) -> Decoded:
    """Rollouts `now` with the rollouts `past` as their only history (indices)."""
    rows = np.concatenate([past, now])
    last = np.arange(len(rows)) >= len(past)
    part = replace(lengths.select(rows), rl_step=last.astype(np.int32))
    return Decoded.of(drafter, drafter.profile(part, tokens.select(rows)), part, last)


def by_step(trace: Trace) -> None:
    """DAS Fig. 4: acceptance as the policy and its history grow."""
    drafter = DRAFTERS.make("das")
    lengths = trace.lengths()
    profile = drafter.profile(lengths, trace.tokens())
    gains = [
        f"{Decoded.of(drafter, profile, lengths, lengths.rl_step == step).gain:.2f}"
        for step in trace.rl_steps
    ]
    print(f"das by RL step (DAS Fig. 4: 1.5, rising to 4 to 4.5): {' '.join(gains)}")


def by_age(trace: Trace) -> None:
    """Acceptance with one RL step of history, by how long ago that was."""
    drafter = DRAFTERS.make("suffix:scope=problem")
    lengths, tokens = trace.lengths(), trace.tokens()
    rows = {step: np.flatnonzero(lengths.rl_step == step) for step in trace.rl_steps}
    gains = []
    for age in range(1, min(len(rows), OLDEST + 1)):
        pairs = list(zip(trace.rl_steps, trace.rl_steps[age:], strict=False))
        done = [decode_after(drafter, lengths, tokens, rows[a], rows[b]) for a, b in pairs]
        gains.append(f"{sum(done[1:], done[0]).gain:.2f}")
    print(f"problem's history of one RL step, 1, 2, … steps old: {' '.join(gains)}")


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
    drafter = DRAFTERS.make(f"suffix:scope=both,max={SEER_DRAFT}")
    for n, theirs in SEER.items():
        past = np.concatenate([g[TARGETS : TARGETS + n] for g in groups])
        targets = ([g[k] for g in groups] for k in range(TARGETS))
        done = [decode_after(drafter, lengths, tokens, past, now) for now in targets]
        print(f"{f'n = {n}':28} {sum(done[1:], done[0]).gain:14.3f} {'theirs':>8} {theirs:7.2f}")


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
