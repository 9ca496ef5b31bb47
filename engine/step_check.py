"""A step log that something is to be concluded from has to be whole: its own conservation laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..traces.schema import TraceError
from .step_log import read_step_log

SUMS = (("tokens", "request_tokens"), ("drafted", "request_drafted"),
        ("accepted", "request_accepted"))  # fmt: skip
CLOCK_S = 1e-6  # what the sum of its parts may exceed a forward by


def read_whole_log(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The forwards and the requests of one engine's step log, checked.

    Raises TraceError, naming the row, for a log with a forward missing, with clocks that run
    backwards, or whose forwards and requests do not add up.
    """
    forwards = read_step_log(folder)
    requests = read_step_log(folder, "requests")
    for check in (_numbers, _clocks, _counts):
        check(forwards, Path(folder))
    _requests(forwards, requests, Path(folder))
    return forwards, requests


def _refuse(what: str, folder: Path, row: int | None = None) -> TraceError:
    return TraceError(
        what, file=folder, row=row, remedy="calibrate from whole logs only: run this one again"
    )


def _numbers(log: pd.DataFrame, folder: Path) -> None:
    missing = np.flatnonzero(log.forward.to_numpy() != np.arange(len(log)))
    if len(missing):
        row = int(missing[0])
        found = int(log.forward.iloc[row])
        what = f"forward {row} is missing" if found > row else f"forward {found} is there twice"
        raise _refuse(what, folder, row + 1)


def _clocks(log: pd.DataFrame, folder: Path) -> None:
    seconds = log[["begin_s", "forward_s", "draft_s", "schedule_s", "model_s"]].to_numpy()
    bad = np.flatnonzero(~np.isfinite(seconds).all(axis=1) | (seconds < 0).any(axis=1))
    if len(bad):
        raise _refuse("seconds that are negative or no numbers", folder, int(bad[0]) + 1)
    back = np.flatnonzero(np.diff(log.begin_s) < 0)
    if len(back):
        raise _refuse("the clock runs backwards", folder, int(back[0]) + 2)
    run = log.attrs["run"]
    if run.get("async_scheduling") or run.get("pipeline_parallel", 1) > 1:
        return  # a forward is scheduled while the last one runs
    overlap = np.flatnonzero(np.diff(log.begin_s) < log.forward_s.to_numpy()[:-1] - CLOCK_S)
    if len(overlap):
        raise _refuse("a forward begins before the last one ended", folder, int(overlap[0]) + 2)
    parts = log.draft_s + log.schedule_s + log.model_s
    long = np.flatnonzero(parts > log.forward_s + CLOCK_S)
    if len(long):
        raise _refuse("a forward's parts take longer than it", folder, int(long[0]) + 1)


def _counts(log: pd.DataFrame, folder: Path) -> None:
    sizes = log.request.map(len)
    bad = sizes != log.requests
    for total, per_request in SUMS:
        bad |= log[per_request].map(np.sum) != log[total]
    bad |= (log.accepted > log.drafted) | (log.drafted + log.requests > log.tokens)
    bad |= (log.kv_tokens < log.tokens) | (log.pairs < log.kv_tokens)
    rows = np.flatnonzero(bad)
    if len(rows):
        raise _refuse("a forward's counts do not add up", folder, int(rows[0]) + 1)


def _requests(log: pd.DataFrame, requests: pd.DataFrame, folder: Path) -> None:
    """What requests were given in all is what forwards gave them, and each forward's context is
    what the ones before it have computed.
    """
    parts = explode(log)
    if (parts.request < 0).any():
        return  # of requests that are not ours nothing is known
    sums = parts.groupby("request")[["drafted", "accepted"]].sum()
    ran = requests[requests.forwards > 0].set_index("request")  # others ended while they waited
    known = ran[ran.index.isin(sums.index)]
    unequal = known.index[(sums.loc[known.index] != known[["drafted", "accepted"]]).any(axis=1)]
    if len(unequal) or len(known) < len(ran):
        raise _refuse("forwards and requests do not add up: some forwards are missing", folder)
    run = log.attrs["run"]
    if run.get("prefix_caching") or log.preempted.any():
        return  # a context may begin, or begin again, with what is cached
    kept = parts.tokens - (parts.drafted - parts.accepted)
    reach = kept.groupby(parts.request).cumsum() - kept + parts.tokens
    context = reach.groupby(parts.forward).sum()
    wrong = np.flatnonzero(context.to_numpy() != log.kv_tokens.to_numpy())
    if len(wrong):
        row = int(wrong[0])
        raise _refuse("its context is not what the forwards before it computed: one is missing",
                      folder, row + 1)  # fmt: skip


def explode(log: pd.DataFrame) -> pd.DataFrame:
    """One row per forward and request that took part: forward (row of the log), request, tokens,
    drafted, accepted.
    """
    sizes = log.request.map(len).to_numpy()

    def flat(column: str) -> np.ndarray:
        return np.concatenate([np.asarray(part, np.int64) for part in log[column]])

    return pd.DataFrame(
        {
            "forward": np.repeat(np.arange(len(log)), sizes),
            "request": flat("request"),
            "tokens": flat("request_tokens"),
            "drafted": flat("request_drafted"),
            "accepted": flat("request_accepted"),
        }
    )
