"""A folder as a report: every file is recognised by what it holds, or skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...traces.schema import TraceError
from .advices import read_advices
from .calibrations import read_calibrations
from .drafters import read_drafters
from .folder import MOST_FILES, Folder
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
    read_tables,
)
SHOWN_FIRST = (read_advices, read_sweeps, read_simulations, read_drafters, read_pages)
STEPS = len(READERS) + 1  # how often `progress` is called
MOST_TOLD = 60  # limitations


def read_report(
    root: Path, tokenizer: Path | None = None, progress: Callable[[], None] = lambda: None
) -> Report:
    """What longtail's commands wrote to a folder.

    tokenizer: a tokenizer.json, to show rollouts as text. progress is called as each reader is
    done. Raises TraceError where nothing is recognised, and for a folder that cannot be read.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "no such folder"
        raise TraceError(problem, file=root, remedy="name the folder that longtail wrote to")
    folder = Folder(root)
    found: dict[Reader, list[Part]] = {}
    tokenizers = Tokenizers(folder, tokenizer)
    for reader in READERS[:-1]:
        found[reader] = list(reader(folder))
        progress()
    traces = list(read_traces(folder, tokenizers))
    progress()
    found[READERS[-1]] = list(READERS[-1](folder))
    progress()
    order = [*SHOWN_FIRST, *(reader for reader in READERS if reader not in SHOWN_FIRST)]
    parts = [part for reader in order for part in found[reader]]
    parts[_after(parts) : _after(parts)] = traces
    if not parts:
        raise TraceError(
            f"nothing here that longtail writes, in {len(folder.items)} files",
            file=root,
            remedy="write something to it first, as in: longtail sweep sample -o "
            f"{root.name or 'DIR'}/sweep.parquet",
        )
    specs = dict.fromkeys(spec for part in parts for spec in part.latencies)
    latencies = {spec: short("latency", spec) for spec in specs}
    name = root.resolve().name or str(root)
    return Report(name, parts, folder.files, _told(parts, latencies, folder), latencies)


def _after(parts: list[Part]) -> int:
    """Where traces stand: after the advice."""
    return sum(part.first for part in parts)


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
