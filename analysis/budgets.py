"""Every budget with every drafter: makespan, regret and drafts in vain, by latency and batch.

A cell is one budget with one drafter on one trace, under one latency model, with so many requests
at once, all RL steps judged together. Requests start together on one replica, without limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..policies.components import BUDGETS, DRAFTERS
from ..policies.registry import ComponentError
from ..sim.grid import expand
from ..sim.simulate import Setup
from ..sim.sweep import sweep
from ..sim.workload import Workload

NONE, OURS = "fixed:k=0", "tail"
FIXED = tuple(f"fixed:k={k}" for k in (1, 2, 4, 8, 16))
BEST = "best fixed"  # in hindsight: the least makespan of FIXED and of none
ARMS = "1:17-9-5_5:9-5-3_21:5-3-1"  # for a bandit that has something to learn
VARIANTS = {
    "fixed": [NONE, *FIXED],
    "das": ["das", "das:form=printed"],
    "beg_mab": ["beg_mab", f"beg_mab:arms={ARMS}", f"beg_mab:form=printed,arms={ARMS}"],
    "ucb": ["ucb", "ucb:form=released"],
    "mba": ["mba", "mba:benefit=survival"],
    "fastgrpo": ["fastgrpo", "fastgrpo:capacity=0", "fastgrpo:form=released"],
    "aimd": ["aimd", "aimd:form=released"],
    "threshold": ["threshold", "threshold:switch=free"],
    "classes": ["classes", "classes:active=32"],
}
"""What is compared of a budget in place of its defaults, where nobody says what to compare."""
LONGEST = 16  # draft tokens of one-hot drafters
STEP_S = 1e-3  # assumed for a step of a draft model: no source gives it
COMPARED = (
    f"suffix:scope=both,max={LONGEST}",
    f"suffix:scope=own,max={LONGEST}",
    f"suffix:scope=problem,max={LONGEST}",
    f"suffix:scope=all,max={LONGEST}",
    f"suffix:scope=both,paths=4,max={LONGEST}",
    f"das:max={LONGEST}",
    f"ngram:k={LONGEST}",
    "histospec",
    "grouped",
    f"learned:step={STEP_S:g}",
    f"learned:table=nemo-eagle3,k=5,step={STEP_S:g}",
)
LATENCIES = {
    "H100, 7B": "h100-7b",
    "launch-bound": "linear:base=2e-3,token=3e-6",
    "KV-bound, 32B": "roofline:model=qwen2.5-32b,gpu=h100",
}
AT_ONCE = (16, 128, 512)
TOLD = {
    "H100, 7B": ("linear:base=12.35e-3,token=25e-6", "linear:base=9.5e-3,token=32.5e-6"),
    "launch-bound": ("linear:base=2.6e-3,token=3e-6", "linear:base=2e-3,token=3.9e-6"),
    "KV-bound, 32B": (
        "roofline:model=qwen2.5-32b,gpu=h100,bandwidth=0.7,base=2.18e-3",
        "roofline:model=qwen2.5-32b,gpu=h100,flops=0.43",
    ),
}
"""Latencies as a budget may be told them wrongly: what is fixed is 30 % dearer, or a token is."""
FURTHER = 1.5  # times the requests of the batch before, or a batch is left out


@dataclass(frozen=True)
class Study:
    """Cells, and what they were made of.

    cells: trace, origin, latency, at_once, drafter, budget, rl_steps, makespan_s, none_s,
    clairvoyant_s, drafted, accepted; sums over the RL steps judged. misled: the same of OURS with
    the first drafter, by what it was misled about.
    """

    cells: pd.DataFrame
    misled: pd.DataFrame
    drafters: tuple[str, ...]
    budgets: tuple[str, ...]
    latencies: tuple[str, ...]
    captions: tuple[str, ...]  # of the traces


def default_budgets() -> list[str]:
    """All of the registry, with variants; without drafts first."""
    found = [spec for name in BUDGETS.classes for spec in VARIANTS.get(name, [name])]
    return sorted(found, key=lambda spec: spec != NONE)


def study(
    loads: Sequence[Workload],
    *,
    drafters: Sequence[str] = COMPARED,
    budgets: Sequence[str] = (),
    latencies: dict[str, str] | None = None,
    at_once: Sequence[int] = AT_ONCE,
    rl_steps: Sequence[int] | None = None,
    jobs: int | None = None,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Study:
    """Simulate all cells. rl_steps: those judged, by default all but the first.

    Of a drafter whose drafts depend on timing only the last of them is: it drafts in the loop.
    Raises TraceError and ComponentError.
    """
    latencies = LATENCIES if latencies is None else latencies
    asked = [spec for given in budgets for spec in expand(given)] or default_budgets()
    asked = list(dict.fromkeys([NONE, *asked]))
    drawn = list(dict.fromkeys(spec for given in drafters for spec in expand(given)))
    if not drawn:
        raise ComponentError("name a drafter that drafts something")
    frames, misled = [], []
    for load in loads:
        judged = load.choose(rl_steps)
        if rl_steps is None and len(judged) > 1:
            judged = judged[1:]
        for count, part in batches(load, judged, at_once):
            say = _labelled(progress, f"{load.provenance['trace']}, {count} at once")
            points = [
                (latency, drafter, budget)
                for latency in latencies.values()
                for drafter in drawn
                for budget in asked
            ]
            frames.append(_cells(part, points, judged, jobs, say).assign(at_once=count))
            if OURS in asked:
                found = _misled(part, drawn[0], latencies, judged, jobs, say)
                misled.append(found.assign(at_once=count))
    names = {spec: name for name, spec in latencies.items()}
    tables = []
    for parts in (frames, misled):
        whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        if len(whole):
            whole["latency"] = whole.latency.map(names)
            whole["regret"] = whole.makespan_s / whole.clairvoyant_s - 1
            whole["speed_up"] = whole.none_s / whole.makespan_s
            whole["wasted"] = 1 - whole.accepted / whole.drafted.where(whole.drafted > 0)
        tables.append(whole)
    return Study(
        tables[0], tables[1], tuple(drawn), tuple(asked), tuple(latencies),
        tuple(dict.fromkeys(load.provenance["trace"] for load in loads)),
    )  # fmt: skip


def batches(
    load: Workload, judged: Sequence[int], at_once: Sequence[int]
) -> Iterator[tuple[int, Workload]]:
    """(requests at once, workload) for each number that the RL steps judged can fill further."""
    before = 0
    for count in sorted(at_once):
        part = load.at_most(count)
        most = max(len(part.chosen(step)) for step in judged)
        if most >= before * FURTHER:
            yield most, part
        before = most


def _cells(
    load: Workload,
    points: Sequence[tuple[str, str, str]],
    judged: Sequence[int],
    jobs: int | None,
    progress: Callable[[int, int], None],
    **more: Any,
) -> pd.DataFrame:
    """A row per point, summed over RL steps."""
    rows = []
    timed = [p for p in points if DRAFTERS.make(p[1]).timed]
    known = [p for p in points if not DRAFTERS.make(p[1]).timed]
    for some, steps in ((known, judged), (timed, judged[-1:])):
        if not some:
            continue
        setups = [Setup.of(latency=at, drafter=d, budget=b, **more) for at, d, b in some]
        table = sweep(load, setups, rl_steps=steps, jobs=jobs, progress=progress)
        each = len(steps)
        for i, (latency, drafter, budget) in enumerate(some):
            mine = table.iloc[i * each : (i + 1) * each]
            rows.append(
                {
                    **load.provenance,
                    "latency": latency,
                    "drafter": drafter,
                    "budget": budget,
                    "rl_steps": each,
                    "makespan_s": mine.makespan_s.sum(),
                    "clairvoyant_s": mine.clairvoyant_s.sum(),
                    "drafted": int(mine.draft_tokens.sum()),
                    "accepted": int(mine.accepted_tokens.sum()),
                }
            )
    found = pd.DataFrame(rows)
    none = found[found.budget == NONE].set_index(["latency", "drafter"]).makespan_s
    if len(none):
        keys = pd.MultiIndex.from_frame(found[["latency", "drafter"]])
        found["none_s"] = none.reindex(keys).to_numpy()
    return found


def _misled(
    load: Workload,
    drafter: str,
    latencies: dict[str, str],
    judged: Sequence[int],
    jobs: int | None,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    """OURS told wrong chances, lengths and latencies."""
    frames = []
    for name, latency in latencies.items():
        ways: list[tuple[str, str, dict[str, Any]]] = [
            ("nothing", OURS, {}),
            ("chances × 0.5", OURS, {"skew": 0.5}),
            ("chances × 1.5", OURS, {"skew": 1.5}),
            ("lengths: noise", f"{OURS}:lengths=noise", {}),
        ]
        for words, told in zip(("base + 30 %", "token + 30 %"), TOLD.get(name, ()), strict=False):
            ways.append((f"latency: {words}", OURS, {"told": told}))
        for about, budget, more in ways:
            points = [(latency, drafter, NONE), (latency, drafter, budget)]
            found = _cells(load, points, judged, jobs, progress, **more)
            frames.append(found[found.budget != NONE].assign(about=about))
    return pd.concat(frames, ignore_index=True)


def _labelled(progress: Callable[[str, int, int], None], label: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(label, done, total)


def hindsight(cells: pd.DataFrame) -> pd.DataFrame:
    """The best fixed length of each place, as one more budget."""
    fixed = cells[cells.budget.isin([NONE, *FIXED])]
    best = fixed.loc[fixed.groupby(PLACE).makespan_s.idxmin()]
    return best.assign(length=best.budget.str.partition("=")[2].astype(int), budget=BEST)


PLACE = ["trace", "latency", "at_once", "drafter"]
