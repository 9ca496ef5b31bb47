"""A trace's summary as tables for people."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from .schema import printable

STEPS_SHOWN = 24
WIDTH_IN_FILES = 120


def open_console() -> Console:
    """Standard output, taking text as it is."""
    width = None if sys.stdout.isatty() else WIDTH_IN_FILES
    return Console(markup=False, highlight=False, width=width)


def show_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what `summary.summarize` found; a synthetic trace says so first."""
    if summary["synthetic"]:
        console.print(
            "SYNTHETIC: these rollouts were made up, no model wrote them", style="bold red"
        )
    _facts(summary, console)
    _lengths(summary, console)
    _steps(summary["by_rl_step"], _unknown(summary), console)


def _facts(summary: dict[str, Any], console: Console) -> None:
    size, meta = summary["group_size"], summary["meta"]
    tail = summary["group_tail"]
    tokenizer = meta["tokenizer"]
    facts = {
        "trace": summary["file"],
        "origin": summary["origin"],
        "rollouts": f"{summary['rollouts']:,}"
        + ("" if summary["tokens"] else " (lengths only, no tokens)"),
        "RL steps": f"{summary['rl_steps']:,}",
        "prompts": f"{summary['prompts']:,}",
        "groups": f"{summary['groups']:,} of {size['min']} to {size['max']} samples "
        f"(median {size['p50']:g})",
        "longest/median of groups": f"{tail['p50']:.2f} (p50), {tail['p90']:.2f} (p90)"
        if tail
        else None,
        "finish reasons": ", ".join(f"{k} {n:,}" for k, n in summary["finish_reasons"].items()),
        "cut by length": _cut(summary),
        "mean reward": None if summary["reward_mean"] is None else f"{summary['reward_mean']:.3f}",
        "source": meta["source"],
        "model": meta["model"],
        "tokenizer": f"{tokenizer['name']} (sha256 {tokenizer['sha256'][:12]}…)"
        if tokenizer
        else None,
        "vocabulary": meta["vocab_size"] and f"{meta['vocab_size']:,} tokens",
        "end token": meta["end_token_id"],
        "sampling": ", ".join(f"{k}={v}" for k, v in meta["sampling"].items()),
        "engine": meta["engine"],
        "hardware": meta["hardware"],
        "licence": meta["licence"],
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value not in (None, ""):
            table.add_row(name, printable(str(value), keep="\n"))
    for note in meta["notes"]:
        table.add_row("note", printable(note, keep="\n"))
    console.print(table)


def _unknown(summary: dict[str, Any]) -> bool:
    """Whether nobody says which rollouts were cut."""
    return set(summary["finish_reasons"]) == {"unknown"}


def _cut(summary: dict[str, Any]) -> str:
    if _unknown(summary):
        return "not known"
    return f"{summary['cut_by_length']:,} ({summary['cut_by_length'] / summary['rollouts']:.1%})"


def _lengths(summary: dict[str, Any], console: Console) -> None:
    table = Table(title="Tokens per rollout", title_justify="left")
    table.add_column("")
    for name in ("p50", "p90", "p99", "max", "sum"):
        table.add_column(name, justify="right")
    for name, key in (("prompt", "prompt_len"), ("output", "output_len")):
        values = summary[key]
        table.add_row(name, *(f"{values[q]:,.0f}" for q in ("p50", "p90", "p99", "max", "sum")))
    console.print(table)


def _steps(steps: list[dict[str, Any]], unknown: bool, console: Console) -> None:
    table = Table(title="RL steps (output lengths in tokens)", title_justify="left")
    named = any(step["name"] for step in steps)
    table.add_column("step", justify="right")
    if named:
        table.add_column("name")
    heads = ("rollouts", "prompts", "tokens", "p50", "p90", "p99", "max", "max/p50", "cut")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for step in steps[:STEPS_SHOWN]:
        values = step["output_len"]
        table.add_row(
            str(step["rl_step"]),
            *([printable(step["name"] or "")] if named else []),
            f"{step['rollouts']:,}",
            f"{step['prompts']:,}",
            f"{values['sum']:,}",
            *(f"{values[q]:,.0f}" for q in ("p50", "p90", "p99", "max")),
            f"{step['tail']:.2f}",
            "-" if unknown else f"{step['cut_by_length']:,}",
        )
    console.print(table)
    if len(steps) > STEPS_SHOWN:
        console.print(f"... and {len(steps) - STEPS_SHOWN} more RL steps (--json has them all)")
