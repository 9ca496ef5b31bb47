"""Traces from traces: some rollouts of one, or several put together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa

from .schema import SCHEMA, TraceError, TraceMeta
from .store import Trace, open_trace
from .writer import TraceWriter

KEY = ("rl_step", "prompt_id", "sample")


def select_rollouts(
    trace: Trace,
    output: str | Path,
    *,
    rl_steps: Collection[int] | None = None,
    prompt: str = "*",
    prompts: int | None = None,
    samples: int | None = None,
    longest: int | None = None,
) -> int:
    """Write some of a trace's rollouts as a trace; how many.

    rl_steps: those to keep. prompt: a glob that prompt_id matches. prompts: the first so many that
    match. samples: the first so many of each prompt and RL step. longest: rollouts of at most so
    many output tokens. Raises TraceError where nothing is left.
    """
    lengths = trace.lengths(rl_steps)
    if longest is not None:
        lengths = lengths.select(lengths.output_len <= longest)
    match = [i for i, name in enumerate(trace.prompt_ids) if fnmatchcase(name, prompt)]
    here = [i for i in match if i in set(lengths.prompt.tolist())]
    lengths = lengths.select(np.isin(lengths.prompt, here[:prompts]))
    wanted = set()
    seen: dict[tuple[int, int], int] = {}
    for step, who, sample in zip(
        lengths.rl_step.tolist(), lengths.prompt.tolist(), lengths.sample.tolist(), strict=True
    ):
        taken = seen.setdefault((step, who), 0)
        if samples is None or taken < samples:
            wanted.add((step, trace.prompt_ids[who], sample))
            seen[step, who] = taken + 1
    return write_selection(trace, output, wanted)


def write_selection(trace: Trace, output: str | Path, wanted: set[tuple[int, str, int]]) -> int:
    """Write the rollouts with the given keys as a trace; how many. Raises TraceError for none."""
    if not wanted:
        raise TraceError("no rollout is selected", file=trace.path, remedy="widen the selection")
    note = f"{len(wanted)} of {trace.n_rollouts} rollouts of {trace.path.name}"
    with TraceWriter(output, replace(trace.meta, notes=(*trace.meta.notes, note))) as writer:
        for _, table in trace.groups():
            keys = zip(*(table.column(name).to_pylist() for name in KEY), strict=True)
            writer.write(table.filter(pa.array([key in wanted for key in keys])))
    return len(wanted)


def join_traces(paths: Sequence[Path], output: str | Path) -> int:
    """Write the rollouts of several traces as one; folders stand for the traces in them.

    The metadata are the first one's. Raises TraceError where they do not belong together (another
    tokenizer, vocabulary or origin) or a rollout appears twice.
    """
    files = [f for p in paths for f in (sorted(p.glob("*.parquet")) if p.is_dir() else [p])]
    if not files:
        raise TraceError("no traces here", file=paths[0], remedy="name traces, or folders of them")
    traces = [open_trace(file) for file in files]
    first = traces[0].meta
    for trace in traces[1:]:
        for what in ("origin", "tokenizer", "vocab_size", "end_token_id"):
            if getattr(trace.meta, what) != getattr(first, what):
                raise TraceError(
                    f"{what} is {getattr(trace.meta, what)!r}, not {getattr(first, what)!r}",
                    file=trace.path,
                    remedy="join traces of one model",
                )
    with TraceWriter(output, replace(first, sampling=_sampling(t.meta for t in traces))) as writer:
        for trace in traces:
            for _, table in trace.groups():
                writer.write(table.select(SCHEMA.names).cast(SCHEMA))
        return writer.n_rollouts


def _sampling(metas: Iterable[TraceMeta]) -> dict[str, object]:
    """Each parameter's value, or the values where traces differ."""
    values: dict[str, list] = {}
    for meta in metas:
        for name, value in meta.sampling.items():
            known = values.setdefault(name, [])
            known += [v for v in (value if isinstance(value, list) else [value]) if v not in known]
    return {name: v[0] if len(v) == 1 else sorted(v, key=str) for name, v in values.items()}
