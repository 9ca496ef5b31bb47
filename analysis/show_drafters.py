"""A comparison of drafters for people, and as tables in files."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..policies.latency.presets import name_latency
from ..policies.registry import spec_of
from ..sim.sweep import write_table
from .drafters import BATCH, Comparison, Row
from .reliability import BINS
from .show import WIDTH, Output, table
from .staleness import PROBE, RL_STEP, VERSION, by_age, fit_decay, fit_half_life, versions_per_step

COLUMNS = (
    "drafter", "tokens", "accepted", "drafted", "wasted", "us/draft", "us/token", "Brier",
    "cal. error", "makespan s", "best k", "speed-up",
)  # fmt: skip
LEGEND = (
    "tokens, accepted, drafted: per request and forward, whole drafts, first tokens left out, the "
    "bonus token in the first; wasted: share of the draft tokens rejected. us/draft: a draft, and "
    f"us/token: taking in a new token, measured live here, {BATCH} requests at once (of models: "
    "what their options say). Brier and calibration error: of each draft token's chance as "
    "predicted when it was drafted. makespan s: simulated, with the best fixed budget of 1, 2, 4, "
    "8, 16 draft tokens; drafting costs there what the latency model says, not the us measured"
)
KINDS = {RL_STEP: "RL steps", VERSION: "policy versions"}


def show_drafters(found: Comparison, title: str) -> None:
    """Print the rows, the sentence, and how history ages."""
    out = Output()
    out.print(title, style="bold")
    out.print(conditions(found), markup=False)
    rows = [_cells(row, found.plain_s) for row in found.rows]
    slower = sum(row.makespan_s < found.plain_s for row in found.rows)
    plain = ["none", "1.000", *[""] * 7, f"{found.plain_s:.1f}", "", "1.00x"]
    rows.insert(slower, plain)
    out.show(table(COLUMNS, rows))
    for line in found.left_out:
        out.print(f"left out: {line}", markup=False)
    for line in remarks(found):
        out.print(line, markup=False)
    out.print(textwrap.fill(LEGEND, WIDTH), style="dim", markup=False)
    out.print(textwrap.fill(found.advice, WIDTH), style="bold", markup=False)
    _show_staleness(out, found)


def conditions(found: Comparison) -> str:
    """RL steps, latency and limits, in one line."""
    first, last = found.judged[0], found.judged[-1]
    steps = f"RL step {first}" if first == last else f"{len(found.judged)} RL steps, {first}–{last}"
    if first == found.present[0]:
        steps += " (the first has no history)"
    elif len(found.judged) == len(found.present) - 1:
        steps += " (all but the first, which has no history)"
    seqs = found.setup.limits.max_num_seqs
    at_once = f"at most {seqs} requests at once" if seqs else "all requests at once"
    return f"{steps}; latency {name_latency(found.setup.latency)}; {at_once}"


def remarks(found: Comparison) -> list[str]:
    """What has to be known of some rows."""
    lines = [
        f"{row.name}: acceptance {row.drafter.acceptance}"
        for row in found.rows
        if not row.drafter.needs_tokens
    ]
    timed = [row.name for row in found.rows if row.drafter.timed]
    if timed:
        lines.append(
            f"{', '.join(timed)}: acceptance as if an RL step's rollouts began together and grew "
            "alike; the makespan has their real timing"
        )
    notes = sorted({note for row in found.rows for note in row.notes})
    return lines + [f"note: {note}" for note in notes]


def decay_line(found: Comparison) -> str:
    """How much acceptance is lost with each RL step of history's age, or why that is not known."""
    pairs = [pair for pair in found.pairs if pair.by == RL_STEP]
    try:
        decay = fit_decay(pairs)
    except ValueError as error:
        return f"Decay per RL step: not known ({error})."
    words = (
        f"Decay per RL step of age: {decay.lost:.2%} of the forwards with an accepted draft token "
        f"(95 %: {decay.low:.2%} to {decay.high:.2%}; negative: they grow), each RL step compared "
        "with itself"
    )
    try:
        drift = fit_half_life(pairs)
    except ValueError as error:
        return f"{words}; no half-life can be fitted ({error})."
    half = {name: (low, high) for name, low, high in drift.intervals}["half_life"]
    return (
        f"{words}; as drift: from {drift.top:.1%} to {drift.floor:.1%}, half of the way in "
        f"{drift.half_life:.1f} RL steps ({half[0]:.1f} to {half[1]:.1f})."
    )


def _cells(row: Row, plain_s: float) -> list[str]:
    done, score = row.done, row.reliability
    drafting = [
        f"{done.gain:.3f}", f"{done.accepted_per_forward:.2f}", f"{done.drafted_per_forward:.2f}",
        f"{done.wasted:.0%}", "not given" if row.draft_us is None else f"{row.draft_us:.2f}",
        f"{row.extend_us:.2f}" if row.drafter.in_engine else "", f"{score.brier:.3f}",
        f"{score.error:.3f}",
    ]  # fmt: skip
    return [
        row.name,
        *(drafting if score.total else ["-"] * len(drafting)),
        f"{row.makespan_s:.1f}",
        str(row.k),
        f"{plain_s / row.makespan_s:.2f}x",
    ]


def _show_staleness(out: Output, found: Comparison) -> None:
    if not found.pairs:
        out.print("How history ages is not seen here: no prompt comes back in a later RL step.")
        return
    each = versions_per_step(found.pairs)
    for by, words in KINDS.items():
        ages = by_age(found.pairs, by)
        if by == VERSION and each:
            out.print(
                f"An RL step is {each:g} policy versions: by their difference it is the same."
            )
        elif ages:
            rows = [
                ["tokens per forward", *(f"{done.gain:.2f}" for done in ages.values())],
                ["forwards with one accepted", *(f"{d.hit_rate:.1%}" for d in ages.values())],
            ]
            sizes = [
                np.mean([p.history for p in found.pairs if p.by == by and p.age == age])
                for age in ages
            ]
            rows.append(["tokens of that history, mean", *(f"{size:,.0f}" for size in sizes)])
            out.print(f"\nHistory of one {words[:-1]}, so many {words} old ({PROBE})", style="bold")
            out.show(table(["age", *map(str, ages)], rows))
    out.print(textwrap.fill(decay_line(found), WIDTH), markup=False)


def write_tables(found: Comparison, folder: Path) -> list[Path]:
    """drafters.csv, reliability.csv and staleness.csv, whole or not at all. Raises TraceError."""
    tables = {
        "drafters": [_record(found, row) for row in found.rows],
        "reliability": [record for row in found.rows for record in _bins(row)],
        "staleness": [
            {"drafter": PROBE, "by": p.by, "past": p.past, "now": p.now, "age": p.age,
             "history_tokens": p.history, "tokens_per_forward": p.done.gain, **vars(p.done)}
            for p in found.pairs
        ],
    }  # fmt: skip
    paths = []
    for name, records in tables.items():
        if records:
            paths.append(folder / f"{name}.csv")
            write_table(pd.DataFrame(records).assign(**found.provenance), paths[-1])
    return paths


def _record(found: Comparison, row: Row) -> dict[str, Any]:
    score, setup = row.reliability, found.setup.row
    return {
        "drafter": spec_of(row.drafter),
        "latency": setup["latency"],
        "max_num_seqs": setup["max_num_seqs"],
        "rl_steps": " ".join(map(str, found.judged)),
        **vars(row.done),
        "tokens_per_forward": row.done.gain,
        "wasted": row.done.wasted,
        "draft_us": row.draft_us,
        "extend_us": row.extend_us,
        **{name: getattr(score, name) for name in
           ("brier", "error", "miscalibration", "resolution", "uncertainty", "within")},
        "makespan_s": row.makespan_s,
        "k": row.k,
        "no_speculation_s": found.plain_s,
        "acceptance_source": row.drafter.acceptance,
    }  # fmt: skip


def _bins(row: Row) -> list[dict[str, Any]]:
    score = row.reliability
    return [
        {"drafter": spec_of(row.drafter), "low": b / BINS, "high": (b + 1) / BINS,
         "tokens": int(score.tokens[b]), "predicted": score.predicted[b],
         "observed": score.observed[b]}
        for b in np.flatnonzero(score.tokens)
    ]  # fmt: skip
