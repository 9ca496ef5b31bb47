"""Every budget with every drafter: makespan, regret and drafts in vain, by latency and batch.

A cell is one budget with one drafter on one trace, under one latency model, with so many requests
at once, all RL steps judged together. Requests start together on one replica, without limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..policies.components import BUDGETS
from ..policies.registry import ComponentError
from ..sim.grid import expand
from ..sim.simulate import Setup
from ..sim.sweep import sweep
from ..sim.workload import Workload
from ..traces.schema import TraceError

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
PLACE = ["trace", "latency", "at_once", "drafter"]  # where budgets are compared
FURTHER = 1.5  # times the requests of the batch before, or a batch is left out


@dataclass(frozen=True)
class Study:
    """Cells, and what they were made of.

    cells: trace, origin, latency, at_once, drafter, budget, rl_steps, makespan_s, none_s,
    clairvoyant_s, drafted, accepted; sums over the RL steps judged. misled: the same of OURS with
    the first drafter, by what it was misled `about`.
    """

    cells: pd.DataFrame
    misled: pd.DataFrame
    drafters: tuple[str, ...]
    budgets: tuple[str, ...]
    latencies: tuple[str, ...]
    captions: tuple[str, ...]  # of the traces


@dataclass(frozen=True)
class Point:
    """What a cell will be of: a budget with a drafter under a latency model of this name."""

    latency: str
    drafter: str
    budget: str
    setup: Setup
    about: str = ""  # what the budget is misled about


@dataclass(frozen=True)
class Part:
    """Points on one trace with so many requests at once, over the same RL steps."""

    load: Workload
    at_once: int
    points: Sequence[Point]
    rl_steps: Sequence[int]

    @property
    def name(self) -> str:
        """For people."""
        timed = ", drafting in the loop" * self.points[0].setup.drafter.timed
        return f"{self.load.provenance['trace']}, {self.at_once} at once{timed}"

    @property
    def setups(self) -> list[Setup]:
        """What is simulated."""
        return [point.setup for point in self.points]


@dataclass(frozen=True)
class Plan:
    """What a study compares, and the parts that it is simulated in."""

    drafters: Sequence[str]
    budgets: Sequence[str]
    latencies: Mapping[str, str]  # by name
    parts: Sequence[Part]
    captions: Sequence[str]  # of the traces

    @classmethod
    def of(
        cls,
        loads: Sequence[Workload],
        *,
        drafters: Sequence[str] = COMPARED,
        budgets: Sequence[str] = (),
        latencies: Mapping[str, str] | None = None,
        at_once: Sequence[int] = AT_ONCE,
        rl_steps: Sequence[int] | None = None,
    ) -> Plan:
        """All budgets with all drafters. rl_steps: those judged, by default all but the first.

        Of a drafter whose drafts depend on timing only the last of them is: it drafts in the loop.
        Raises TraceError and ComponentError.
        """
        latencies = LATENCIES if latencies is None else latencies
        asked = [spec for given in budgets for spec in expand(given)] or default_budgets()
        asked = list(dict.fromkeys([NONE, *asked]))
        drawn = list(dict.fromkeys(spec for given in drafters for spec in expand(given)))
        if not drawn:
            raise ComponentError("name a drafter that drafts something")
        names = [load.provenance["trace"] for load in loads]
        for name in names:
            if names.count(name) > 1:
                raise TraceError("two traces of this name", file=name, remedy="rename one of them")
        points = list(_points(drawn, asked, latencies))
        parts = []
        for load in loads:
            judged = load.judged(rl_steps)
            for count, some in batches(load, judged, at_once):
                for timed, steps in ((False, judged), (True, judged[-1:])):
                    mine = [point for point in points if point.setup.drafter.timed == timed]
                    parts += [Part(some, count, mine, steps)] if mine else []
        return cls(drawn, asked, latencies, parts, names)


def default_budgets() -> list[str]:
    """All of the registry, with variants; without drafts first."""
    found = [spec for name in BUDGETS.classes for spec in VARIANTS.get(name, [name])]
    return sorted(found, key=lambda spec: spec != NONE)


def _points(
    drafters: Sequence[str], budgets: Sequence[str], latencies: Mapping[str, str]
) -> Iterator[Point]:
    """Every combination; then OURS with the first drafter, told wrong chances, lengths and
    latencies.
    """
    for name, latency in latencies.items():
        for drafter in drafters:
            for budget in budgets:
                setup = Setup.of(latency=latency, drafter=drafter, budget=budget)
                yield Point(name, drafter, budget, setup)
    for name, latency in latencies.items() if OURS in budgets else ():
        ways: list[tuple[str, str, dict[str, Any]]] = [
            ("chances × 0.5", OURS, {"skew": 0.5}),
            ("chances × 1.5", OURS, {"skew": 1.5}),
            ("lengths: noise", f"{OURS}:lengths=noise", {}),
        ]
        for words, told in zip(("base + 30 %", "token + 30 %"), TOLD.get(name, ()), strict=False):
            ways.append((f"latency: {words}", OURS, {"told": told}))
        for about, budget, more in ways:
            setup = Setup.of(latency=latency, drafter=drafters[0], budget=budget, **more)
            yield Point(name, drafters[0], budget, setup, about)


def study(
    plan: Plan,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Study:
    """Simulate all cells. progress is told of each part anew. Raises TraceError."""
    tables = [_cells(part, jobs, progress) for part in plan.parts]
    cells = pd.concat(tables, ignore_index=True)
    none = cells[cells.budget == NONE].set_index(PLACE).makespan_s
    cells["none_s"] = none.reindex(pd.MultiIndex.from_frame(cells[PLACE])).to_numpy()
    cells["regret"] = cells.makespan_s / cells.clairvoyant_s - 1
    cells["speed_up"] = cells.none_s / cells.makespan_s
    cells["wasted"] = 1 - cells.accepted / cells.drafted.where(cells.drafted > 0)
    told = cells.about == ""
    right = cells[told & (cells.budget == OURS) & (cells.drafter == plan.drafters[0])]
    misled = pd.concat([right.assign(about="nothing"), cells[~told]], ignore_index=True)
    return Study(
        cells[told].drop(columns="about"), misled, tuple(plan.drafters),
        tuple(plan.budgets), tuple(plan.latencies), tuple(plan.captions),
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


def _cells(part: Part, jobs: int | None, progress: Callable[[int, int], None]) -> pd.DataFrame:
    """A row per point, summed over RL steps."""
    table = sweep(part.load, part.setups, rl_steps=part.rl_steps, jobs=jobs, progress=progress)
    each, rows = len(part.rl_steps), []
    for i, point in enumerate(part.points):
        mine = table.iloc[i * each : (i + 1) * each]
        rows.append(
            {
                **part.load.provenance,
                "latency": point.latency,
                "at_once": part.at_once,
                "drafter": point.drafter,
                "budget": point.budget,
                "about": point.about,
                "rl_steps": each,
                "makespan_s": mine.makespan_s.sum(),
                "clairvoyant_s": mine.clairvoyant_s.sum(),
                "drafted": int(mine.draft_tokens.sum()),
                "accepted": int(mine.accepted_tokens.sum()),
            }
        )
    return pd.DataFrame(rows)


def hindsight(cells: pd.DataFrame) -> pd.DataFrame:
    """The best fixed length of each place, as one more budget."""
    fixed = cells[cells.budget.isin([NONE, *FIXED])]
    best = fixed.loc[fixed.groupby(PLACE).makespan_s.idxmin()]
    return best.assign(length=best.budget.str.partition("=")[2].astype(int), budget=BEST)
