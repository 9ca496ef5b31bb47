"""A timeline as Chrome's trace-event JSON, which ui.perfetto.dev and chrome://tracing open.

One process per replica: its forwards are slices, its counts counters. Requests are asynchronous
slices, those of a prompt on one track, and so are RL steps; both are in a process of their own.
Source of the format: "Trace Event Format" (Google), docs/getting-started/other-formats.md of
google/perfetto. Times are microseconds, and kept to the nanosecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..traces.exporting import Exported, check_target, opened
from .timeline import LISTS, Timeline

ROLLOUTS, REPLICAS = 1, 2  # process ids: of the rollouts, and of replica 0
COUNTERS = {  # (name, what is counted): column
    ("requests", "running"): "running",
    ("requests", "waiting"): "waiting",
    ("tokens", "drafted"): "drafted",
    ("tokens", "accepted"): "accepted",
    ("KV", "tokens"): "kv_tokens",
}
NO_ARGUMENT = {"begin_s", "end_s", "forward_s", "replica", "prompt_id", "probe_s"}
MILLISECONDS = ("draft_s", "schedule_s", "model_s")


def export_chrome(timeline: Timeline, output: str | Path, source: Path) -> Exported:
    """Write the timeline; source: the file or folder that it comes from. Raises TraceError."""
    path = check_target(output, [source])
    head = {"displayTimeUnit": "ms", "otherData": {"seconds": timeline.kind, **timeline.about}}
    count = 0
    with opened(path) as stream:
        stream.write(json.dumps(head)[:-1].encode() + b', "traceEvents": [')
        for event in events(timeline):
            stream.write((b",\n" if count else b"\n") + json.dumps(event).encode())
            count += 1
        stream.write(b"\n]}\n")
    return Exported(count, "events", timeline.warnings)


def events(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """All trace events; those of a track in order of time."""
    made_up = timeline.about.get("origin") == "synthetic"
    kind = f"{timeline.kind}, SYNTHETIC rollouts" if made_up else timeline.kind
    yield from _name("process", ROLLOUTS, f"rollouts ({kind})")
    yield from _steps(timeline)
    if timeline.requests is not None:
        yield from _requests(timeline.requests)
    for replica in sorted(set(timeline.forwards.replica.tolist())):
        forwards = timeline.forwards[timeline.forwards.replica == replica]
        pid = REPLICAS + int(replica)
        yield from _name("process", pid, f"replica {int(replica)} ({kind})")
        yield from _name("thread", pid, "forwards")
        yield from _forwards(forwards, pid)
        yield from _counters(forwards, pid)


def _name(what: str, pid: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": f"{what}_name", "pid": pid, "tid": pid, "args": {"name": name}}


def _steps(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Each RL step from its first forward's begin to its last one's end."""
    forwards = timeline.forwards
    ends = forwards.begin_s + forwards.forward_s
    spans = pd.DataFrame({"begin": forwards.begin_s, "end": ends}).groupby(forwards.rl_step)
    for rl_step, span in spans:
        name = f"RL step {rl_step}"
        yield from _async("RL step", name, str(rl_step), span.begin.min(), span.end.max(), {})


def _requests(requests: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each request from its arrival to its end, named by its prompt."""
    for number, row in enumerate(_records(requests)):
        name = "request" if row["prompt_id"] is None else f"prompt {row['prompt_id']}"
        arguments = _arguments(row)
        yield from _async("request", name, str(number), row["begin_s"], row["end_s"], arguments)


def _async(
    category: str, name: str, key: str, begin_s: float, end_s: float, arguments: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    identity = {"local": f"{category} {key}"}  # of this process, so that it is shown there
    same = {"cat": category, "name": name, "id2": identity, "pid": ROLLOUTS, "tid": ROLLOUTS}
    yield {"ph": "b", "ts": _us(begin_s), **same, "args": arguments}
    yield {"ph": "e", "ts": _us(max(begin_s, end_s)), **same}


def _forwards(forwards: pd.DataFrame, pid: int) -> Iterator[dict[str, Any]]:
    """Slices that touch but never overlap: an end is cut where the next one begins."""
    end = 0.0
    for row in _records(forwards):
        begin = max(_us(row["begin_s"]), end)
        end = max(_us(row["begin_s"] + row["forward_s"]), begin)
        yield {"ph": "X", "cat": "forward", "name": _sort(row), "pid": pid, "tid": pid,
               "ts": begin, "dur": round(end - begin, 3), "args": _arguments(row)}  # fmt: skip


def _sort(row: dict[str, Any]) -> str:
    """What a forward is called, and so coloured by."""
    if row["prefill_tokens"]:
        return "prefill" if row["prefill_tokens"] == row["tokens"] else "prefill and decode"
    return "verify" if row["drafted"] else "decode"


def _counters(forwards: pd.DataFrame, pid: int) -> Iterator[dict[str, Any]]:
    """Counts where they change, and nothing once an RL step's last forward here has ended."""
    steps = [*forwards.rl_step.tolist(), None]
    ends = (forwards.begin_s + forwards.forward_s).tolist()
    for (name, what), column in COUNTERS.items():
        before = None
        for i, (begin_s, count) in enumerate(zip(forwards.begin_s, forwards[column], strict=True)):
            marks = [(begin_s, int(count))]
            if steps[i + 1] != steps[i]:
                marks.append((ends[i], 0))
            for at_s, value in marks:
                if value != before:
                    yield {"ph": "C", "name": name, "pid": pid, "tid": pid, "ts": _us(at_s),
                           "args": {what: value}}  # fmt: skip
                    before = value


def _arguments(row: dict[str, Any]) -> dict[str, Any]:
    """What is shown of a slice."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name in MILLISECONDS:
            shown[f"{name[:-2]}_ms"] = round(1000 * value, 6)
        elif name not in NO_ARGUMENT:
            known = value is not None and value == value  # not NaN
            shown[name] = value if isinstance(value, str) else int(value) if known else None
    return shown


def _records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as they are asked for, in Python's own numbers, without lists."""
    names = [str(name) for name in table if name not in LISTS]
    for values in zip(*(table[name].tolist() for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _us(seconds: float) -> float:
    """Microseconds, to the nanosecond."""
    return round(1e6 * float(seconds), 3)
