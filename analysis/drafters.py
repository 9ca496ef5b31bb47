"""Which drafter to choose on a trace: one row for each, and one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..policies.components import BUDGETS, DRAFTERS
from ..policies.drafters.cost import cost_of
from ..policies.drafters.live import LiveDrafter
from ..policies.profile import Profile, blank_profile
from ..policies.registry import ComponentError, brief, spec_of
from ..sim.grid import expand
from ..sim.limits import Limits
from ..sim.simulate import Setup, run_step
from ..sim.workload import Workload, cores
from ..traces.rollouts import Tokens
from ..traces.schema import TraceError
from .acceptance import NOTHING, Decoded
from .reliability import Reliability, reliability_of
from .staleness import VERSION, Pair, measure

SCOPES = ("own", "problem", "both", "all", "both,paths=4,max=32")
VARIANTS = {"suffix": [f"suffix:scope={scope}" for scope in SCOPES]}
"""What is compared of a drafter in place of its defaults, where nobody says what to compare."""
BUDGETED = (1, 2, 4, 8, 16)  # draft tokens per request and forward
BATCH, FORWARDS = 32, 200  # requests drafted for at once, forwards timed
NEAR, CHEAPER = 0.01, 0.8  # as fast: within 1 %; cheaper: by a fifth at least


@dataclass(frozen=True)
class Row:
    """One drafter on the RL steps judged; reliability is of its calibrated confidences."""

    drafter: Any
    done: Decoded
    reliability: Reliability
    draft_us: float | None  # per draft, BATCH requests at once; None: a model whose cost is unknown
    extend_us: float  # per request and forward: what taking in its new token costs
    makespan_s: float  # all RL steps judged, simulated
    k: int  # draft tokens of the best fixed budget
    notes: tuple[str, ...] = ()  # of the setup: see `Setup.notes`

    @property
    def name(self) -> str:
        """For people."""
        return brief(self.drafter)

    @property
    def cost_us(self) -> float:
        """Microseconds per request and forward; infinite where unknown."""
        return np.inf if self.draft_us is None else self.draft_us + self.extend_us

    @property
    def needs_history(self) -> bool:
        """Whether drafts depend on earlier RL steps."""
        return self.drafter.history_steps != 0


@dataclass(frozen=True)
class Comparison:
    """All drafters of a trace, fastest first, and what they were compared under."""

    rows: tuple[Row, ...]
    plain_s: float  # makespan without speculation
    setup: Setup  # latency and limits
    judged: tuple[int, ...]  # RL steps
    present: tuple[int, ...]  # RL steps, up to the last one judged
    left_out: tuple[str, ...] = ()  # drafters not compared, and why
    pairs: tuple[Pair, ...] = ()  # see staleness.py
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def advice(self) -> str:
        """What to choose, in one sentence."""
        return advise(self.rows, self.plain_s, history=self.judged[0] > self.present[0])


def compare_drafters(
    load: Workload, specs: Sequence[str] = (), *, latency: str = "h100-7b",
    limits: Limits | None = None, rl_steps: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:  # fmt: skip
    """Every drafter of `specs`, or all of the registry that can be used on the trace.

    rl_steps: those judged; by default all but the first, which has no history, or the only one.
    Raises TraceError and ComponentError.
    """
    setup = Setup.of(latency=latency, limits=limits)
    judged = load.judged(rl_steps)
    drafters, left_out = candidates(load, specs)
    if load.tokens is None and load.trace and load.trace.has_tokens:
        load.tokens = load.trace.tokens(load.rl_steps)
    total, done = (len(BUDGETED) + 2) * len(drafters), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    silent = replace(setup, drafter=DRAFTERS.make("none"), budget=BUDGETS.make("fixed:k=0"))
    blank = {step: blank_profile(load.requests(step).output_len) for step in judged}
    plain_s = makespan(load, silent, blank)
    rows = [judge(load, drafter, setup, judged, advance) for drafter in drafters]
    pairs: list[Pair] = []
    if load.tokens is not None:
        versions = load.trace.column(VERSION, load.rl_steps) if load.trace else None
        pairs = measure(
            load.lengths, load.tokens, judged, versions=versions, threads=cores(),
            progress=lambda i, n: progress(total + i, total + n),
        )  # fmt: skip
    return Comparison(
        tuple(sorted(rows, key=lambda row: row.makespan_s)), plain_s, setup, tuple(judged),
        tuple(load.rl_steps), tuple(left_out), tuple(pairs), load.provenance,
    )  # fmt: skip


def candidates(load: Workload, specs: Sequence[str]) -> tuple[list[Any], list[str]]:
    """(drafters to compare, why others are not). Raises ComponentError for a name or option that is
    unknown, and TraceError if nothing is left.
    """
    if specs:
        asked = {spec_of(d): d for spec in specs for d in map(DRAFTERS.make, expand(spec))}
        drafting = [d for d in asked.values() if d.longest_draft or not d.in_engine]
        if not drafting:
            raise ComponentError("name a drafter that drafts something")
        return drafting, []
    have = load.tokens is not None or (load.trace is not None and load.trace.has_tokens)
    chosen, left_out = [], []
    for name in DRAFTERS.classes:
        try:
            default = DRAFTERS.make(name)
            if default.in_engine and default.longest_draft == 0:
                continue  # no speculation is compared with anyway
            if not default.needs_tokens:
                default.profile(load.lengths.select(slice(0, 1)), None)
                raise ComponentError(f"another model's table, not this trace's (--drafter {name})")
            if not have:
                raise ComponentError("needs tokens, and the trace has lengths only")
            chosen += [DRAFTERS.make(spec) for spec in VARIANTS.get(name, [name])]
        except ComponentError as error:
            left_out.append(f"{name}: {error}")
    if not chosen:
        raise TraceError(
            "the trace has lengths only, and these drafters need tokens",
            file=load.trace.path if load.trace else None,
            remedy="import the rollouts' text or token ids, or name a table: --drafter learned",
        )
    return chosen, left_out


def judge(
    load: Workload, drafter: Any, setup: Setup, judged: Sequence[int],
    advance: Callable[[], None] = lambda: None,
) -> Row:  # fmt: skip
    """One drafter on the RL steps judged, with all earlier ones as history."""
    if drafter.needs_tokens and load.tokens is None:
        load.profile(drafter)  # says what is missing
    profile = drafter.profile(load.lengths, load.tokens, threads=cores(), labels=True)
    rows = [load.rows(step) for step in load.rl_steps]
    parts = [profile.part(r.start, r.stop) for r in rows]
    wanted = [load.rl_steps.index(step) for step in judged]
    done = sum((Decoded.of(parts[i]) for i in wanted), NOTHING)
    advance()
    reliability = reliability_of(drafter, parts, wanted)
    draft_us, extend_us = costs(load, drafter, judged[-1])
    advance()
    setup = replace(setup, drafter=drafter)
    steps = {step: parts[i] for step, i in zip(judged, wanted, strict=True)}
    seconds: dict[int, float] = {}
    for k in BUDGETED if drafter.longest_draft else (0,):
        if not seconds or max(seconds) < drafter.longest_draft:  # beyond it nothing changes
            budget = BUDGETS.make(f"fixed:k={k}")
            seconds[k] = makespan(load, replace(setup, budget=budget), steps)
        advance()
    best = min(seconds, key=lambda k: seconds[k])
    return Row(drafter, done, reliability, draft_us, extend_us, seconds[best], best, setup.notes)


def makespan(load: Workload, setup: Setup, parts: Mapping[int, Profile]) -> float:
    """Simulated seconds of these RL steps, one after the other."""
    load.forget()
    total = 0.0
    for step, part in parts.items():
        drafts = load.drafts(setup.drafter, step) if setup.drafter.timed else part
        longest = setup.drafter.longest_draft
        total += run_step(load.requests(step), drafts, setup, step, longest).makespan_s
    return total


def costs(load: Workload, drafter: Any, rl_step: int) -> tuple[float | None, float]:
    """(microseconds per draft, per new token taken in), BATCH requests at once.

    Of a model what its options say, None if they say nothing; of others measured: groups of the RL
    step, each rollout from its middle on, a token per forward, without beginning and indexing.
    """
    if not drafter.in_engine or load.tokens is None:
        cost, longest = cost_of(drafter), drafter.longest_draft
        own = cost.token_s * longest
        seconds = (cost.whole_s(longest) - own) / BATCH + own
        return (1e6 * seconds if seconds else None), 0.0
    load.forget()
    return time_live(load.live_at(drafter, 0, rl_step), load, load.tokens, rl_step)


def time_live(
    live: LiveDrafter, load: Workload, tokens: Tokens, rl_step: int
) -> tuple[float, float]:
    """As `costs`, of a drafter's live face that knows the RL steps before."""
    prompts = load.lengths.prompt
    rows = np.arange(load.rows(rl_step).start, load.rows(rl_step).stop)
    order = np.random.default_rng(0).permutation(int(prompts.max()) + 1)  # whole groups
    rows = rows[np.argsort(order[prompts[rows]], kind="stable")][:BATCH].tolist()
    text = {row: tokens.output(row) for row in rows}
    at = {row: max(1, len(text[row]) // 2) for row in rows}
    for row in rows:
        live.begin(row, int(prompts[row]), tokens.prompt(row))
        live.extend([row], [text[row][: at[row]]])
    taken: list[np.ndarray] = []
    for _ in range(FORWARDS):
        now = [row for row in rows if at[row] < len(text[row])]
        if 2 * len(now) < len(rows) and taken:
            break
        new = [text[row][at[row] : at[row] + 1] for row in now]
        began = time.perf_counter()
        live.draft(now)
        between = time.perf_counter()
        live.extend(now, new)
        times = np.array([between - began, time.perf_counter() - between])
        taken.append(times / max(len(now), 1))
        for row in now:
            at[row] += 1
    parts = np.array_split(np.array(taken[1:] or taken), 5)  # the first one compiles
    draft_us, extend_us = np.median([1e6 * part.mean(0) for part in parts if len(part)], 0).tolist()
    return draft_us, extend_us


def advise(rows: Sequence[Row], plain_s: float, *, history: bool = True) -> str:
    """What to choose when, by rule: the fastest, or the cheapest to draft with that is within 1 %
    of it; nothing where nothing gains 1 %.

    history: whether the RL steps judged had any.
    """
    fastest = min(rows, key=lambda row: row.makespan_s)
    best = f"{fastest.name} with {_tokens(fastest.k)} ({_times(fastest, plain_s)})"
    if fastest.makespan_s >= plain_s:
        return f"Leave speculation off: no drafter here is faster than none, {best} comes nearest."
    if fastest.makespan_s * (1 + NEAR) > plain_s:
        return f"Leave speculation off: the best drafter here, {best}, gains less than 1 %."
    near = [row for row in rows if row.makespan_s <= fastest.makespan_s * (1 + NEAR)]
    cheap = min(row.cost_us for row in near) / CHEAPER
    chosen = min((r for r in near if r.cost_us <= cheap), key=lambda row: row.makespan_s)
    why = "the fastest here"
    if chosen is not fastest:
        theirs = f"{fastest.cost_us:.1f} us" if np.isfinite(fastest.cost_us) else "an unknown cost"
        why = (
            f"within 1 % of the fastest, {fastest.name}, and cheaper to draft with "
            f"({chosen.cost_us:.1f} us against {theirs})"
        )
    words = [
        f"Choose {chosen.name} with {_tokens(chosen.k)} (--budget fixed:k={chosen.k}): "
        f"{_times(chosen, plain_s)} no speculation, {why}",
        _when(chosen, rows, plain_s),
    ]
    if chosen.draft_us is None:
        words.append("what its model takes to draft is not known and counts as nothing")
    if not history:
        words.append("what drafters gain by the history of earlier RL steps is not seen here")
    return "; ".join(words) + "."


def _when(chosen: Row, rows: Sequence[Row], plain_s: float) -> str:
    """What the chosen drafter needs, and what to do without it."""
    if not chosen.needs_history:
        beside = "the group's other rollouts running beside" if chosen.drafter.timed else ""
        return f"it needs {beside or 'no history of earlier RL steps'}"
    others = (row for row in rows if not row.needs_history)
    best = min(others, key=lambda row: row.makespan_s, default=chosen)
    without = "leave speculation off"
    if best is not chosen and best.makespan_s * (1 + NEAR) <= plain_s:
        without = f"choose {best.name} with {_tokens(best.k)} ({_times(best, plain_s)})"
    return f"it needs history of earlier RL steps, and where there is none {without}"


def _tokens(k: int) -> str:
    return f"{k} draft token{'' if k == 1 else 's'}"


def _times(row: Row, plain_s: float) -> str:
    return f"{plain_s / row.makespan_s:.2f}x"
