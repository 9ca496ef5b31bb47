"""`longtail trace ...`: thin verbs over this room; TraceError is left to the caller to print.

Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .export_commands import export
from .import_commands import import_
from .step_list import Steps


@click.group()
def trace() -> None:
    """Bring recorded rollouts in, look at them, check them, make some up."""


trace.add_command(import_)
trace.add_command(export)


@trace.command()
@click.argument("path", metavar="TRACE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def info(path: str, as_json: bool) -> None:
    """Counts, length quantiles, tails, finish reasons and provenance of a trace.

    \b
    longtail trace info sample
    longtail trace info T.parquet --json
    """
    from .sample import find_trace
    from .store import open_trace
    from .summary import summarize

    summary = summarize(open_trace(find_trace(path)))
    if as_json:
        click.echo(json.dumps(summary))
        return
    from .show import open_console, show_summary

    show_summary(summary, open_console())


@trace.command()
@click.argument("path", metavar="TRACE")
def check(path: str) -> None:
    """Read a trace to its last token and hold it against every rule of the format.

    \b
    longtail trace check T.parquet
    """
    from .check import check_trace
    from .sample import find_trace

    found = check_trace(find_trace(path))
    click.echo(f"{path}: {found.n_rollouts:,} rollouts in order ({found.meta.origin})")


@trace.command()
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
@click.option("--seed", default=0, show_default=True)
@click.option("--rl-steps", default=4, show_default=True)
@click.option("--prompts", default=32, show_default=True, help="Prompts, the same in each RL step.")
@click.option("--samples", default=8, show_default=True, help="Samples per prompt and RL step.")
@click.option(
    "--lengths",
    default="lognormal:median=1200,sigma=1.0",
    show_default=True,
    metavar="LAW",
    help="Output lengths: lognormal:median=,sigma= or pareto:scale=,alpha= (tokens).",
)
@click.option("--cap", default=8192, show_default=True, help="Output limit, tokens.")
@click.option(
    "--group-correlation", default=0.5, show_default=True, help="Of lengths within a prompt."
)
@click.option("--prompt-len", default=256, show_default=True, help="Tokens.")
@click.option("--vocab", default=32000, show_default=True, help="Tokens in the vocabulary.")
@click.option(
    "--reuse",
    default=0.6,
    show_default=True,
    help="Share of segments copied from earlier rollouts of the prompt.",
)
@click.option(
    "--self-reuse",
    default=0.1,
    show_default=True,
    help="Share of segments copied from the rollout's own text.",
)
@click.option("--no-tokens", is_flag=True, help="Lengths only.")
def synth(output: str, lengths: str, no_tokens: bool, **recipe: Any) -> None:
    """Make up a trace, marked synthetic wherever it is shown.

    \b
    longtail trace synth --rl-steps 2 --prompts 8 --cap 512 -o T.parquet
    longtail trace synth --lengths pareto:scale=400,alpha=1.2 --no-tokens -o lengths.parquet
    """
    from .progress import progress
    from .synth import Recipe, parse_lengths, synthesize

    with progress("writing") as watch:
        synthesize(
            output,
            Recipe(lengths=parse_lengths(lengths), tokens=not no_tokens, **recipe),
            watch=watch,
        )
    click.echo(f"{output}: synthetic trace written")


@trace.command()
@click.argument("path", metavar="TRACE")
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
@click.option("--rl-steps", type=Steps(), metavar="1,3..5", help="Only these RL steps.")
@click.option("--prompt", default="*", metavar="GLOB", help="Only prompts whose id matches.")
@click.option("--prompts", type=click.IntRange(min=1), help="Only the first so many of them.")
@click.option("--samples", type=click.IntRange(min=1), help="Of each prompt and RL step.")
@click.option("--longest", type=click.IntRange(min=1), help="Output tokens of a rollout at most.")
def select(path: str, output: str, **choice: Any) -> None:
    """Write some of a trace's rollouts as a trace of its own.

    \b
    longtail trace select T.parquet --rl-steps 0..3 --prompts 16 --longest 2048 -o small.parquet
    """
    from .sample import find_trace
    from .select import select_rollouts
    from .store import open_trace

    count = select_rollouts(open_trace(find_trace(path)), output, **choice)
    click.echo(f"{output}: {count:,} rollouts")


@trace.command()
@click.argument("paths", metavar="TRACE|FOLDER...", nargs=-1, required=True)
@click.option(
    "--renumber", is_flag=True, help="Samples of engines that did not know of each other."
)
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
def join(paths: tuple[str, ...], renumber: bool, output: str) -> None:
    """Put traces of one run together; a folder stands for the traces anywhere in it.

    \b
    longtail trace join recorded/ -o T.parquet
    """
    from .select import join_traces

    count = join_traces([Path(p) for p in paths], output, renumber=renumber)
    click.echo(f"{output}: {count:,} rollouts")
