"""The `longtail` command: thin verbs, no logic. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from .analysis.track import Track, tracked_result
from .cli_advise import advise
from .cli_budgets import budgets
from .cli_calibrate import calibrate, validate
from .cli_completion import complete_names, completion
from .cli_drafters import drafters
from .cli_export import VERBS as EXPORTS
from .cli_live import record_vllm, run
from .cli_report import report
from .cli_reproduce import reproduce
from .cli_sweep import plot, sweep
from .cli_verbose import say_what_is_done
from .options import (
    TABLES,
    check_file,
    configuration,
    folder_option,
    say_if_compiling,
    simulated,
    trace_or_config,
    track_option,
)
from .traces.commands import trace as trace_group
from .traces.export_commands import export

logger = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="longtail")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Say on standard error what is read and computed, and how long it takes; -vv: in detail.",
)
@click.pass_context
def cli(ctx: click.Context, verbose: int) -> None:
    """Replay recorded RL rollouts under any drafter, draft budget and scheduling policy.

    \b
    longtail demo                       a first answer, on the bundled recorded sample
    longtail trace import auto DIR …    a trainer's dump in, recognised
    longtail simulate T.parquet …       one configuration
    longtail sweep T.parquet …          many, on every core
    longtail advise T.parquet …         what to turn on, and what it saves
    longtail drafters T.parquet …       which drafter to choose
    longtail budgets T.parquet …        which draft budget to choose
    longtail run T.parquet …            live, in vLLM
    longtail calibrate RUN…             a latency model from live runs
    longtail validate …                 predictions held against live runs
    longtail reproduce das|tlt|…        a paper's figures beside our simulation
    longtail report DIR                 one HTML file of all that lies in a folder
    """
    if verbose:
        ctx.with_resource(say_what_is_done(verbose))


cli.add_command(trace_group)
for _verb in EXPORTS:
    export.add_command(_verb)
for _verb in (
    *(sweep, plot, run, calibrate, validate),
    *(advise, drafters, budgets, reproduce, report, completion),
):
    cli.add_command(_verb)


@cli.command()
@click.argument("trace", metavar="TRACE|CONFIG", is_eager=True, callback=trace_or_config)
@configuration(many=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--log",
    "log_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write one row per forward (.parquet or .csv).",
)
@track_option
def simulate(
    trace: str, as_json: bool, log_path: str | None, track: Track | None, **options: Any
) -> None:
    """Simulate TRACE (a trace file, or `sample`) under one configuration.

    \b
    longtail simulate sample --drafter suffix:scope=both --budget das
    longtail simulate T.parquet --rl-steps 1 --max-num-seqs 256 --json
    """
    say_if_compiling()
    if log_path:
        check_file(Path(log_path), *TABLES)
    from .analysis.show import caption, show_result
    from .sim.sweep import write_table

    workload, result = simulated(trace, options, bool(log_path))
    logger.info(
        "simulated %d forwards, and bounds, in %.2f s",
        result.total("forwards"),
        result.wall_s["simulate"],
    )
    if log_path:
        import pandas as pd

        frames = [s.log.assign(rl_step=s.rl_step) for s in result.steps if s.log is not None]
        write_table(pd.concat(frames, ignore_index=True), Path(log_path))
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        show_result(result, caption(workload))
    if track:
        track(tracked_result(result))


@cli.command("list")
@click.argument(
    "kind", type=click.Choice(["drafters", "budgets", "placements", "latencies"]), required=False
)
def list_(kind: str | None) -> None:
    """Print the components: what each does, its source, its options and defaults.

    \b
    longtail list
    longtail list drafters
    """
    from .analysis.show import show_components

    show_components(kind)


@cli.command()
@folder_option("Folder for the pictures.", default="longtail-demo")
def demo(output: str) -> None:
    """Replay the bundled recorded sample under several drafters and budgets.

    \b
    longtail demo
    longtail demo -o pictures
    """
    say_if_compiling()
    from .analysis.demo import run_demo

    run_demo(Path(output))


@cli.group()
def record() -> None:
    """Record rollouts as a trace."""


@record.command("tiny")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE")
def record_tiny(seed: int, output: str) -> None:
    """Train the tiny model from scratch, then by RL, and record its rollouts (CPU, needs torch).

    \b
    longtail record tiny --seed 1 -o tiny.parquet
    """
    try:
        from .engine.tiny.record import record_tiny as run
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"{error.name} is not installed; install it with: pip install 'longtail[record]'"
        ) from None
    run(Path(output), seed=seed, progress=lambda line: click.echo(line, err=True))


record.add_command(record_vllm)
complete_names(cli)  # when all verbs are known


def main() -> None:
    """Entry point. Unusable input is one line on standard error and exit code 2, a result that
    does not add up exit code 1; a fault of this program shows its traceback and exits with 70.
    """
    from .policies.registry import ComponentError
    from .traces.schema import TraceError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that partial files are removed
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except (click.ClickException, TraceError, ComponentError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {' '.join(text.split())}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if type(error).__name__ == "ConservationError":
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        traceback.print_exc()
        sys.exit(70)
