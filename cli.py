"""The `longtail` command: thin verbs, no logic. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from .cli_advise import advise
from .cli_budgets import budgets
from .cli_calibrate import calibrate, validate
from .cli_completion import complete_names, completion
from .cli_drafters import drafters
from .cli_export import VERBS as EXPORTS
from .cli_live import record_vllm, run
from .cli_report import report
from .cli_reproduce import reproduce
from .options import LIMITS, configuration, say_if_compiling, trace_or_config
from .traces.commands import trace as trace_group
from .traces.export_commands import export
from .traces.step_list import Steps


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="longtail")
def cli() -> None:
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


cli.add_command(trace_group)
for _verb in EXPORTS:
    export.add_command(_verb)
cli.add_command(run)
cli.add_command(calibrate)
cli.add_command(validate)
cli.add_command(advise)
cli.add_command(drafters)
cli.add_command(budgets)
cli.add_command(reproduce)
cli.add_command(report)


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
def simulate(trace: str, as_json: bool, log_path: str | None, **options: Any) -> None:
    """Simulate TRACE (a trace file, or `sample`) under one configuration.

    \b
    longtail simulate sample --drafter suffix:scope=both --budget das
    longtail simulate T.parquet --rl-steps 1 --max-num-seqs 256 --json
    """
    say_if_compiling()
    from .analysis.show import show_result
    from .sim.limits import Limits
    from .sim.simulate import Setup
    from .sim.simulate import simulate as run
    from .sim.sweep import write_table

    if log_path:
        _check_output(Path(log_path))
    steps = options["rl_steps"]
    setup = Setup.of(**_components(options), limits=Limits(*(options[name] for name in LIMITS)))
    workload = _workload(trace, options["cap"], steps)
    with _bar("simulating", len(workload.choose(steps))) as advance:
        result = run(
            workload, setup, rl_steps=steps, log=bool(log_path), progress=lambda step: advance()
        )
    if log_path:
        import pandas as pd

        frames = [s.log.assign(rl_step=s.rl_step) for s in result.steps if s.log is not None]
        write_table(pd.concat(frames, ignore_index=True), Path(log_path))
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        show_result(result, _caption(workload))


@cli.command()
@click.argument("trace", metavar="TRACE|CONFIG", is_eager=True, callback=trace_or_config)
@configuration(many=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the whole table (.parquet or .csv).",
)
@click.option("--plots", type=click.Path(file_okay=False), metavar="DIR", help="Draw the sweep.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
@click.option("--dry-run", is_flag=True, help="Say how many points and how long; write nothing.")
def sweep(
    trace: str,
    output: str | None,
    plots: str | None,
    jobs: int | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Simulate every combination of the options given, each of which may be repeated.

    Within a component, `k=1..8` is a range and `k=1+4+16` a list. A YAML file in place of TRACE
    has the same keys and `trace`.

    \b
    longtail sweep sample --drafter none --drafter suffix:scope=own+both \\
        --budget fixed:k=1+2+4+8 --budget das -o sweep.parquet --plots pictures
    longtail sweep T.parquet --drafter suffix --budget fixed:k=1..8 --dry-run
    longtail sweep sweep.yaml -o sweep.csv
    """
    say_if_compiling()
    if output:
        _check_output(Path(output))
    from .analysis.show import show_sweep
    from .sim.grid import Grid
    from .sim.sweep import sweep as run
    from .sim.sweep import write_table

    limits: dict[str, Any] = {name: options[name] or (None,) for name in LIMITS}
    grid = Grid(**_components(options), **limits)
    setups = grid.setups()
    workload = _workload(trace, options["cap"], options["rl_steps"])
    if dry_run:
        from .analysis.sweep_time import sweep_time

        click.echo(sweep_time(workload, setups, rl_steps=options["rl_steps"], jobs=jobs))
        return
    with _bar(f"sweeping {len(setups)} points", None) as advance:
        table = run(
            workload,
            setups,
            rl_steps=options["rl_steps"],
            jobs=jobs,
            progress=lambda done, of: advance(done, of),
        )
    if output:
        write_table(table, Path(output))
    show_sweep(table, _caption(workload))
    if plots:
        from .analysis.plots import draw_sweep

        for path in draw_sweep(table, _caption(workload), Path(plots)):
            click.echo(path)


@cli.command()
@click.argument("source")
@click.option(
    "--policy",
    multiple=True,
    metavar="DRAFTER[/BUDGET]",
    help="A policy to draw; may be repeated. The demo's policies by default.",
)
@click.option("--latency", default="h100-7b", show_default=True, help="Seconds of a forward.")
@click.option("--rl-steps", type=Steps(), metavar="1,3..5", help="Only these RL steps.")
@click.option("--max-num-seqs", type=click.IntRange(min=1), help="Requests running at once.")
@click.option("-o", "--output", type=click.Path(file_okay=False), required=True, metavar="DIR")
def plot(
    source: str,
    policy: tuple[str, ...],
    latency: str,
    rl_steps: list[int] | None,
    max_num_seqs: int | None,
    output: str,
) -> None:
    """Draw a sweep's table, or a trace under several policies, as PNG and SVG.

    \b
    longtail plot sweep.parquet -o pictures
    longtail plot T.parquet --policy none --policy suffix/fixed:k=4 --policy suffix/das -o pictures
    """
    say_if_compiling()
    from .analysis.plots import draw_all, draw_sweep
    from .analysis.show import table_caption
    from .sim.sweep import is_table, read_table

    if is_table(Path(source)):
        if policy or rl_steps or max_num_seqs:
            raise click.UsageError("a sweep's table is drawn whole: give these options to a trace")
        points = read_table(Path(source))
        paths = draw_sweep(points, table_caption(points), Path(output))
    else:
        from .analysis.demo import POLICIES, compare
        from .sim.limits import Limits

        workload = _workload(source, None, rl_steps)
        results = compare(
            workload,
            policy or POLICIES,
            latency=latency,
            rl_steps=rl_steps,
            limits=Limits(max_num_seqs=max_num_seqs),
        )
        paths = draw_all(results, workload.lengths, _caption(workload), Path(output))
    for path in paths:
        click.echo(path)


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
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    default="longtail-demo",
    show_default=True,
    help="Folder for the pictures.",
)
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
cli.add_command(completion)
complete_names(cli)  # when all verbs are known


def _components(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("drafter", "budget", "latency", "placement")}


def _workload(name: str, cap: int | None, steps: list[int] | None) -> Any:
    from .sim.workload import Workload
    from .traces import find_trace, open_trace

    return Workload.from_trace(open_trace(find_trace(name)), cap=cap, rl_steps=steps)


def _caption(workload: Any) -> str:
    from .analysis.show import caption

    return caption(workload)


def _check_output(path: Path) -> None:
    """Refuse a table that could not be written before the work, not after it."""
    from .traces import TraceError

    if path.suffix not in {".parquet", ".csv"}:
        raise TraceError("unknown kind of table", file=path, remedy="end it in .parquet or .csv")
    if not path.parent.is_dir():
        raise TraceError("no such folder", file=path.parent, remedy="make it, or choose another")


def _bar(label: str, total: int | None) -> Any:
    from .analysis.progress import bar

    return bar(label, total)


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
