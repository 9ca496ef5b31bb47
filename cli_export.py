"""Verbs of `longtail trace export` that need a drafter, a simulation or a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import read_workload
from .options import (
    TABLES,
    check_file,
    configuration,
    say_if_compiling,
    simulated,
    trace_or_config,
)
from .traces.export_commands import STEP_S, STEPS, output_option, say


def _drafting(command: Any) -> Any:
    """Options that say whose acceptance is wanted."""
    options = [
        click.argument("trace"),
        click.option(
            "--drafter",
            metavar="NAME[:KEY=VALUE,…]",
            help="Whose drafts (longtail list drafters); without it, those that were recorded.",
        ),
        click.option(
            "--k",
            type=click.IntRange(1, 128),
            metavar="TOKENS",
            help="Draft tokens of a forward at most; by default the drafter's longest draft.",
        ),
        STEPS,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_drafting
@STEP_S
@output_option("JSON to write, plain, .gz or .zst.")
def frontier(output: str, step_s: float | None, **drafting: Any) -> None:
    """Frontier's acceptance trace (JSON).

    What each forward of each request committed and drafted.

    Requests are numbered by arrival, as in the file of `trace export vidur` with the same
    --rl-steps and --step-s; each is decoded alone with whole drafts of at most --k tokens.

    \b
    longtail trace export vidur T.parquet --rl-steps 3 -o requests.csv
    longtail trace export frontier T.parquet --rl-steps 3 --drafter suffix --k 4 -o acceptance.json
    """
    from .analysis.export_acceptance import export_frontier
    from .traces.exporting import Arrivals

    trace, done = _decoding(output, **drafting)
    arrivals = Arrivals.of(trace, drafting["rl_steps"], step_s)
    say(output, export_frontier(done, arrivals.order, output), trace.meta.origin)
    click.echo(f"num_speculative_tokens: {done.k}")


@click.command()
@_drafting
@click.option(
    "--with",
    "also",
    metavar="KEY=VALUE,…",
    default="",
    help="Keys that the drafting method needs, such as method=eagle3,model=PATH.",
)
@output_option("JSON to write.")
def vllm(output: str, also: str, **drafting: Any) -> None:
    """vLLM's synthetic acceptance rates (JSON).

    A --speculative-config under which drafts fare as these did.

    A rate is the share of all decode forwards that accepted so many tokens or more (vLLM calls it
    unconditional), of rollouts decoded alone with whole drafts of at most --k tokens. Acceptance
    lengths come out right with a method that always drafts --k tokens; vLLM's n-gram and suffix
    methods draft fewer where they find nothing.

    \b
    longtail trace export vllm T.parquet --drafter suffix:scope=both --k 4 \\
        --with method=eagle3,model=HEAD -o spec.json
    vllm serve MODEL --speculative-config "$(cat spec.json)"
    """
    from .analysis.export_acceptance import acceptance_rates, export_vllm

    keys = _keys(also)
    trace, done = _decoding(output, **drafting)
    say(output, export_vllm(done, output, keys), trace.meta.origin)
    click.echo(f"acceptance length: {1 + sum(acceptance_rates(done)):.3f}")


@click.command()
@_drafting
@output_option("Table to write, .csv or .parquet.")
def positions(output: str, **drafting: Any) -> None:
    """Acceptance by position in the draft (CSV).

    One row per RL step and position.

    \b
    longtail trace export positions T.parquet --drafter suffix:scope=both -o positions.csv
    """
    check_file(Path(output), *TABLES)
    from .analysis.export_acceptance import export_positions

    trace, done = _decoding(output, **drafting)
    say(output, export_positions(done, output), trace.meta.origin)


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--by-request", is_flag=True, help="One row per forward and request; live logs only.")
@output_option("Table to write, .csv or .parquet.")
def forwards(log: Path, by_request: bool, output: str) -> None:
    """One row per forward of a log (CSV).

    LOG is the folder of a live engine's step log, or a table of `simulate --log`.

    \b
    longtail trace export forwards steps/ -o forwards.csv
    """
    check_file(Path(output), *TABLES)
    from .analysis.timeline import forward_table
    from .sim.sweep import write_table
    from .traces.exporting import Exported, check_target

    path = check_target(output, [log])
    table = forward_table(log, by_request)
    write_table(table, path)
    say(output, Exported(len(table), "rows"), "live" if log.is_dir() else "simulated")


@click.command()
@click.argument("source", metavar="TRACE|LOG|CONFIG", is_eager=True, callback=trace_or_config)
@configuration(many=False)
@output_option("JSON to write, plain or .gz.")
def chrome(source: str, output: str, **options: Any) -> None:
    """A timeline for ui.perfetto.dev (JSON).

    Or for chrome://tracing: forwards, requests, counters.

    Of TRACE simulated under one configuration (as `longtail simulate`), or of a LOG: the folder of
    a live engine's step log, or a table of `simulate --log`, which knows no requests.

    \b
    longtail trace export chrome sample --rl-steps 9 --drafter suffix --budget das -o T.json.gz
    longtail trace export chrome steps/ -o live.json.gz
    """
    say_if_compiling()
    from .analysis.export_chrome import export_chrome
    from .analysis.timeline import is_log, read_timeline, timeline_of
    from .cli_live import refuse_others
    from .traces import find_trace
    from .traces.exporting import check_target

    path = find_trace(source)
    check_target(output, [path])
    if is_log(path):
        refuse_others("a log", {"source", "output"})
        timeline = read_timeline(path)
    else:
        load, result = simulated(path, options, True)
        timeline = timeline_of(result, load)
    origin = str(timeline.about.get("origin", ""))
    say(output, export_chrome(timeline, output, path), origin, timeline.kind)


VERBS = (frontier, vllm, positions, forwards, chrome)


def _decoding(
    output: str, trace: str, drafter: str | None, k: int | None, rl_steps: list[int] | None
) -> tuple[Any, Any]:
    """The trace, and how its rollouts are decoded; the output is refused before that is known."""
    say_if_compiling()
    from .analysis.decoding import decode_recorded, decode_with
    from .traces import find_trace, open_trace
    from .traces.exporting import check_target

    found = open_trace(find_trace(trace))
    check_target(output, [found.path])
    if drafter is not None:
        load = read_workload(found, rl_steps=rl_steps)
        return found, decode_with(load, drafter, k=k, rl_steps=rl_steps)
    if k is not None:
        raise click.UsageError("--k is for a --drafter: what was recorded has been drafted already")
    return found, decode_recorded(found, rl_steps=rl_steps)


def _keys(words: str) -> dict[str, Any]:
    """`a=1,b=c` as a mapping, its values as YAML reads them."""
    from .engine.policies import parse_engine

    keys = parse_engine(tuple(filter(None, words.split(","))))
    try:
        json.dumps(keys)
    except TypeError:
        raise click.UsageError(f"--with {words!r} is no value that JSON has") from None
    return keys
