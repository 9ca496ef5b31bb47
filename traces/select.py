"""Traces from traces: some rollouts of one, or several put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .schema import SCHEMA, TraceError, TraceMeta
from .store import Trace, open_trace
from .writer import TraceWriter

KEY = ("rl_step", "prompt_id", "sample")
PART_OF = "rollouts of"  # in the note of a selection


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
    present = set(lengths.prompt.tolist())
    here = [i for i in match if i in present]
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
    count = sum(key in wanted for key in _keys(trace))
    if not count:
        raise TraceError("no rollout is selected", file=trace.path, remedy="widen the selection")
    note = f"{count} of {trace.n_rollouts} {PART_OF} {trace.path.name}"
    with TraceWriter(output, replace(trace.meta, notes=(*trace.meta.notes, note))) as writer:
        for _, table in trace.groups():
            part = table.filter(pa.array([key in wanted for key in _keys_of(table)]))
            writer.write(part.select(SCHEMA.names).cast(SCHEMA))
    return count


def _keys(trace: Trace) -> Iterator[tuple[int, str, int]]:
    """The key of each rollout, in the file's order."""
    for _, table in trace.groups(list(KEY)):
        yield from _keys_of(table)


def _keys_of(table: pa.Table) -> Iterator[tuple[int, str, int]]:
    return zip(*(table.column(name).to_pylist() for name in KEY), strict=True)


def traces_in(folder: Path) -> list[Path]:
    """The Parquet files anywhere in a folder, without those that are still being written."""
    return sorted(p for p in folder.rglob("*.parquet") if not p.name.startswith("."))


def join_traces(paths: Sequence[Path], output: str | Path, *, renumber: bool = False) -> int:
    """Write the rollouts of several traces as one; folders stand for the traces anywhere in them.

    The metadata are the first one's. renumber: engines that did not know of each other gave the
    same sample numbers; a rollout whose number is taken gets the next one of its prompt and RL
    step. Raises TraceError where traces do not belong together (another model, tokenizer,
    vocabulary or origin) or, if not renumbered, a rollout appears twice.
    """
    files = [f for p in paths for f in (traces_in(p) if p.is_dir() else [p])]
    if not files:
        raise TraceError("no traces here", file=paths[0], remedy="name traces, or folders of them")
    traces = [open_trace(file) for file in files]
    first = traces[0].meta
    for trace in traces[1:]:
        for what in ("origin", "model", "tokenizer", "vocab_size", "end_token_id"):
            if getattr(trace.meta, what) != getattr(first, what):
                raise TraceError(
                    f"{what} is {getattr(trace.meta, what)!r}, not {getattr(first, what)!r}",
                    file=trace.path,
                    remedy="join traces of one model",
                )
    if not renumber:
        _refuse_repeats(traces)
    whole = replace(
        first,
        sampling=_sampling(trace.meta for trace in traces),
        notes=tuple(note for note in first.notes if f" {PART_OF} " not in note),
    )
    numbers = _Numbers() if renumber else None
    with TraceWriter(output, whole) as writer:
        for trace in traces:
            for _, table in trace.groups():
                part = table.select(SCHEMA.names).cast(SCHEMA)
                writer.write(numbers.renumbered(part) if numbers else part)
        return writer.n_rollouts


class _Numbers:
    """Sample numbers: a rollout keeps its own unless that is taken."""

    def __init__(self) -> None:
        self._taken: set[tuple[int, str, int]] = set()
        self._following: Counter[tuple[int, str]] = Counter()  # the next number to try

    def renumbered(self, table: pa.Table) -> pa.Table:
        """The table, no key of which was there before."""
        samples = []
        for rl_step, prompt_id, sample in _keys_of(table):
            while (rl_step, prompt_id, sample) in self._taken:
                sample = self._following[rl_step, prompt_id]
                self._following[rl_step, prompt_id] += 1
            self._taken.add((rl_step, prompt_id, sample))
            samples.append(sample)
        column = SCHEMA.get_field_index("sample")
        return table.set_column(column, SCHEMA.field(column), pa.array(samples, pa.int32()))


def _refuse_repeats(traces: Sequence[Trace]) -> None:
    owner: dict[tuple[int, str, int], Path] = {}
    for trace in traces:
        for key in _keys(trace):
            if key in owner:
                raise TraceError(
                    f"rollout (RL step {key[0]}, prompt {key[1]!r}, sample {key[2]}) is also in "
                    f"{owner[key]}",
                    file=trace.path,
                    remedy="join each rollout once, or give --renumber if they are different "
                    "rollouts of engines that did not know of each other",
                )
            owner[key] = trace.path


def _sampling(metas: Iterable[TraceMeta]) -> dict[str, object]:
    """Each parameter's value, or the values where traces differ."""
    values: dict[str, list] = {}
    for meta in metas:
        for name, value in meta.sampling.items():
            known = values.setdefault(name, [])
            known += [v for v in (value if isinstance(value, list) else [value]) if v not in known]
    return {name: v[0] if len(v) == 1 else in_order(v) for name, v in values.items()}


def in_order(values: Iterable[Any]) -> list[Any]:
    """Values that differ: numbers by size, then everything else by its text."""
    return sorted(
        values, key=lambda v: (0, v, "") if isinstance(v, int | float) else (1, 0, str(v))
    )
