"""What the exporters share: where they may write, when requests arrive, what they tell.

A file appears whole or not at all, and never in the place of what it is made from; a name that ends
in .gz or .zst is compressed, the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from .importing import refuse_own_source
from .schema import TraceError
from .store import Trace
from .whole import whole

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
PLAIN = pyarrow.csv.WriteOptions(quoting_header="none")
TOGETHER = "{n:,} of {of:,} rollouts have no start time: all arrive at once"


@dataclass(frozen=True)
class Exported:
    """How many records a file holds, what they are called, and what could not be known."""

    records: int
    what: str = "rollouts"
    warnings: tuple[str, ...] = ()


def check_target(output: str | Path, sources: Sequence[str | Path]) -> Path:
    """Refuse, before the work, an output that could not be written after it, or is a source.

    Of a source that is a folder, every file is one.
    """
    path = Path(output)
    for source in map(Path, sources):
        refuse_own_source(source.rglob("*") if source.is_dir() else [source], path)
    if path.is_dir():
        raise TraceError("is a folder", file=path, remedy="name a file with -o")
    if not path.parent.is_dir():
        raise TraceError("no such folder", file=path.parent, remedy="make it, or choose another")
    return path


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A stream of bytes that becomes the file when all is written, compressed as its name says."""
    with whole(path, remedy="choose another place with -o") as partial:
        compression = COMPRESSIONS.get(path.suffix)
        stream: Any = pa.output_stream(str(partial), compression=compression)
        with stream:
            yield stream


def tables(
    trace: Trace, columns: Sequence[str], rl_steps: Collection[int] | None = None
) -> Iterator[pa.Table]:
    """The rows of RL steps (all by default), row group by row group in the file's order."""
    wanted = None if rl_steps is None else pa.array(sorted(set(rl_steps)), pa.int32())
    for _, table in trace.groups(list(dict.fromkeys(["rl_step", *columns]))):
        yield table if wanted is None else table.filter(pc.is_in(table.column("rl_step"), wanted))


def called(trace: Trace) -> str:
    """Where rollouts come from, and loudly if they were made up."""
    name = trace.meta.source or trace.path.name
    return f"SYNTHETIC: {name}" if trace.meta.synthetic else name


@dataclass(frozen=True)
class Arrivals:
    """When the n rollouts of some RL steps arrive, as requests of a service."""

    order: np.ndarray  # int64[n]: rows of `Trace.lengths(rl_steps)`, first come first
    seconds: np.ndarray  # float64[n], in that order, since the first of them
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, trace: Trace, rl_steps: Collection[int] | None = None, step_s: float | None = None
    ) -> Arrivals:
        """By start_s; or, with `step_s`, an RL step's rollouts at once, RL steps so many seconds
        apart. One RL step without times arrives at once, too.

        Raises TraceError where times are missing: for some rollouts, or for all of several RL
        steps.
        """
        rl_step = trace.lengths(rl_steps).rl_step
        warnings: tuple[str, ...] = ()
        remedy = "give --step-s SECONDS: an RL step's rollouts together, the steps that far apart"
        if step_s is not None:
            _, place = np.unique(rl_step, return_inverse=True)
            seconds = place * float(step_s)
        else:
            seconds = trace.column("start_s", rl_steps)
            without = int((~np.isfinite(seconds)).sum())
            several = len(np.unique(rl_step)) > 1
            if without and (without < len(seconds) or several):
                raise TraceError(
                    f"{without:,} of {len(seconds):,} rollouts have no start time",
                    file=trace.path,
                    remedy=f"{remedy}, or one RL step alone with --rl-steps" if several else remedy,
                )
            if without:
                seconds = np.zeros(len(seconds))
                warnings = (TOGETHER.format(n=without, of=without),)
            _check_clock(trace, rl_step, seconds, remedy)
        order = np.argsort(seconds, kind="stable")
        return cls(order, seconds[order] - seconds.min(initial=np.inf), warnings)


def _check_clock(trace: Trace, rl_step: np.ndarray, seconds: np.ndarray, remedy: str) -> None:
    """Raise TraceError where an RL step begins no later than one before it: its clock is its
    own.
    """
    steps, first_row = np.unique(rl_step, return_index=True)
    begins = np.minimum.reduceat(seconds, first_row)
    early = np.flatnonzero(np.diff(begins) <= 0)
    if len(early):
        raise TraceError(
            f"RL step {steps[early[0] + 1]} does not begin after RL step {steps[early[0]]}: each "
            "step's clock is its own",
            file=trace.path,
            remedy=remedy,
        )
