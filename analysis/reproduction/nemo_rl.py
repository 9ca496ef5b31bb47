"""NeMo-RL: longer drafts are accepted further and yet are slower (EAGLE-3, 8B)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...sim.step import StepResult
from ..claim import Claim, at_least, at_most, near
from ..page import Page, Picture, Section, Table
from ..style import look, new_figure
from .drafting import DraftTime, tlt_draft_time
from .lab import Lab
from .published import published

LATENCY = "roofline:model=qwen2.5-7b,gpu=b200"
CONTEXTS = (500, 2000, 8000)  # tokens, chosen beforehand: theirs are not known
OUTPUT = 512
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
NGRAM = 5  # draft tokens; theirs are not known


def reproduce_nemo_rl(lab: Lab, command: str) -> Page:
    """The page. Raises what `simulate` raises, TraceError for a trace without tokens."""
    theirs, ngram = published("nemo_rl"), published("nemo_rl_ngram")
    plain_s = 1 / lab.rate(1, CONTEXTS[0], OUTPUT, latency=LATENCY)
    cost = tlt_draft_time()
    lengths = theirs.frame.k.tolist()
    ours = speedups(lab, {k: drafter(k, cost, plain_s) for k in lengths})
    point = nearest(theirs.frame, ours)
    rollout = rollouts(lab, {k: drafter(k, cost, plain_s) for k in lengths})
    return Page(
        name="nemo-rl",
        title="NeMo-RL beside our simulation",
        paper="NeMo-RL with EAGLE-3, arXiv 2604.26779",
        command=command,
        setup=(
            "Acceptance is drawn from the paper's own figures (RL-Zero, drafts of 3, 5 and 7 "
            f"tokens). A forward takes what `{LATENCY}` says (datasheet prior; theirs is an 8B "
            f"model on GB200), a draft of k tokens TLT's share of a forward ({cost.once:.2f} + "
            f"{cost.level:.3f} k), as they give none. How many requests ran at once and how long "
            "they were is not known, so both are swept. N-gram drafts are replayed on "
            f"{lab.caption}."
        ),
        claims=[*chain_claims(theirs.frame, ours, point), *ngram_claims(ngram.frame, rollout)],
        sections=[
            batch_section(theirs.source, theirs.frame, ours, point),
            rollout_section(ngram.source, ngram.frame, rollout, lab.caption),
        ],
        left_out=(
            "RL-Think's acceptance lengths are not given, so its speed-ups are only shown.",
            "The projection to 235B: its simulator's inputs are not published.",
        ),
    )


def drafter(k: int, cost: DraftTime, plain_s: float) -> str:
    """A chain of k tokens, one forward of the draft model each."""
    return f"learned:table=nemo-eagle3,k={k},step={cost.of(k) * plain_s / k}"


def speedups(lab: Lab, drafters: dict[int, str]) -> pd.DataFrame:
    """One row for each context and batch size, a column for each draft length."""
    rows = []
    for context in CONTEXTS:
        for batch in BATCHES:
            rates = {
                k: lab.rate(batch, context, OUTPUT, latency=LATENCY, drafter=spec)
                for k, spec in ({0: "none"} | drafters).items()
            }
            gains = {f"k={k}": rates[k] / rates[0] for k in drafters}
            rows.append({"context": context, "batch_size": batch, **gains})
    return pd.DataFrame(rows)


def columns(theirs: pd.DataFrame) -> list[str]:
    """Ours by draft length, ascending."""
    return [f"k={k}" for k in sorted(theirs.k)]


Point: TypeAlias = dict[Any, float]  # a row of `speedups`


def nearest(theirs: pd.DataFrame, ours: pd.DataFrame) -> Point:
    """The row whose speed-ups are nearest to RL-Zero's, as ratios."""
    wanted = theirs.sort_values("k").zero_speedup.to_numpy(float)
    distance = np.abs(np.log(ours[columns(theirs)].to_numpy(float) / wanted)).mean(axis=1)
    chosen: Point = ours.iloc[int(distance.argmin())].to_dict()
    return chosen


def name_point(point: Point) -> str:
    """For people."""
    return f"{point['batch_size']:g} requests with contexts of {point['context']:,g} tokens"


def slower(theirs: pd.DataFrame, ours: pd.DataFrame) -> str:
    """Where the longest drafts are slower than the shortest."""
    short, *_, long = columns(theirs)
    return f"{int((ours[long] < ours[short]).sum())} of {len(ours)} points of the sweep"


def chain_claims(theirs: pd.DataFrame, ours: pd.DataFrame, point: Point) -> list[Claim]:
    """Longer drafts: accepted further, slower."""
    short, *_, long = columns(theirs)
    rows = theirs.sort_values("k").to_dict("records")
    where = "draft lengths"
    return [
        Claim(f"Drafts of {rows[-1]['k']:g} tokens are slower than those of {rows[0]['k']:g} "
              "(ratio of speed-ups in RL-Zero; ours: at the point nearest to theirs)", where,
              at_most(1), rows[-1]["zero_speedup"] / rows[0]["zero_speedup"],
              point[long] / point[short], why=f"it is so at {slower(theirs, ours)}"),
        Claim(f"Accepted {rows[-1]['zero_accept_length']:g} and yet slower than no drafts "
              "(theirs: RL-Think; ours: the worst point of the sweep)", where, at_most(1),
              rows[-1]["think_speedup"], ours[long].min(),
              why="RL-Think's acceptance may be lower than RL-Zero's, which is simulated"),
        *(Claim(f"Speed-up with drafts of {row['k']:g} tokens in RL-Zero (at that point)", where,
                near(row["zero_speedup"], 0.2, "{:.2f}"), row["zero_speedup"],
                point[f"k={row['k']:g}"], why="no point of the sweep is nearer to all three")
          for row in rows),
    ]  # fmt: skip


def batch_section(source: str, theirs: pd.DataFrame, ours: pd.DataFrame, point: Point) -> Section:
    """By batch size, and what a round costs by their figures."""
    rows = theirs.sort_values("k")
    lengths = rows.zero_accept_length.to_numpy(float)
    rounds = lengths / rows.zero_speedup.to_numpy(float)
    ours_rounds = lengths / np.array([point[name] for name in columns(theirs)])
    slopes = np.diff(lengths / ours[columns(theirs)].to_numpy(float)).mean(axis=1)
    steep: Point = ours.iloc[int(slopes.argmax())].to_dict()
    each = float(np.diff(rows.k).mean())
    forms = dict.fromkeys(columns(theirs), "{:.2f}")
    return Section(
        "Speed-up by draft length",
        f"{source}. A round took {_listed(rounds)} forwards without drafts, so each draft token "
        f"more cost {_listed(np.diff(rounds) / np.diff(rows.k))} of a forward. In our sweep the "
        f"three speed-ups of RL-Zero are met best by {name_point(point)}, where rounds take "
        f"{_listed(ours_rounds)} forwards; the claims are judged there. The longest drafts are "
        f"slower than the shortest at {slower(theirs, ours)}. In the whole sweep a draft token "
        f"more costs {slopes.max() / each:.2f} of a forward at most, on average of both steps, by "
        f"{name_point(steep)}; but there drafts of {rows.k.min()} tokens gain "
        f"{steep[columns(theirs)[0]]:.2f}x, and theirs {rows.zero_speedup.max():.2f}x. One batch "
        "size stands for all here; in theirs it shrinks as rollouts end.",
        [
            Table("theirs", "Theirs", theirs),
            Table("batches", "Ours, speed-up over no speculation", ours, None, forms),
        ],
        [Picture("batches", "Speed-up by batch size", lambda: draw_batches(theirs, ours, point))],
    )


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def draw_batches(theirs: pd.DataFrame, ours: pd.DataFrame, point: Point) -> Figure:
    """A panel for each context, lines by draft length; theirs as marks where ours is nearest."""
    figure, panels = new_figure(
        "Speed-up of EAGLE-3 by draft length and batch size",
        f"lines: simulated with {LATENCY} (prior) and NeMo-RL's acceptance in RL-Zero; where ours "
        "is nearest to its RL-Zero, stars: its RL-Zero, crosses: its RL-Think (other acceptance)",
        width=12, panels=len(CONTEXTS), height=4.4,
    )  # fmt: skip
    rows = theirs.sort_values("k").to_dict("records")
    for axes, context in zip(panels, CONTEXTS, strict=True):
        here = ours[ours.context == context]
        for i, (name, row) in enumerate(zip(columns(theirs), rows, strict=True)):
            style = look(i + 1, markers=True)
            label = f"{name}, accepted {row['zero_accept_length']:g}"
            axes.plot(here.batch_size, here[name], label=label, **style)
            if point["context"] == context:
                mark: dict[str, Any] = {"color": style["color"], "markeredgecolor": "#000000"}
                axes.plot(point["batch_size"], row["zero_speedup"], "*", markersize=14, **mark)
                axes.plot(point["batch_size"], row["think_speedup"], "X", markersize=9, **mark)
        axes.axhline(1, color="#888888", linewidth=1)
        axes.set_xscale("log", base=4)
        axes.set_xticks(list(BATCHES[::2]), [str(b) for b in BATCHES[::2]])
        axes.minorticks_off()
        top = 1.1 * float(ours[columns(theirs)].max().max())
        axes.set(xlabel="requests at once", ylim=(0, top), title=f"contexts of {context:,} tokens")
    panels[0].set_ylabel("speed-up over no speculation")
    panels[0].legend(fontsize=8, loc="lower left")
    return figure


def rollouts(lab: Lab, drafters: dict[int, str]) -> dict[str, StepResult]:
    """The last RL step of the trace, all requests at once."""
    specs = {"no drafts": "none", **{f"EAGLE-3, k={k}": spec for k, spec in drafters.items()}}
    specs["n-gram"] = f"ngram:k={NGRAM}"
    last = lab.load.rl_steps[-1:]
    return {
        name: lab.run(lab.load, last, latency=LATENCY, drafter=spec)[0]
        for name, spec in specs.items()
    }


def ngram_claims(theirs: pd.DataFrame, found: dict[str, StepResult]) -> list[Claim]:
    """N-gram drafts: accepted, and slower."""
    gain = found["no drafts"].makespan_s / found["n-gram"].makespan_s
    length = found["n-gram"].acceptance_length
    return [
        Claim("N-gram drafts have an acceptance length above 2 (theirs: the least)", "text",
              at_least(2), theirs.accept_length.min(), length,
              why="other texts: how much they repeat themselves is a matter of the rollouts"),
        Claim("and yet are slower than no drafts (theirs: the better)", "text", at_most(1),
              theirs.speedup.max(), gain, "{:.2f}x",
              f"{found['n-gram'].requests} requests began at once here, and looking up was free"),
    ]  # fmt: skip


def rollout_section(
    source: str, theirs: pd.DataFrame, found: dict[str, StepResult], caption: str
) -> Section:
    """Makespans of the trace's last RL step."""
    plain = found["no drafts"]
    rows = [
        {"drafts": name, "acceptance length": step.acceptance_length, "seconds": step.makespan_s,
         "speed-up": plain.makespan_s / step.makespan_s}
        for name, step in found.items()
    ]  # fmt: skip
    forms = {"acceptance length": "{:.2f}", "seconds": "{:.2f}", "speed-up": "{:.2f}x"}
    return Section(
        "A rollout, and n-gram drafts",
        f"{source}. Ours: the last RL step of the trace ({caption}), {plain.requests} requests at "
        f"once; n-gram drafts of {NGRAM} tokens are replayed on its text, EAGLE-3's acceptance is "
        "drawn from the paper's.",
        [
            Table("ngram", "N-gram drafts, theirs", theirs),
            Table("rollout", "Ours", pd.DataFrame(rows), None, forms),
        ],
    )
