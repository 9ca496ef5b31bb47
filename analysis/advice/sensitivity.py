"""What the recommendation would be if something were otherwise than told or recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...policies.components import sees_drafts
from ...policies.registry import ComponentError
from .bench import Bench
from .changes import AS_IT_IS
from .choices import Choice
from .decide import clearly, recommend
from .intervals import Measured

OFF_BY = (0.7, 0.85, 1.15, 1.3)
SHORT = 5  # choices
HISTORY = "history"


@dataclass(frozen=True)
class Dial:
    """One thing that may be otherwise, in `{}` of its words as `show` tells the value."""

    name: str
    field: str  # of Change
    values: tuple[float, ...]
    words: str
    show: Callable[[float], str] = "{:g}".format

    def tell(self, *values: float) -> str:
        """What is otherwise: one value, or from one to another."""
        return self.words.format(" to ".join(map(self.show, values)))

    @property
    def neutral(self) -> float:
        """The value that changes nothing."""
        return float(getattr(AS_IT_IS, self.field))

    @property
    def sides(self) -> list[list[float]]:
        """The values below the neutral one, and those above, each from near to far."""
        below, above = ([v for v in self.values if (v - self.neutral) * side > 0]
                        for side in (-1, 1))  # fmt: skip
        far = [sorted(some, key=lambda v: abs(v - self.neutral)) for some in (below, above)]
        return [side for side in far if side]


def _dearer(value: float) -> str:
    return f"{abs(value - 1):.0%} {'dearer' if value > 1 else 'cheaper'}"


DIALS = (
    Dial("token", "token", OFF_BY, "with each token of a forward {}", _dearer),
    Dial("forward", "fixed", OFF_BY, "with a forward, its tokens aside, {}", _dearer),
    Dial(
        "host", "host_s", (5e-6, 1e-5, 2e-5, 5e-5),
        "with {} us of the host for drafting, per request and forward", lambda s: f"{1e6 * s:g}",
    ),
    Dial(
        "acceptance", "accept", (0.95, 0.9, 0.8),
        "with each draft token's chance {} of what it was", "{:.0%}".format,
    ),
    Dial(
        "chances", "skew", (0.5, 0.75, 1.25, 1.5),
        "with a budget that takes chances for {} times what they are",
    ),
    Dial(
        "history", HISTORY, (0.5, 0.0), "with {} of the earlier rollouts as history",
        lambda share: f"{share:.0%}" if share else "none",
    ),
    Dial("caps", "longer", (1.5, 2.0), "with {} times the length of rollouts that were cut"),
    Dial("requests", "requests", (0.25, 0.5, 2.0, 4.0), "with {} times the requests"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One value of a dial, and what each choice then takes."""

    dial: Dial
    value: float
    seconds: np.ndarray  # float64[C], of the RL steps that this was simulated on
    best: int  # what would be recommended: something else only if simpler or clearly faster

    @property
    def words(self) -> str:
        """What is otherwise."""
        return self.dial.tell(self.value)


@dataclass(frozen=True)
class Sensitivity:
    """Cases by dial, for a few choices, no speculation first, and the same as recorded."""

    choices: tuple[Choice, ...]
    steps: tuple[int, ...]
    prompts: int
    history_prompts: int  # on which history was varied
    seconds: np.ndarray  # float64[C] as recorded
    recommended: int
    cases: tuple[Case, ...]
    untried: tuple[str, ...]  # what could not be simulated, and why


def sensitivity(
    bench: Bench,
    part: Bench,
    found: Measured,
    recommended: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Sensitivity:
    """Recompute the recommendation at both ends of every dial that can matter, and between where
    it is another one at the end.

    part: where drafters learn anew from less history; what that does to its last RL step is taken
    to be what it does to all. Noise is taken to be as large as it was measured to be.
    """
    short = shortlist(found, recommended)
    choices, at = [found.choices[i] for i in short], short.index(recommended)
    spread = found.spread[np.ix_(short, short)]
    cases: list[Case] = []
    untried: dict[str, None] = {}
    usual = bench.totals(choices)

    def vary(dial: Dial, value: float) -> Case:
        if dial.field == HISTORY:
            seconds = usual * _forgotten(part, choices, value)
        else:
            seconds = bench.totals(choices, replace(AS_IT_IS, **{dial.field: value}))
        best = recommend(choices, seconds, spread)
        simpler = choices[best].rank < choices[at].rank
        if not simpler and not clearly(seconds, spread, at, best):
            best = at
        return Case(dial, value, seconds, best)

    for done, dial in enumerate(DIALS):
        why = _pointless(dial, bench, choices)
        for side in dial.sides if why is None else ():
            try:
                tried = [vary(dial, side[-1])]
                for value in side[:-1] if tried[0].best != at else ():
                    tried.append(vary(dial, value))
                    if tried[-1].best != at:
                        break  # from here on
                cases += tried
            except ComponentError as error:
                why = f"{dial.tell(side[-1])}: {error}"
        if why:
            untried[why] = None
        progress((done + 1) / len(DIALS))
    cases.sort(key=lambda case: (DIALS.index(case.dial), case.dial.values.index(case.value)))
    return Sensitivity(
        tuple(choices), bench.steps, bench.prompts, part.prompts, usual, at, tuple(cases),
        tuple(untried),
    )  # fmt: skip


def shortlist(found: Measured, recommended: int) -> list[int]:
    """No speculation, the recommendation, the best of each rank, and the fastest of the rest."""
    order = np.argsort(found.total_s, kind="stable").tolist()
    firsts = {found.choices[i].rank: i for i in reversed(order)}
    chosen = dict.fromkeys([firsts[min(firsts)], recommended])
    chosen |= dict.fromkeys(sorted(firsts.values(), key=order.index))
    chosen |= dict.fromkeys(order)
    return list(chosen)[:SHORT]


def _pointless(dial: Dial, bench: Bench, choices: Sequence[Choice]) -> str | None:
    """Why a dial cannot matter here: in words if that should be said, empty if not."""
    load, step = bench.load, bench.steps[-1]
    if dial.field == "host_s":
        if bench.setup.latency.name == "calibrated":
            return ""  # it was measured
        if not any(choice.speculates and choice.drafter.needs_tokens for choice in choices):
            return ""
    if dial.field == "skew" and not any(sees_drafts(choice.budget) for choice in choices):
        return ""
    if dial.field in ("accept", HISTORY) and not any(choice.speculates for choice in choices):
        return ""
    if dial.field == HISTORY and load.lengths.rl_step[0] == step:
        return "history: there are no earlier RL steps, so that what they are worth is not seen"
    if dial.field == "longer" and not any(load.lengths.capped[load.rows(s)].any()
                                          for s in bench.steps):  # fmt: skip
        return "caps: no rollout was cut by length"
    return None


def _forgotten(part: Bench, choices: Sequence[Choice], share: float) -> np.ndarray:
    """float64[C]: how many times as long the last RL step takes with this share of its history."""
    last = replace(part, steps=part.steps[-1:])
    factor: np.ndarray = part.forgetful(share).totals(choices) / last.totals(choices)
    return factor
