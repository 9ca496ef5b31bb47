"""What the command prints for people: one result, a sweep, the components. Plain off a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ..policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from ..policies.latency.presets import LATENCIES, PRESETS, name_latency
from ..policies.registry import Registry, brief, describe
from ..sim.simulate import Result
from ..sim.workload import Workload
from .configurations import CONFIGURATION, rank

LEGEND = (
    "gain: tokens per request and forward; drafted: draft tokens per output token;\n"
    "wasted: share of those rejected; tail: seconds after 90 % of the requests are done;\n"
    "regret: makespan over this drafter's clairvoyant one"
)
BEST = 20  # of a sweep's points are shown
WIDTH = 110  # columns, where the output is no terminal


def table_caption(points: pd.DataFrame) -> str:
    """One line for a sweep's table: which traces, and loudly if they are synthetic."""
    traces = points[["trace", "origin"]].drop_duplicates()
    return ", ".join(
        f"{name} ({'SYNTHETIC' if origin == 'synthetic' else origin})"
        for name, origin in traces.itertuples(index=False)
    )


class Output(Console):
    """Standard output. Tables are never narrowed below what they hold: a terminal wraps lines."""

    def __init__(self) -> None:
        super().__init__(highlight=False)
        if not self.is_terminal:
            self.width = WIDTH

    def show(self, shown: Table) -> None:
        """Print a table whole."""
        before = self.width
        self.width = 1000
        self.width = max(before, Measurement.get(self, self.options, shown).maximum)
        self.print(shown, crop=False)
        self.width = before

    def on_broken_pipe(self) -> None:
        """Whoever read has read enough: that is no error."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def caption(workload: Workload) -> str:
    """One line: which trace, how large, and loudly if it is synthetic."""
    meta = workload.trace.meta if workload.trace else None
    name = workload.trace.path.name if workload.trace else "arrays"
    origin = "SYNTHETIC" if meta and meta.synthetic else (meta.origin if meta else "not stored")
    lengths = workload.lengths
    return (
        f"{name} ({origin}): {len(lengths):,} rollouts, {len(workload.rl_steps)} RL steps, "
        f"{int(lengths.output_len.sum()):,} output tokens"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def show_comparison(results: Mapping[str, Result], title: str) -> None:
    """Policies side by side, the first of them as the baseline, and what bounds them."""
    out = Output()
    base = next(iter(results.values()))
    out.print(title, style="bold")
    kind = "" if base.setup.latency.name == "calibrated" else ", a published prior"
    out.print(f"simulated seconds; latency{kind}: {base.setup.row['latency']}", markup=False)
    rows = []
    for name, result in results.items():
        drafted, tokens = result.total("draft_tokens"), result.total("output_tokens")
        rows.append(
            [
                name,
                f"{result.makespan_s:.1f}",
                times(base.makespan_s, result.makespan_s),
                f"{result.total('forwards'):,}",
                f"{_gain(result):.2f}",
                f"{drafted / tokens:.2f}",
                _wasted(drafted, result.total("accepted_tokens")),
                f"{result.total('tail_s'):.1f}",
                f"{result.regret:.0%}",
            ]
        )
    best = min(results.values(), key=lambda result: result.clairvoyant_s)
    for name, seconds in (
        (f"clairvoyant, {brief(best.setup.drafter)}", best.clairvoyant_s),
        (f"perfect drafts of {best.setup.drafter.longest_draft}", best.perfect_s),
    ):
        rows.append([name, f"{seconds:.1f}", times(base.makespan_s, seconds), *[""] * 6])
    columns = ["policy", "makespan s", "speed-up", "forwards", "gain", "drafted", "wasted"]
    out.show(table([*columns, "tail s", "regret"], rows))
    share = max(r.total("outside") / max(r.total("forwards"), 1) for r in results.values())
    _show_outside(out, share, " of the worst")
    for note in sorted({note for r in results.values() for note in r.setup.notes}):
        out.print(f"note: {note}", markup=False)
    out.print(LEGEND, style="dim")


def _gain(result: Result) -> float:
    """Acceptance length over all RL steps."""
    decodes = sum(int(s.request_forwards.sum()) - s.requests for s in result.steps)
    tokens = result.total("output_tokens") - result.total("requests")
    return tokens / decodes if decodes else 1.0


def show_result(result: Result, title: str) -> None:
    """One configuration: RL step by RL step, with the bounds."""
    out = Output()
    out.print(title, style="bold")
    setup = {k: v for k, v in result.setup.row.items() if v is not None}
    out.print("\n".join(f"  {name}: {value}" for name, value in setup.items()), markup=False)
    out.print(f"acceptance: {result.setup.drafter.acceptance}")
    rows = [
        [
            str(s.rl_step),
            f"{s.makespan_s:.2f}",
            f"{s.tail_s:.2f}",
            f"{s.forwards:,}",
            f"{s.acceptance_length:.2f}",
            _wasted(s.draft_tokens, s.accepted_tokens),
            f"{result.bounds.clairvoyant_s[s.rl_step]:.2f}",
            f"{result.bounds.perfect_s[s.rl_step]:.2f}",
        ]
        for s in result.steps
    ]
    drafted, accepted = result.total("draft_tokens"), result.total("accepted_tokens")
    rows.append(
        [
            "all",
            f"{result.makespan_s:.2f}",
            f"{result.total('tail_s'):.2f}",
            f"{result.total('forwards'):,}",
            f"{_gain(result):.2f}",
            _wasted(drafted, accepted),
            f"{result.clairvoyant_s:.2f}",
            f"{result.perfect_s:.2f}",
        ]
    )
    columns = ["RL step", "makespan s", "tail s", "forwards", "tokens/forward", "wasted"]
    out.show(table([*columns, "clairvoyant s", "perfect s"], rows))
    out.print(
        f"{result.total('finished'):,} of {result.total('requests'):,} requests finished, "
        f"{result.total('preemptions'):,} preemptions, regret {result.regret:.1%}"
    )
    _show_outside(out, result.total("outside") / max(result.total("forwards"), 1))
    if result.total("outside"):
        out.print(_measured_with(result), markup=False)
    for note in result.setup.notes:
        out.print(f"note: {note}", markup=False)


def _measured_with(result: Result) -> str:
    """Under which engine limits the calibration was made."""
    run = result.setup.latency.content["configuration"]
    limits = (
        f"--{n.replace('_', '-')} {run.get(n)}" for n in ("max_num_seqs", "max_num_batched_tokens")
    )
    return f"latency: it was measured with {' '.join(limits)}"


def _show_outside(out: Output, share: float, of: str = "") -> None:
    """Extrapolation is never silent."""
    if share:
        out.print(f"latency: {share:.1%} of the forwards{of} are outside what was calibrated")


def show_sweep(points: pd.DataFrame, title: str, written: str | None = None) -> None:
    """The sweep's best points, summed over RL steps, the shortest makespan first, and those without
    speculation; and where all of them were `written`.
    """
    ranked = rank(points)
    plain = ranked.drafter == "none"
    shown = ranked[(np.arange(len(ranked)) < BEST) | plain]
    varied = [k for k in CONFIGURATION if points[k].nunique(dropna=False) > 1] or ["drafter"]
    same = {k: points[k].iloc[0] for k in CONFIGURATION if k not in varied}
    rows = [
        [
            "  ".join(filter(None, (_brief(k, p[k], p["drafter"]) for k in varied))),
            f"{p['makespan_s']:.2f}",
            _known("{:.2f}x", p["speed_up"]),
            f"{p['tail_s']:.2f}",
            f"{p['forwards']:,}",
            _known("{:.0%}", p["wasted"]),
            _known("{:.1%}", p["regret"]),
        ]
        for p in shown.to_dict("records")
    ]
    out = Output()
    out.print(title, style="bold")
    shared = [_brief(k, v, "") for k, v in same.items() if not pd.isna(v)]
    out.print(f"all with {'  '.join(shared)}", markup=False)
    columns = ["configuration", "makespan s", "speed-up", "tail s", "forwards", "wasted", "regret"]
    out.show(table(columns, rows))
    outside = (points.outside / points.forwards.clip(lower=1)).max()
    _show_outside(out, float(outside), " of the worst point")
    for note in sorted({n for notes in points.notes for n in notes.split("; ") if n}):
        out.print(f"note: {note}", markup=False)
    if not plain.any():
        out.print("speed-ups are over no speculation: add --drafter none")
    if len(ranked) > len(shown):
        more = "" if written else "; -o FILE writes all"
        out.print(f"… and {len(ranked) - len(shown)} slower ones{more}")
    if written:
        out.print(f"{written}: {len(points):,} rows, {len(ranked):,} points", markup=False)


def show_components(kind: str | None) -> None:
    """The components of one kind, or of all: what each does, source, options, defaults."""
    kinds = {
        "drafters": DRAFTERS,
        "budgets": BUDGETS,
        "placements": PLACEMENTS,
        "latencies": LATENCIES,
    }
    out = Output()
    for name, registry in kinds.items():
        if kind in (None, name):
            _show_kind(out, name, registry)


def _show_kind(out: Output, title: str, registry: Registry) -> None:
    out.print(f"\n{title}", style="bold underline")
    for name, cls in registry.classes.items():
        summary, _, rest = (cls.__doc__ or "").partition("\n\n")
        out.print(f"\n[bold]{name}[/]  {' '.join(summary.split())}")
        if rest:
            out.print(" ".join(rest.split()), style="dim")
        out.print(f"source: {cls.source}", markup=False)
        for option, default, help in describe(cls):
            out.print(f"  {option}={default}  {help}", markup=False)
    if registry is LATENCIES:
        out.print("\npresets", style="bold")
        for name, (spec, source) in PRESETS.items():
            out.print(f"  {name} = {spec}\n    {source}", markup=False)


def _brief(column: str, value: object, drafter: str) -> str:
    """A configuration's cell, options at their default left out; no budget without a drafter."""
    if column == "budget" and drafter == "none":
        return ""
    kinds = {"drafter": DRAFTERS, "budget": BUDGETS, "placement": PLACEMENTS, "latency": LATENCIES}
    if column == "latency":
        return name_latency(LATENCIES.make(str(value)))
    if column in kinds:
        return brief(kinds[column].make(str(value)))
    return f"{column}={value}"


def times(before: float, after: float) -> str:
    """A speed-up."""
    return f"{before / after:.2f}x" if before and after else "-"


def _known(form: str, value: float) -> str:
    return "-" if pd.isna(value) else form.format(value)


def _wasted(drafted: int, accepted: int) -> str:
    return f"{1 - accepted / drafted:.0%}" if drafted else "-"
