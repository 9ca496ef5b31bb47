"""`longtail advise`: a trace in, what to turn on out.

A search over what the engine can do on a part of the prompts (`search`), the best simulated on
everything with the same prompts drawn again for all (`intervals`), the simplest that nothing
clearly beats (`decide`), and the same question with one thing otherwise (`sensitivity`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...policies.registry import ComponentError, nearest
from ...sim.limits import Limits
from ...sim.simulate import Setup
from ...sim.workload import Workload
from .bench import Bench
from .choices import ENGINES, PLAIN, VLLM, Choice, budgets_of
from .decide import Verdict, decide
from .intervals import Measured, Ratio, measure
from .search import Found, drafters_for, finalists, search
from .sensitivity import Sensitivity, sensitivity

logger = logging.getLogger(__name__)

PART = 1_200_000  # output tokens of the prompts that the search simulates
WHOLE = 6_000_000  # and of those that the rest does
TOKENS, STEPS = 1_500_000, 3  # of the last RL steps, that the search and the variations simulate
DRAWN = 15_000_000  # output tokens to simulate in prompts drawn again, for each choice

STAGES = {"search": (0.0, 0.35), "measure": (0.35, 0.8), "vary": (0.8, 1.0)}
"""From which share of the whole to which, roughly."""


@dataclass(frozen=True)
class Advice:
    """The finalists measured, which of them to turn on, and what that rests on."""

    load: Workload  # the trace
    engine: str
    bench: Bench  # on which the finalists were measured
    searched: Bench  # a part of it: few prompts, the last RL steps
    found: Found  # all that was tried there
    measured: Measured
    verdict: Verdict
    sensitivity: Sensitivity

    @property
    def recommended(self) -> Choice:
        """What to turn on."""
        return self.measured.choices[self.verdict.recommended]

    @property
    def runner_up(self) -> Choice | None:
        """The best of the others."""
        index = self.verdict.runner_up
        return None if index is None else self.measured.choices[index]

    def speed_up(self, index: int) -> Ratio:
        """A finalist's over no speculation."""
        return self.measured.ratio(0, index)

    def __repr__(self) -> str:
        """What to turn on, in a sentence."""
        from .words import headline

        return headline(self)

    def to_json(self) -> dict[str, Any]:
        """What `advise --json` prints."""
        from .document import document  # which is of advices

        return document(self)


def advise(
    load: Workload,
    *,
    engine: str = "longtail",
    latency: Any = "h100-7b",
    limits: Limits | None = None,
    drafters: Sequence[str] = (),
    budgets: Sequence[str] = (),
    rl_steps: Sequence[int] | None = None,
    requests: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Advice:
    """What to turn on for rollouts like these.

    engine: `vllm` for what stock vLLM can do, `longtail` for that and the plug-in. rl_steps: those
    judged, all but the first by default (it has no history), or the only one. requests: of an RL
    step, where not as many as recorded. progress: told how much is done, 0 to 1.
    Raises TraceError and ComponentError for unusable input.
    """

    def during(stage: str) -> Callable[[float], None]:
        first, last = STAGES[stage]
        return lambda share: progress(first + (last - first) * share)

    if engine not in ENGINES:
        raise ComponentError(f"no engine '{engine}'{nearest(engine, ENGINES)}")
    setup = Setup.of(latency=latency, limits=limits)
    judged = load.judged(rl_steps)
    plain = (*PLAIN, "schedule")
    if engine == VLLM and budgets and any(b.name not in plain for b in budgets_of(budgets)):
        raise ComponentError(
            "vLLM itself keeps one draft length, or one by batch size: name a budget of "
            f"{', '.join(plain)}, or let the plug-in do it (--engine longtail)"
        )
    allowed, left_out = drafters_for(load, engine, drafters)
    # Read now, so that parts of the workload have them.
    if load.tokens is None and load.trace is not None and load.trace.has_tokens:
        load.tokens = load.trace.tokens(load.rl_steps)
    logger.info("searching, drafters of %s", ", ".join(sorted({who for _, who in allowed})))
    part = Bench.of(load, judged, setup, most_tokens=PART, requests=requests)
    last = part.last(TOKENS, STEPS)
    found = search(last, engine, allowed, budgets, during("search"))
    found.left_out += left_out
    choices = finalists(found)

    logger.info("measuring %d of the %d choices tried", len(choices), len(found.seconds))
    bench = Bench.of(load, judged, setup, most_tokens=WHOLE, requests=requests)
    if bench.prompts == part.prompts:
        bench = part
    measured = measure(bench, choices, DRAWN, during("measure"))
    verdict = decide(choices, measured.total_s, measured.spread)
    logger.info("varying one thing at a time")
    varied = bench.last(TOKENS, STEPS)
    tested = sensitivity(varied, last, measured, verdict.recommended, during("vary"))
    return Advice(load, engine, bench, last, found, measured, verdict, tested)
