"""`longtail trace export ...`: a trace in the formats of other programs.

Those that need a drafter or a simulation are added by the command (cli_export.py). Nothing heavy is
imported before a verb runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .step_list import Steps


@click.group()
def export() -> None:
    """Write a trace, what was drafted, or how forwards went, for other programs.

    \b
    longtail trace export csv T.parquet -o rollouts.csv
    longtail trace export chrome sample --rl-steps 9 --drafter suffix --budget das -o T.json.gz
    """


def output_option(what: str) -> Callable[[Any], Any]:
    """-o, with what is written there."""
    return click.option("-o", "--output", required=True, metavar="FILE", help=what)


STEPS = click.option(
    "--rl-steps", type=Steps(), metavar="1,3..5", help="Only these RL steps; all by default."
)
STEP_S = click.option(
    "--step-s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="An RL step's rollouts arrive together, RL steps this far apart, whatever was recorded.",
)


@export.command()
@click.argument("trace")
@STEPS
@STEP_S
@output_option("JSONL to write, plain, .gz or .zst.")
def mooncake(trace: str, output: str, rl_steps: list[int] | None, step_s: float | None) -> None:
    """Mooncake's request trace (JSONL).

    timestamp (ms), input_length, output_length, hash_ids.

    A hash id stands for up to 512 tokens of a prompt and all before them: samples of a prompt share
    all their ids, prompts that begin alike the first ones. In a lengths-only trace a prompt has its
    own. Read by vLLM's `bench serve --dataset-name timed_trace` (with
    --timed-trace-chunk-hash-size 512 --timed-trace-sec-multiplier 0.001), Dynamo and others.

    \b
    longtail trace export mooncake T.parquet --rl-steps 3 -o requests.jsonl
    """
    from .export_requests import export_mooncake

    found = _open(trace)
    say(output, export_mooncake(found, output, rl_steps, step_s), found.meta.origin)


@export.command()
@click.argument("trace")
@STEPS
@STEP_S
@output_option("CSV to write, plain, .gz or .zst.")
def vidur(trace: str, output: str, rl_steps: list[int] | None, step_s: float | None) -> None:
    """Vidur's and Frontier's requests (CSV).

    arrived_at (s), num_prefill_tokens, num_decode_tokens.

    \b
    longtail trace export vidur T.parquet --rl-steps 3 -o requests.csv
    """
    from .export_requests import export_vidur

    found = _open(trace)
    say(output, export_vidur(found, output, rl_steps, step_s), found.meta.origin)


@export.command()
@click.argument("trace")
@STEPS
@output_option("CSV to write, plain, .gz or .zst.")
def csv(trace: str, output: str, rl_steps: list[int] | None) -> None:
    """One row per rollout (CSV).

    Everything but the tokens. `trace import lengths` reads it back.

    \b
    longtail trace export csv T.parquet -o rollouts.csv
    """
    from .export_csv import export_csv

    found = _open(trace)
    say(output, export_csv(found, output, rl_steps), found.meta.origin)


def say(output: str, done: Any, *of: str) -> None:
    """One line on what was written, and a warning per thing that could not be known on standard
    error. of: what the records are, a trace's origin for one.
    """
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    words = ", ".join("SYNTHETIC" if word == "synthetic" else word for word in of if word)
    click.echo(f"{output}: {done.records:,} {done.what} ({words})")


def _open(name: str) -> Any:
    from .sample import find_trace
    from .store import open_trace

    return open_trace(find_trace(name))
