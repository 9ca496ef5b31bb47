"""ReSpec: a static tree gains for few requests and loses for many (Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...sim.step import StepResult
from ..claim import Claim, at_least, at_most, near
from ..curves import active_curve
from ..page import Page, Picture, Section, Table
from ..style import look, new_figure
from .drafting import tlt_draft_time
from .lab import Lab, part
from .published import published

LATENCY = "roofline:model=qwen2.5-7b,gpu=h100,tp=1"
DEPTH, TOPK, VERIFY = 5, 8, 32  # "(5, 8, 32)-type": steps, top-k, draft tokens
CONTEXT, LONG, OUTPUT = 1000, 4000, 512  # tokens, chosen beforehand: theirs are not known
FIRST = 2  # requests: the point that acceptance is fitted to
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
ROLLOUT = 128  # requests
HALVINGS = 12
AS_TLT, FITTED = "TLT's acceptance", f"acceptance fitted to batch {FIRST}"
FITTED_LONG, FREE = f"fitted, contexts of {LONG:,}", "TLT's acceptance, drafting free"


def reproduce_respec(lab: Lab, command: str) -> Page:
    """The page. Raises what `simulate` raises."""
    theirs = published("respec_fig7")
    plain_s = 1 / lab.rate(1, CONTEXT, OUTPUT, latency=LATENCY)
    drafting_s = tlt_draft_time().of(DEPTH) * plain_s
    first = theirs.frame[theirs.frame.batch_size == FIRST].speedup.item()
    share, long_share = (fit_share(lab, drafting_s, first, c) for c in (CONTEXT, LONG))
    kinds = {
        AS_TLT: (CONTEXT, drafter(drafting_s)),
        FITTED: (CONTEXT, drafter(drafting_s, share)),
        FITTED_LONG: (LONG, drafter(drafting_s, long_share)),
        FREE: (CONTEXT, drafter(0.0)),
    }
    table = pd.DataFrame(
        [
            {"batch_size": batch, **{k: speedup(lab, batch, c, d) for k, (c, d) in kinds.items()}}
            for batch in BATCHES
        ]
    )
    rollout = rollouts(lab, drafter(drafting_s, share))
    return Page(
        name="respec",
        title="ReSpec beside our simulation",
        paper="ReSpec (NexSpec), arXiv 2510.26475",
        command=command,
        setup=(
            "Neither the acceptance nor the cost of their EAGLE-3 drafter is given. Here a tree "
            f"of {DEPTH} levels, top-k {TOPK} and {VERIFY} tokens has TLT's acceptance at that "
            "size (Fig. 13a, another model), and takes TLT's share of a forward to draft "
            f"({1e3 * drafting_s:.1f} ms); a forward takes what `{LATENCY}` says (datasheet "
            f"prior), contexts begin at {CONTEXT:,} tokens. “Fitted” scales acceptance until batch "
            f"{FIRST} agrees, so that the other batch sizes are predictions from one point. "
            f"Rollouts are those of {lab.caption}."
        ),
        claims=[*batch_claims(theirs.frame, table), *rollout_claims(rollout)],
        sections=[
            batch_section(theirs.source, theirs.frame, table, share),
            rollout_section(rollout, lab.caption),
        ],
        left_out=(
            "The averages of whole trainings (1.84x, 1.69x, 1.50x) and the gain of keeping the "
            "drafter current: training is not simulated.",
            "Lower rewards with a stale drafter: verification here is lossless.",
        ),
    )


def drafter(drafting_s: float, share: float = 1.0) -> str:
    """Their tree; share: of the table's acceptance rates."""
    return (
        f"learned:table=tlt,depth={DEPTH},topk={TOPK},verify={VERIFY},"
        f"step={drafting_s / DEPTH},start={share}"
    )


def speedup(lab: Lab, batch: int, context: int, spec: str) -> float:
    """Tokens per second over those without drafts."""
    rates = [lab.rate(batch, context, OUTPUT, latency=LATENCY, drafter=d) for d in (spec, "none")]
    return rates[0] / rates[1]


def fit_share(lab: Lab, drafting_s: float, wanted: float, context: int) -> float:
    """The share of TLT's acceptance rates at which the first batch size has the speed-up wanted; 1
    where that is out of reach.
    """
    plain = lab.rate(FIRST, context, OUTPUT, latency=LATENCY)

    def too_slow(share: float) -> bool:
        spec = drafter(drafting_s, share)
        return lab.rate(FIRST, context, OUTPUT, latency=LATENCY, drafter=spec) < wanted * plain

    if too_slow(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_slow(middle) else (low, middle)
    return (low + high) / 2


def batch_claims(theirs: pd.DataFrame, ours: pd.DataFrame) -> list[Claim]:
    """Fig. 7's points: with TLT's acceptance, and predicted from the first point."""
    points = dict(zip(theirs.batch_size.astype(int), theirs.speedup, strict=True))
    found = {kind: dict(zip(ours.batch_size, ours[kind], strict=True)) for kind in (AS_TLT, FITTED)}
    few, *more = sorted(points)
    long = dict(zip(ours.batch_size, ours[FITTED_LONG], strict=True))
    why = (
        f"acceptance is another drafter's. With {FITTED} it is " +
        ", ".join(f"{found[FITTED][b]:.2f} at {b}" for b in points)
    )  # fmt: skip
    return [
        Claim(f"{few} requests gain", "Fig. 7", at_least(1), points[few], found[AS_TLT][few]),
        Claim(f"{more[-1]} requests lose", "Fig. 7", at_most(1), points[more[-1]],
              found[AS_TLT][more[-1]], why=why),
        *(Claim(f"Speed-up of {b} requests", "Fig. 7", near(points[b], 0.2, "{:.2f}"), points[b],
                found[AS_TLT][b], why=why) for b in points),
        *(Claim(f"Speed-up of {b} requests, predicted from that of {few}", "Fig. 7",
                near(points[b], 0.2, "{:.2f}"), points[b], found[FITTED][b],
                why="what is left is what a forward takes: their GPUs per engine and contexts are "
                f"not known. With contexts of {LONG:,} tokens it is {long[b]:.2f}") for b in more),
    ]  # fmt: skip


def crossing(batches: np.ndarray, speedups: np.ndarray) -> float:
    """Requests at which the gain is gone, between batch sizes on a logarithmic scale; NaN where it
    never is or never was.
    """
    lost = np.flatnonzero(speedups < 1)
    if not len(lost) or lost[0] == 0:
        return float("nan")
    at = [lost[0], lost[0] - 1]
    return float(2 ** np.interp(1.0, speedups[at], np.log2(batches[at])))


def batch_section(source: str, theirs: pd.DataFrame, ours: pd.DataFrame, share: float) -> Section:
    """By batch size."""
    table = theirs.rename(columns={"speedup": "theirs"}).merge(ours, "right", on="batch_size")
    kinds = [kind for kind in ours.columns if kind != "batch_size"]
    at = {kind: crossing(ours.batch_size.to_numpy(float), ours[kind].to_numpy()) for kind in kinds}
    crossed = ", ".join(
        f"{kind}: {'not up to ' + str(max(BATCHES)) if np.isnan(n) else f'{n:.0f} requests'}"
        for kind, n in at.items()
    )
    return Section(
        "Fig. 7: speed-up by batch size",
        f"{source}. The gain is gone at ({crossed}); theirs between "
        f"{theirs.batch_size[theirs.speedup >= 1].max()} and "
        f"{theirs.batch_size[theirs.speedup < 1].min()}. The share of TLT's rates that gives their "
        f"speed-up at batch {FIRST} is {share:.3f}.",
        [Table("batches", "Speed-up over no speculation", table, None,
               dict.fromkeys(["theirs", *kinds], "{:.2f}"))],
        [Picture("batches", "Speed-up by batch size", lambda: draw_batches(theirs, ours))],
    )  # fmt: skip


def draw_batches(theirs: pd.DataFrame, ours: pd.DataFrame) -> Figure:
    """Theirs as stars, ours as lines."""
    figure, (axes,) = new_figure(
        "Speed-up of a static draft tree by batch size",
        f"ReSpec Fig. 7 (Qwen2.5-7B), digitized, and simulated with {LATENCY} (prior)", width=8.5,
    )  # fmt: skip
    for i, kind in enumerate((AS_TLT, FITTED, FITTED_LONG, FREE)):
        label = f"ours, {kind}"
        axes.plot(ours.batch_size, ours[kind], label=label, **look(i + 1, markers=True))
    axes.plot(theirs.batch_size, theirs.speedup, "*", color="#000000", markersize=13,
              label="theirs")  # fmt: skip
    axes.axhline(1, color="#888888", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(BATCHES), [str(b) for b in BATCHES])
    axes.set(xlabel="requests at once", ylabel="speed-up over no speculation", ylim=(0, None))
    axes.legend(fontsize=8, loc="upper right")
    return figure


NONE, STATIC, ADAPTIVE = "no drafts", "static tree", "ReSpec's solver"


def rollouts(lab: Lab, spec: str) -> dict[str, StepResult]:
    """The last RL step of the trace without drafts, with the tree always, and as the solver has
    it.
    """
    load = part(lab.load, ROLLOUT)
    last = load.rl_steps[-1:]
    found = {NONE: lab.run(load, last, latency=LATENCY)[0]}
    for name, budget in ((STATIC, "unlimited"), (ADAPTIVE, "respec")):
        (found[name],) = lab.run(load, last, latency=LATENCY, drafter=spec, budget=budget)
    return found


def rollout_claims(found: Mapping[str, StepResult]) -> list[Claim]:
    """What the solver is for."""
    seconds = {name: step.makespan_s for name, step in found.items()}
    best = min(seconds[NONE], seconds[STATIC])
    return [
        Claim("The solver is no slower than the better of always and never (its speed-up over it)",
              "adaptive server", at_least(0.99), None, best / seconds[ADAPTIVE],
              why="it knows contexts and acceptance by their averages"),
    ]  # fmt: skip


def rollout_section(found: Mapping[str, StepResult], caption: str) -> Section:
    """Makespans."""
    plain = found[NONE]
    rows = [
        {"policy": name, "seconds": step.makespan_s, "speed-up": plain.makespan_s / step.makespan_s,
         "draft tokens per output token": step.draft_tokens / step.output_tokens,
         "mean requests left": float(np.trapezoid(*active_curve(step)[::-1]) / step.makespan_s)}
        for name, step in found.items()
    ]  # fmt: skip
    forms = {"seconds": "{:.2f}", "speed-up": "{:.2f}x", "mean requests left": "{:.0f}",
             "draft tokens per output token": "{:.1f}"}  # fmt: skip
    return Section(
        "A rollout",
        f"The last RL step of the trace ({caption}), its first {plain.requests} requests on one "
        f"replica, {FITTED}: the budget `respec` solves for each number of "
        "requests which length gives most tokens per second, or none.",
        [Table("rollout", "Makespans", pd.DataFrame(rows), None, forms)],
    )
