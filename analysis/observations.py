"""Live runs as measurements: per forward, what it processed and where its seconds went."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..engine.job import Job, read_summary
from ..engine.step_check import read_whole_log
from ..policies.components import BUDGETS, DRAFTERS
from ..policies.latency.calibrated import kind
from ..policies.registry import brief
from ..traces.schema import TraceError

IDENTITY = (
    "hardware", "engine", "architecture", "model_config", "load_format", "dtype", "quantization",
    "kv_cache_dtype", "tensor_parallel", "pipeline_parallel", "data_parallel", "async_scheduling",
    "enforce_eager", "threads",
)  # fmt: skip
"""What two engines have to share for one's seconds to be the other's."""
PROBES = 5  # of which the median is taken
FEW = 3  # times the usual gap that need no explanation


@dataclass(frozen=True)
class LiveRun:
    """One engine's step log, and the job it came from if `longtail run` made it."""

    name: str
    folder: Path
    run: dict[str, Any]  # the engine's resolved configuration and policy
    forwards: pd.DataFrame = field(repr=False)
    requests: pd.DataFrame = field(repr=False)
    job: Job | None = None
    summary: dict[str, Any] | None = None

    @property
    def drafter(self) -> str:
        """The drafter in brief, `none` without speculation, vLLM's own as `vllm:…`."""
        method = self.run.get("speculative_method")
        if method not in (None, "custom_class"):
            return f"vllm:{method}"
        return brief(self.component)

    @property
    def component(self) -> Any:
        """The drafter itself."""
        return DRAFTERS.make(self.run["policy"]["drafter"])

    @property
    def policy(self) -> str:
        """Drafter and budget, as the command line takes them."""
        if self.drafter.startswith("vllm:") or not self.speculates:
            return self.drafter
        return f"{self.drafter}/{brief(BUDGETS.make(self.run['policy']['budget']))}"

    @property
    def speculates(self) -> bool:
        """Whether the engine was started to verify drafts: its sampler then costs more."""
        return self.run.get("speculative_method") is not None

    @property
    def identity(self) -> dict[str, Any]:
        """What the seconds depend on beside the batch."""
        mode = f"cudagraph_mode, {kind(self.speculates)}"  # vLLM may choose another for drafts
        return {n: self.run.get(n) for n in IDENTITY} | {mode: self.run.get("cudagraph_mode")}

    @property
    def captured(self) -> list[float]:
        """Sizes that forwards are padded to, ascending; none where CUDA graphs are off."""
        if self.run.get("enforce_eager") or str(self.run.get("cudagraph_mode")).endswith("NONE"):
            return []
        return sorted(map(float, self.run.get("cudagraph_capture_sizes") or []))

    @property
    def digest(self) -> str:
        """Of what was measured: the same log, the same digest."""
        columns = self.forwards[["begin_s", "forward_s", "tokens", "kv_tokens"]].to_numpy("<f8")
        return hashlib.blake2b(columns.tobytes(), digest_size=8).hexdigest()


def read_runs(paths: Sequence[str | Path]) -> list[LiveRun]:
    """Runs by their folders (`longtail run`'s output, one of the runs in it, or a step log), or by
    a pattern of them; of equal names, with their folder's.

    Raises TraceError for a folder without runs, and for a log that is not whole.
    """
    runs = []
    for path in paths:
        places = [Path(path)] if Path(path).exists() else map(Path, sorted(glob.glob(str(path))))
        folders = [folder for place in places for folder in _folders(place)]
        if not folders:
            raise TraceError(
                "no live runs here",
                file=path,
                remedy="name a folder that `longtail run` has written",
            )
        runs += [_read(folder) for folder in folders]
    seen: dict[str, Path] = {}
    for run in runs:
        if run.digest in seen:
            raise TraceError(
                f"the same measurements as {seen[run.digest]}", file=run.folder, remedy="name one"
            )
        seen[run.digest] = run.folder
    names = [run.name for run in runs]
    return [
        run
        if names.count(run.name) == 1
        else replace(run, name=f"{run.folder.parent.name}.{run.name}")
        for run in runs
    ]


def _folders(path: Path) -> list[Path]:
    """Folders of single runs in `path`, sorted; hidden ones are partial and left out."""
    if (path / "steps").is_dir() or any(path.glob("forwards-*.parquet")):
        return [path]
    inner = [p for p in sorted(path.glob("*")) if p.is_dir() and not p.name.startswith(".")]
    return [folder for p in inner for folder in _folders(p)]


def _read(folder: Path) -> LiveRun:
    steps = folder / "steps"
    forwards, requests = read_whole_log(steps if steps.is_dir() else folder)
    job = summary = None
    if (folder / "job.json").is_file():
        try:
            job = Job.from_json((folder / "job.json").read_text())
            summary = read_summary(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"job.json or summary.json is damaged ({error})", file=folder, remedy="run it again"
            ) from None
    name = folder.name if job else f"{folder.parent.name}.{folder.name}"
    return LiveRun(name, folder, forwards.attrs["run"], forwards, requests, job, summary)


def same_engine(runs: Sequence[LiveRun], of: dict[str, Any] | None = None, than: str = "") -> None:
    """Raise TraceError unless all runs are of one engine on one machine (and of `of`, if given)."""
    first = dict(runs[0].identity if of is None else of)
    than = than or str(runs[0].folder)
    for run in runs:
        mine = run.identity
        other = [n for n in mine if n in first and mine[n] != first[n]]
        first = mine | first
        if other:
            told = ", ".join(_apart(n, mine[n], first[n]) for n in other)
            raise TraceError(
                f"another engine than {than}: {told}",
                file=run.folder,
                remedy="calibrate each engine, model and machine by itself",
            )


def _apart(name: str, mine: Any, other: Any) -> str:
    """What differs, in words; of mappings only the keys that do."""
    if isinstance(mine, dict) and isinstance(other, dict):
        keys = [k for k in {**mine, **other} if mine.get(k) != other.get(k)]
        return ", ".join(_apart(f"{name}.{k}", mine.get(k), other.get(k)) for k in keys)
    return f"{name} {_recorded(mine)}, not {_recorded(other)}"


def _recorded(value: Any) -> str:
    return "not recorded (an older log)" if value is None else str(value)


def observe(runs: Sequence[LiveRun]) -> pd.DataFrame:
    """One row per forward of all runs: run (index), rl_step, speculates, live (1), tokens, padded
    (tokens as CUDA graphs are captured), requests, kv_tokens, pairs, prefill_tokens, drafted, and
    seconds: whole_s until the next forward could begin, of it model_s, draft_s and host_s
    (scheduler, bookkeeping, between forwards); and probe_s, how long fixed work took about then
    (engine/probe.py).
    """
    frames = []
    for index, run in enumerate(runs):
        log = run.forwards
        whole = log.forward_s + _gaps(log)
        model, draft = log.model_s, log.draft_s
        if run.run.get("async_scheduling"):  # the host works while the model does
            model, draft = whole, 0.0 * whole
        frame = log[["rl_step", "tokens", "requests", "kv_tokens", "pairs", "prefill_tokens",
                     "drafted"]]  # fmt: skip
        frames.append(
            frame.assign(
                run=index,
                speculates=float(run.speculates),
                live=1.0,
                padded=pad(log.tokens.to_numpy(), run.captured),
                model_s=model,
                draft_s=draft,
                host_s=np.maximum(whole - model - draft, 0.0),
                probe_s=_probed(log),
                whole_s=whole,
            )
        )
    return pd.concat(frames, ignore_index=True)


def pad(tokens: np.ndarray, captured: Sequence[float]) -> np.ndarray:
    """float64[n] tokens after padding to the CUDA-graph capture sizes."""
    sizes = np.asarray(captured, float)
    if not len(sizes):
        return tokens.astype(float)
    index = np.minimum(np.searchsorted(sizes, tokens), len(sizes) - 1)
    return np.where(tokens <= sizes[-1], sizes[index], tokens).astype(float)


def _probed(log: pd.DataFrame) -> np.ndarray:
    """float64[n]: the probe's seconds at each forward, the median of those next to it in time."""
    done = np.flatnonzero(log.probe_s > 0)
    if not len(done):
        return np.full(len(log), np.nan)
    steady = log.probe_s.iloc[done].rolling(PROBES, center=True, min_periods=1).median()
    begin = log.begin_s.to_numpy()
    return np.interp(begin, begin[done], steady.to_numpy())


def _gaps(log: pd.DataFrame) -> np.ndarray:
    """float64[n] seconds from a forward's end to the next one's begin. Where nobody was running all
    the time, the engine may have waited for work: the median of the others stands there.
    """
    gap = np.zeros(len(log))
    begin, end = log.begin_s.to_numpy(), (log.begin_s + log.forward_s).to_numpy()
    gap[:-1] = np.maximum(begin[1:] - end[:-1] - log.probe_s.to_numpy()[:-1], 0.0)
    usual = float(np.median(gap[:-1])) if len(gap) > 1 else 0.0
    requests, waiting = log.request.to_numpy(), log.waiting.to_numpy()
    for i in np.flatnonzero(gap > FEW * usual):
        if not waiting[i] and not np.isin(requests[i], requests[i + 1]).any():
            gap[i] = usual
    gap[-1:] = usual
    return gap
