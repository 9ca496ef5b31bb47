"""The forwards in which rollouts are decoded: what each drafted, and how much of it was accepted.

From a drafter: rollouts decoded alone, each forward verifying a whole draft of at most k tokens
(what the simulator's `fixed:k=` gives where no limit cuts drafts). Or as an engine recorded them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..policies.components import DRAFTERS
from ..policies.registry import ComponentError, spec_of
from ..sim.workload import Workload
from ..traces.exporting import called, tables
from ..traces.rollouts import offsets_of
from ..traces.schema import TraceError
from ..traces.store import Trace
from .acceptance import forwards_of

RECORDED = "recorded: what the engine drafted and accepted, forward by forward"
LOCKSTEP = (
    "{name}: acceptance as if an RL step's rollouts began together and grew alike, not as they "
    "would be timed"
)


@dataclass(frozen=True)
class Decoding:
    """The decode forwards of n rollouts, in the order of `Trace.lengths`; F in all.

    The forward that gives a rollout its first token drafts nothing and is none of them.
    """

    rl_step: np.ndarray  # int32[n]
    output_len: np.ndarray  # int32[n] tokens
    offsets: np.ndarray  # int64[n + 1]: where each rollout's forwards begin
    drafted: np.ndarray  # int32[F]
    accepted: np.ndarray  # int32[F]
    k: int  # draft tokens of a forward at most
    about: dict[str, Any] = field(default_factory=dict)  # provenance
    files: tuple[Path, ...] = ()  # the trace
    warnings: tuple[str, ...] = ()

    def committed(self) -> np.ndarray:
        """int32[F]: tokens gained. The bonus token is one of them unless the rollout has ended."""
        gained = self.accepted + 1
        some = np.diff(self.offsets) > 0
        gained[self.offsets[1:][some] - 1] -= self.overshoot()[some].astype(np.int32)
        return gained

    def overshoot(self) -> np.ndarray:
        """int64[n]: tokens that the last forward would give beyond a rollout's end; below 0 where
        the forwards do not reach it, or those before the last one go beyond.
        """
        running = offsets_of(self.accepted + 1)
        begins, ends = self.offsets[:-1], self.offsets[1:]
        wanted = self.output_len.astype(np.int64) - 1
        over = running[ends] - running[begins] - wanted
        early = running[np.maximum(ends - 1, begins)] - running[begins] >= wanted
        return np.where(early & (ends > begins), -1, over)

    def positions(self) -> pd.DataFrame:
        """One row per RL step and place in the draft (1 … k): decode forwards, those that drafted
        as far, those that accepted as far; and both shares of the latter.
        """
        step = np.repeat(self.rl_step, np.diff(self.offsets))
        frames = []
        for rl_step in np.unique(self.rl_step):
            mine = step == rl_step
            frame = pd.DataFrame({"rl_step": rl_step, "position": np.arange(1, self.k + 1)})
            frame["forwards"] = int(mine.sum())
            frame["drafted"] = _reached(self.drafted[mine], self.k)
            frame["accepted"] = _reached(self.accepted[mine], self.k)
            frames.append(frame)
        table = pd.concat(frames, ignore_index=True)
        table["rate"] = table.accepted / table.forwards.where(table.forwards > 0)  # vLLM's
        table["rate_if_drafted"] = table.accepted / table.drafted.where(table.drafted > 0)
        return table


def decode_with(
    load: Workload, drafter: str, *, k: int | None = None, rl_steps: Sequence[int] | None = None
) -> Decoding:
    """By a drafter, named as in `--drafter`; k is its longest draft by default.

    Raises ComponentError and TraceError.
    """
    made = DRAFTERS.make(drafter)
    if made.longest_draft == 0:
        raise ComponentError(f"the drafter '{made.name}' drafts nothing forward by forward")
    if made.trees:
        raise ComponentError(f"'{drafter}' drafts trees, in which acceptance has no positions")
    k = made.longest_draft if k is None else min(k, made.longest_draft)
    lengths, profile = load.lengths, load.profile(made)
    at_token = np.arange(len(profile.drafted)) - np.repeat(profile.offsets[:-1], lengths.output_len)
    room = np.repeat(load.cap, lengths.output_len) - at_token - 1  # tokens before the bonus one
    drafted = np.minimum(profile.drafted, np.clip(room, 0, k)).astype(np.uint8)
    cut = replace(profile, drafted=drafted, matched=np.minimum(profile.matched, drafted))
    wanted = np.isin(lengths.rl_step, load.choose(rl_steps))
    at = forwards_of(cut)
    at = at[np.repeat(wanted, lengths.output_len)[at]]
    rollout = np.searchsorted(profile.offsets, at, side="right") - 1
    counts = np.bincount(rollout, minlength=len(wanted))[wanted]
    notes = (*getattr(made, "notes", ()), *((LOCKSTEP.format(name=made.name),) * made.timed))
    return Decoding(
        lengths.rl_step[wanted],
        lengths.output_len[wanted],
        offsets_of(counts),
        cut.drafted[at].astype(np.int32),
        cut.matched[at].astype(np.int32),
        k,
        {**_about(load), "drafter": spec_of(made), "acceptance_source": made.acceptance},
        () if load.trace is None else (load.trace.path,),
        notes,
    )


def decode_recorded(trace: Trace, *, rl_steps: Sequence[int] | None = None) -> Decoding:
    """As the trace's own columns tell. Raises TraceError where they do not, or do not add up."""
    load = Workload.from_trace(trace, rl_steps=rl_steps)
    lengths = trace.lengths(load.choose(rl_steps))
    names = ["drafted", "accepted"]
    table = pa.concat_tables(tables(trace, names, rl_steps))
    order = np.argsort(table.column("rl_step").to_numpy(), kind="stable")
    drafted, accepted = (table.column(name).take(order).combine_chunks() for name in names)
    if drafted.null_count:
        raise TraceError(
            f"{drafted.null_count:,} of {len(lengths):,} rollouts have no recorded drafts",
            file=trace.path,
            remedy="name a drafter with --drafter",
        )
    many = drafted.flatten().to_numpy().astype(np.int32)
    done = Decoding(
        lengths.rl_step,
        lengths.output_len,
        offsets_of(pc.list_value_length(drafted).to_numpy()),
        many,
        accepted.flatten().to_numpy().astype(np.int32),
        int(many.max(initial=0)),
        {**_about(load), "drafter": "recorded", "acceptance_source": RECORDED},
        (trace.path,),
    )
    wrong = int((done.overshoot() < 0).sum())
    if wrong:
        raise TraceError(
            f"the recorded forwards of {wrong:,} of {len(lengths):,} rollouts do not add up to "
            "their lengths",
            file=trace.path,
            remedy="name a drafter with --drafter",
        )
    if not done.k:
        raise TraceError("nothing was drafted", file=trace.path, remedy="name one with --drafter")
    return done


def _reached(counts: np.ndarray, k: int) -> np.ndarray:
    """int64[k]: how many of the counts are at least 1, 2, … k."""
    exactly: np.ndarray = np.bincount(counts, minlength=k + 1)
    return exactly[::-1].cumsum()[::-1][1 : k + 1]


def _about(load: Workload) -> dict[str, Any]:
    source = {} if load.trace is None else {"source": called(load.trace)}
    return {**load.provenance, **source}
