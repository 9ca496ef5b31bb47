"""How far speed-ups hold beyond the rollouts at hand: makespans of RL steps and of prompts drawn
again, the same for every choice, so that what is known is the ratio.

Of a ratio's logarithm, the variance over prompts comes from RL steps whose prompts were drawn with
replacement and simulated anew; that over RL steps from drawing RL steps with replacement. Both are
added, so that where RL steps differ only by their prompts that part counts twice. A makespan hangs
on the longest rollouts, and of an extreme as many draws as there are prompts tell too little: half
as many are drawn, each twice (the m out of n bootstrap, Bickel & Sakov 2008, without scaling back,
which for extremes would be too bold). So intervals are rather too wide than too narrow. They are
Student's t around the ratio of the recorded RL steps, with the degrees of freedom of both, not
quantiles: the longest of prompts drawn again is never longer than the longest at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from ...sim.step import StepResult
from .bench import Bench, seconds_of
from .choices import Choice

LEVEL = 0.95
DRAWS = 999  # of RL steps, which cost nothing
LEAST, MOST = 8, 20  # of prompts, each of which is simulated


@dataclass(frozen=True)
class Ratio:
    """A makespan over another, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """Makespans, seconds, of C choices in S RL steps, and with R draws of prompts in D of them."""

    choices: tuple[Choice, ...]
    results: tuple[tuple[StepResult, ...], ...]  # as recorded
    makespan_s: np.ndarray  # float64[C, S]
    again_s: np.ndarray  # float64[C, D, R]
    prompts: int  # of an RL step

    @cached_property
    def total_s(self) -> np.ndarray:
        """float64[C]: of all RL steps."""
        total: np.ndarray = self.makespan_s.sum(1)
        return total

    @cached_property
    def steps_s(self) -> np.ndarray:
        """float64[C, DRAWS]: of as many RL steps drawn with replacement."""
        count = self.makespan_s.shape[1]
        drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
        total: np.ndarray = self.makespan_s[:, drawn].sum(2)
        return total

    def ratio(self, above: int, below: int) -> Ratio:
        """One choice's makespan over another's."""
        value = self.total_s[above] / self.total_s[below]
        prompts = np.log(self.again_s[above].sum(0) / self.again_s[below].sum(0))
        steps = np.log(self.steps_s[above] / self.steps_s[below])
        known = min(self.prompts, len(prompts)) - 1  # degrees of freedom
        parts = [(prompts.var(ddof=1) * self.prompts / max(self.prompts - 1, 1), max(known, 1))]
        count = self.makespan_s.shape[1]
        if count > 1:
            parts.append((steps.var() * count / (count - 1), count - 1))
        variance = sum(part for part, _ in parts)
        if self.prompts < 2 and count < 2 and above != below:
            return Ratio(float(value), 0.0, np.inf)  # one prompt, once: nothing was drawn
        if variance <= 0:
            return Ratio(float(value), float(value), float(value))
        freedom = sum(n for _, n in parts)
        off = np.exp(stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance))
        return Ratio(float(value), float(value / off), float(value * off))

    @cached_property
    def spread(self) -> np.ndarray:
        """float64[C, C]: the lower end of each ratio over the ratio."""
        n = range(len(self.choices))
        return np.array([[(r := self.ratio(a, b)).low / r.value for b in n] for a in n])


def measure(
    bench: Bench,
    choices: Sequence[Choice],
    tokens: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Measured:
    """Simulate them as recorded, and with the prompts drawn again.

    tokens: how many to simulate in draws, for each choice; where these are too few for all RL
    steps, prompts are drawn again in some of them only, which makes intervals wider. Where RL steps
    have the same prompts, a draw is the same for all of them.
    """
    drawn, draws = _share(bench, tokens)
    simulated = 0
    total = (len(bench.steps) + draws * len(drawn)) * len({choice.drafter for choice in choices})

    def advance() -> None:
        nonlocal simulated
        simulated += 1
        progress(simulated / total)

    done = bench.simulate(choices, bench.cases(), progress=advance)
    cases: list[tuple[int, np.ndarray]] = []
    for draw in range(draws):
        rng = np.random.default_rng([1, draw])
        orders: dict[tuple[int, ...], np.ndarray] = {}
        for step in drawn:
            prompts = tuple(bench.load.lengths.prompt[g[0]] for g in bench.groups(step))
            if prompts not in orders:
                orders[prompts] = rng.integers(len(prompts), size=-(-len(prompts) // 2))
            cases.append((step, bench.rows(step, orders[prompts])))
    again = np.array(bench.simulate(choices, cases, progress=advance, kept=seconds_of))
    return Measured(
        tuple(choices),
        tuple(map(tuple, done)),
        np.array([[seconds_of(result) for result in each] for each in done]),
        again.reshape(len(choices), draws, len(drawn)).transpose(0, 2, 1),
        min(len(bench.groups(step)) for step in drawn),
    )


def _share(bench: Bench, tokens: int) -> tuple[tuple[int, ...], int]:
    """(RL steps whose prompts are drawn again, how often)."""
    each = max(bench.tokens // len(bench.steps), 1)
    count = min(max(tokens // (LEAST * each), 1), len(bench.steps))
    at = np.linspace(0, len(bench.steps) - 1, count).round().astype(int)
    return tuple(bench.steps[i] for i in at), min(max(LEAST, tokens // (count * each)), MOST)
