"""A folder as a report: every file is recognised by what it holds, or skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ...traces.schema import TraceError
from .advices import read_advices
from .calibrations import read_calibrations
from .drafters import read_drafters
from .folder import MOST_FILES, NOT_OURS, Folder
from .leftovers import read_pictures, read_policies, read_tables
from .page import Part, Report
from .pages import read_pages
from .runs import read_runs
from .simulations import read_simulations
from .sweeps import read_sweeps
from .tokenizers import Tokenizers
from .traces import read_traces
from .validations import read_validations
from .words import is_prior, short

Reader = Callable[[Folder], Iterator[Part]]
READERS: tuple[Reader, ...] = (
    read_advices,
    read_validations,  # before runs, whose logs it may hold
    read_runs,
    read_calibrations,
    read_sweeps,
    read_simulations,
    read_drafters,
    read_pages,  # before what is left, which it names
    read_pictures,
    read_policies,
)
SHOWN_FIRST = (read_sweeps, read_simulations, read_drafters, read_pages)  # after advice and traces
STEPS = len(READERS) + 2  # how often `progress` is called
MOST_TOLD = 60  # limitations


def read_report(
    root: Path, tokenizer: Path | None = None, progress: Callable[[], None] = lambda: None
) -> Report:
    """What longtail's commands wrote to a folder.

    tokenizer: a tokenizer.json, to show rollouts as text. progress is called as each reader is
    done. Raises TraceError where there is nothing to show, and for a folder that cannot be read.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "no such folder"
        raise TraceError(problem, file=root, remedy="name the folder that longtail wrote to")
    folder = Folder(root)
    found: dict[Reader, list[Part]] = {}
    own_traces: Reader = partial(read_traces, tokenizers=Tokenizers(folder, tokenizer))
    for reader in (*READERS, own_traces, read_tables):
        found[reader] = list(reader(folder))
        progress()
    order = dict.fromkeys((read_advices, own_traces, *SHOWN_FIRST, *READERS, read_tables))
    parts = [part for reader in order for part in found[reader]]
    if not parts:
        raise _nothing(folder)
    specs = dict.fromkeys(spec for part in parts for spec in part.latencies)
    latencies = {spec: short("latency", spec) for spec in specs}
    name = root.resolve().name or str(root)
    return Report(name, parts, folder.files, _told(parts, latencies, folder), latencies)


def _nothing(folder: Folder) -> TraceError:
    """Why there is nothing to show: no file is longtail's, or those that are cannot be read."""
    files = folder.files
    broken = [file for file in files if file.skipped not in ("", NOT_OURS)]
    if not broken:
        return TraceError(
            f"nothing here that longtail writes, in {len(files)} file{'s' * (len(files) != 1)}",
            file=folder.root,
            remedy="write something to it first, as in: longtail sweep sample -o "
            f"{folder.root.name or 'DIR'}/sweep.parquet",
        )
    more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
    return TraceError(
        f"nothing here can be read: {broken[0].name} ({broken[0].skipped}){more}",
        file=folder.root,
        remedy="make these files again",
    )


def _told(parts: list[Part], latencies: Mapping[str, str], folder: Folder) -> list[str]:
    """What the report does not show, the weightiest first."""
    told = []
    priors = [name for name in dict.fromkeys(latencies.values()) if is_prior(name)]
    if priors:
        told.append(
            f"Simulated seconds rest on {'a prior' if len(priors) == 1 else 'priors'} "
            f"({', '.join(priors)}), from papers and datasheets: not measured on a GPU."
        )
    made_up = dict.fromkeys(name for part in parts for name in part.synthetic)
    told += [f"{name} is synthetic: no model wrote it." for name in made_up]
    told += dict.fromkeys(line for part in parts for line in part.limitations)
    if folder.too_many:
        told.append(f"Only the first {MOST_FILES:,} files of the folder were looked at.")
    if len(told) > MOST_TOLD:
        told = [*told[:MOST_TOLD], f"… and {len(told) - MOST_TOLD} more, in the sections above."]
    return told
