"""TLT: speed-up by batch size and tokens to verify (Table 4), out of the simulator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...policies.latency.gpus import GPUS
from ...policies.latency.presets import make_latency
from ...policies.latency.shapes import SHAPES
from ..claim import Claim, Rule, at_least, at_most, exactly, near
from ..page import Page, Picture, Section, Table
from ..style import look, new_figure
from .drafting import draft_time
from .lab import Lab
from .published import published
from .tlt_bandit import bandit_part
from .tlt_grid import Grid, beside, tidy
from .tlt_rollout import rollout_part

MODEL, GPU, TP = "qwen2.5-32b", "h100", 4
LATENCY = f"roofline:model={MODEL},gpu={GPU},tp={TP}"
DEPTH = 10  # of Table 4: its column of one request is Fig. 13b's at this depth
CONTEXT = 2000  # tokens at the start, chosen beforehand: the paper's are not known
OUTPUT = 1024  # tokens that each request then gets
LARGE = 8  # requests: the batch sizes for which fewest tokens are best


@dataclass(frozen=True)
class Variant:
    """What Table 4 is simulated under."""

    name: str
    latency: str = LATENCY
    context: int = CONTEXT
    drafting_s: float | None = None  # of a whole draft; None: as read off Fig. 13


def reproduce_tlt(lab: Lab, command: str) -> Page:
    """The page. Raises what `simulate` raises."""
    figure13, table4 = published("tlt_fig13"), published("tlt_table4")
    theirs = Grid.of(table4.frame)
    plain_s = 1 / lab.rate(1, CONTEXT, OUTPUT, latency=LATENCY)
    time = draft_time(figure13.frame)
    drafting_s = time.of(DEPTH) * plain_s
    grids = {v: speedups(lab, v, theirs, drafting_s) for v in variants(drafting_s)}
    ours = next(iter(grids.values()))
    setting = {"latency": LATENCY, "drafter": drafter(theirs.verify[-1], drafting_s)}
    bandit = bandit_part(lab, setting, theirs, ours, CONTEXT)
    rollout = rollout_part(lab, setting, theirs, ours)
    return Page(
        name="tlt",
        title="TLT beside our simulation",
        paper="TLT (Taming the Long-Tail), arXiv 2511.16665",
        command=command,
        setup=(
            f"Acceptance is drawn from the paper's own table (Fig. 13a, one request). A forward "
            f"takes what `{LATENCY}` says: a datasheet prior that knows nothing of the paper. What "
            "drafting takes is read off Fig. 13 at one request, "
            f"{1e3 * drafting_s:.1f} ms for {DEPTH} levels, so the columns of one request are no "
            "prediction and all others are. Rollouts that finish one after the other are those "
            f"of {lab.caption}."
        ),
        claims=[*table4_claims(theirs, ours), *bandit.claims, *rollout.claims],
        sections=[
            table4_section(table4.source, theirs, ours),
            why_section(theirs, ours, grids, figure13.frame, plain_s, time.error),
            *bandit.sections,
            *rollout.sections,
        ],
        left_out=(
            "Table 2 (other GPUs, 7B): acceptance of that drafter is not given.",
            "Table 3 and the end-to-end speed-ups: they include training, which is not simulated.",
            "Tables 6 and 7: acceptance while the drafter is trained; no draft length is given.",
        ),
    )


def layer_s() -> float:
    """Seconds to read one decoder layer and the head once, of which EAGLE's draft model is made."""
    roofline = make_latency(LATENCY)
    counts, gpu = roofline.counts, GPUS[GPU]
    weights = counts["layers"] / SHAPES[MODEL]["num_hidden_layers"] + counts["head"]
    return float(weights * roofline.weight_bytes / (roofline.bandwidth * gpu.bandwidth * TP))


def variants(drafting_s: float) -> list[Variant]:
    """What the page is about, then one thing changed at a time."""
    return [
        Variant("as above"),
        Variant("contexts of 500 tokens", context=500),
        Variant("contexts of 8,000 tokens", context=8000),
        Variant("0.8 of the peak FLOP/s instead of 0.56", f"{LATENCY},flops=0.8"),
        Variant("drafting free", drafting_s=0.0),
        Variant("drafting reads one layer and the head", drafting_s=layer_s() * DEPTH),
        Variant("drafting half as long", drafting_s=drafting_s / 2),
        Variant("latency `tlt-32b`, which was fitted to Table 4 itself", "tlt-32b"),
    ]


def drafter(verify: int, drafting_s: float) -> str:
    """TLT's trees, `verify` tokens at most, the root included."""
    return f"learned:table=tlt,depth={DEPTH},verify={verify},step={drafting_s / DEPTH}"


def speedups(lab: Lab, variant: Variant, like: Grid, drafting_s: float) -> Grid:
    """Table 4, simulated, of the same sizes as `like`."""
    drafting_s = drafting_s if variant.drafting_s is None else variant.drafting_s

    @functools.cache
    def rate(batch: int, drafter: str) -> float:
        return lab.rate(batch, variant.context, OUTPUT, latency=variant.latency, drafter=drafter)

    return like.fill(lambda v, b: rate(b, drafter(v, drafting_s)) / rate(b, "none"))


def table4_claims(theirs: Grid, ours: Grid) -> list[Claim]:
    """What Table 4 shows, of both."""
    first, last = theirs.batches[0], theirs.batches[-1]
    few, many = theirs.verify[0], theirs.verify[-1]

    def claim(text: str, rule: Rule, number: Callable[[Grid], float], **more: str) -> Claim:
        return Claim(text, "Table 4", rule, number(theirs), number(ours), **more)

    return [
        claim(f"One request: verifying {many} tokens is best", exactly(many),
              lambda grid: grid.best(first), form="{:.0f}"),
        claim(f"Batches of {LARGE} and more: verifying {few} is best (the most that is best)",
              exactly(few), lambda grid: max(grid.best(b) for b in grid.batches if b >= LARGE),
              form="{:.0f}"),
        claim("The best number to verify never grows with the batch", exactly(0, "{:g} times"),
              lambda grid: float((np.diff(grid.bests) > 0).sum()), form="{:.0f}"),
        claim(f"Every row is slower at batch {last} than at {first} (largest ratio)", at_most(1),
              lambda grid: float((grid.values[:, -1] / grid.values[:, 0]).max())),
        claim("No speed-up grows from one batch size to the next", exactly(0, "{:g} times"),
              lambda grid: grid.rises, form="{:.0f}",
              why="a batch reads the weights once but each request's KV cache: without drafts a "
              "forward grows with the batch, and verifying drafts adds nothing below the knee"),
        claim(f"The speed-up of {few} tokens at batch {last}",
              near(theirs.at(few, last), 0.15, "{:.2f}"), lambda grid: grid.at(few, last),
              why="see “What explains the differences”"),
        claim(f"The speed-up of {many} tokens at batch {last}",
              near(theirs.at(many, last), 0.15, "{:.2f}"), lambda grid: grid.at(many, last),
              why="see “What explains the differences”"),
        claim("At its best size speculation pays at every batch (least speed-up)", at_least(1),
              lambda grid: float(grid.values.max(axis=0).min())),
    ]  # fmt: skip


def table4_section(source: str, theirs: Grid, ours: Grid) -> Section:
    """Both tables, cell by cell."""
    shown = beside(theirs, ours)
    pairs = zip(theirs.bests, ours.bests, strict=True)
    shown.loc[len(shown)] = ["**best**", *(f"{a} / {b}" for a, b in pairs)]
    error = ours.errors(theirs)
    text = (
        f"{source}. Theirs / ours. Ours: so many equal requests with contexts of {CONTEXT:,} "
        f"tokens and {OUTPUT:,} more, tokens per second over those without drafts while all of "
        f"them decode. Mean error beyond the first column {error.mean():.1%}, largest "
        f"{error.max():.1%}."
    )
    return Section(
        "Table 4",
        text,
        [Table("table4", "Speed-up, theirs / ours", tidy(theirs, ours), shown)],
        [Picture("table4", "Speed-up by batch size", lambda: draw_table4(theirs, ours))],
    )


def why_section(
    theirs: Grid, ours: Grid, grids: Mapping[Variant, Grid], figure13: pd.DataFrame, plain_s: float,
    rest: float,
) -> Section:  # fmt: skip
    """What a round costs by both, and Table 4 under other assumptions."""
    deep = figure13[figure13.draft_depth == DEPTH]
    accepted = dict(zip(deep.tokens_to_verify, deep.accept_length, strict=True))
    rounds = [
        grid.fill(lambda v, b, grid=grid: accepted[v] / grid.at(v, b))  # type: ignore[misc]
        for grid in (theirs, ours)
    ]
    rows = [
        {
            "simulated with": variant.name,
            "mean error": grid.errors(theirs).mean(),
            "largest": grid.errors(theirs).max(),
            "best to verify by batch": ", ".join(map(str, grid.bests)),
            "speed-ups that grow": grid.rises,
        }
        for variant, grid in grids.items()
    ]
    forms = {"mean error": "{:.1%}", "largest": "{:.1%}"}
    return Section(
        "What explains the differences",
        "Acceptance is the same by construction, so all differences are what a round costs: "
        f"acceptance length over speed-up, in forwards without drafts. {floor_words(rounds[0])} "
        "The straight line that drafting is read off by misses Fig. 13's rounds by "
        f"{rest:.2f} forwards ({1e3 * rest * plain_s:.1f} ms). Below, one assumption is changed at "
        "a time; errors are those beyond the first column.",
        [
            Table("rounds", "A round, in forwards without drafts, theirs / ours", tidy(*rounds),
                  beside(*rounds)),
            Table("variants", "Table 4 under other assumptions", pd.DataFrame(rows), None, forms),
        ],
    )  # fmt: skip


def floor_words(rounds: Grid) -> str:
    """How long their forwards must have been, given that no GPU is faster than its datasheet."""
    batch, (before, last) = rounds.batches[-1], rounds.verify[-2:]
    tokens = batch * (last - before)
    counts = make_latency(LATENCY).counts
    peak_s = tokens * 2 * (counts["layers"] + counts["head"]) / (GPUS[GPU].flops * TP)
    share = rounds.at(last, batch) - rounds.at(before, batch)
    return (
        f"At batch {batch}, going from {before} to {last} tokens adds {tokens} tokens and, in "
        f"their table, {share:.2f} forwards; at the datasheet's peak these tokens take "
        f"{1e3 * peak_s:.1f} ms. So their forward of {batch} requests without drafts took at least "
        f"{1e3 * peak_s / share:.1f} ms; ours takes {1e3 * plain_forward_s(batch):.1f} ms. What "
        "theirs were is not known: longer contexts, or a slower engine, would both do it, and "
        "would make all rounds cheaper in forwards."
    )


def plain_forward_s(batch: int) -> float:
    """A forward without drafts, contexts as at the start."""
    latency = make_latency(LATENCY)
    kv = batch * CONTEXT
    return float(latency.seconds(batch, batch, kv, kv, 0, 0, latency.params))


def draw_table4(theirs: Grid, ours: Grid) -> Figure:
    """Both, side by side; circles: the best at that batch size."""
    figure, panels = new_figure(
        "Speed-up of speculation by batch size and tokens to verify",
        f"TLT Table 4 (Qwen2.5-32B, TP 4), transcribed, and simulated with {LATENCY} (prior) and "
        "the acceptance of its Fig. 13a; rings: the best at that batch size",
        width=10, panels=2,
    )  # fmt: skip
    top = 1.1 * float(max(theirs.values.max(), ours.values.max()))
    for axes, grid, title in zip(panels, (theirs, ours), ("theirs", "ours"), strict=True):
        x = np.arange(len(grid.batches))
        for i, (verify, row) in enumerate(zip(grid.verify, grid.values, strict=True)):
            axes.plot(x, row, label=f"{verify} tokens", **look(i + 1, markers=True))
        axes.plot(x, grid.values.max(axis=0), "o", markersize=11, fillstyle="none", color="#000000")
        axes.axhline(1, color="#888888", linewidth=1)
        axes.set_xticks(x, [str(b) for b in grid.batches])
        axes.set(title=title, xlabel="requests at once", ylim=(0, top))
    panels[0].set_ylabel("speed-up over no speculation")
    panels[1].legend(fontsize=8, loc="lower left")
    return figure
