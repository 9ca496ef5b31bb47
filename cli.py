"""The `longtail` command: thin verbs, no logic. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .traces.commands import trace as trace_group

LIMITS = ("max_num_seqs", "max_num_batched_tokens", "kv_tokens", "block_size", "replicas")


class Steps(click.ParamType):
    """RL steps as `1,3..5`."""

    name = "steps"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """A list of ints."""
        if not isinstance(value, str):
            return [int(v) for v in value] if isinstance(value, list) else [int(value)]
        steps: list[int] = []
        for part in value.split(","):
            first, dots, last = part.partition("..")
            try:
                steps += range(int(first), int(last) + 1) if dots else [int(first)]
            except ValueError:
                self.fail(f"'{value}' is not a list of RL steps such as 1,3..5", param, ctx)
        return steps


def _read_config(ctx: click.Context, path: str) -> dict[str, Any]:
    """A YAML file's options become defaults of the command; those it takes several of, as lists."""
    from .sim.config import read_config

    params = {p.name: p for p in ctx.command.params if p.name}
    options = read_config(Path(path), [name for name in params if name != "config"])
    for name, value in options.items():
        if getattr(params[name], "multiple", False) and not isinstance(value, list):
            options[name] = [value]
    ctx.default_map = options
    return options


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        _read_config(ctx, value)


def _trace_or_config(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.endswith((".yaml", ".yml")):
        return value
    trace = _read_config(ctx, value).get("trace")
    if not trace:
        raise click.UsageError(f"{value} names no trace; add `trace: FILE` to it")
    return str(trace)


def _options(many: bool) -> Callable[[Any], Any]:
    """The options that make up a configuration; with `many`, each may be given several times."""

    def decorate(command: Any) -> Any:
        text: dict[str, Any] = {
            "multiple": many,
            "metavar": "NAME[:KEY=VALUE,…]",
            "show_default": True,
        }
        number: dict[str, Any] = {"multiple": many, "type": click.IntRange(min=1)}
        for option in reversed(
            [
                click.option(
                    "--drafter",
                    default=["none"] if many else "none",
                    help="What to draft (longtail list drafters).",
                    **text,
                ),
                click.option(
                    "--budget",
                    default=["unlimited"] if many else "unlimited",
                    help="How many draft tokens for whom (longtail list budgets).",
                    **text,
                ),
                click.option(
                    "--placement",
                    default=["fcfs"] if many else "fcfs",
                    help="Which request runs where (longtail list placements).",
                    **text,
                ),
                click.option(
                    "--latency",
                    default=["h100-7b"] if many else "h100-7b",
                    help="Seconds of a forward (longtail list latencies).",
                    **text,
                ),
                click.option(
                    "--max-num-seqs", help="Requests running at once on a replica.", **number
                ),
                click.option("--max-num-batched-tokens", help="Tokens in one forward.", **number),
                click.option(
                    "--kv-tokens", help="KV-cache capacity of a replica, in tokens.", **number
                ),
                click.option(
                    "--block-size",
                    default=[16] if many else 16,
                    help="Tokens per KV block.",
                    show_default=True,
                    **number,
                ),
                click.option(
                    "--replicas",
                    default=[1] if many else 1,
                    help="Engine instances.",
                    show_default=True,
                    **number,
                ),
                click.option(
                    "--rl-steps",
                    type=Steps(),
                    metavar="1,3..5",
                    help="Only these RL steps; all earlier ones are their history.",
                ),
                click.option(
                    "--cap",
                    type=click.IntRange(min=1),
                    metavar="TOKENS",
                    help="Token cap of requests that were not cut; by default the trace's.",
                ),
                click.option(
                    "--config",
                    type=click.Path(dir_okay=False),
                    is_eager=True,
                    expose_value=False,
                    callback=_load_config,
                    help="YAML with the same keys as these options, which win over it.",
                ),
            ]
        ):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="longtail")
def cli() -> None:
    """Replay recorded RL rollouts under any drafter, draft budget and scheduling policy.

    \b
    longtail demo                       a first answer, on the bundled recorded sample
    longtail trace import text …        your own rollouts in
    longtail simulate T.parquet …       one configuration
    longtail sweep T.parquet …          many, on every core
    """


cli.add_command(trace_group)


@cli.command()
@click.argument("trace")
@_options(many=False)
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
    from .analysis.show import show_result
    from .sim.limits import Limits
    from .sim.simulate import Setup
    from .sim.simulate import simulate as run
    from .sim.sweep import write_table

    steps = options["rl_steps"]
    setup = Setup.of(**_components(options), limits=Limits(*(options[name] for name in LIMITS)))
    workload = _workload(trace, options["cap"], steps)
    _say_if_compiling()
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
@click.argument("trace", metavar="TRACE|CONFIG", is_eager=True, callback=_trace_or_config)
@_options(many=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the whole table (.parquet or .csv).",
)
@click.option("--plots", type=click.Path(file_okay=False), metavar="DIR", help="Draw the sweep.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
def sweep(
    trace: str,
    output: str | None,
    plots: str | None,
    jobs: int | None,
    **options: Any,
) -> None:
    """Simulate every combination of the options given, each of which may be repeated.

    Within a component, `k=1..8` is a range and `k=1+4+16` a list. A YAML file in place of TRACE
    has the same keys and `trace`.

    \b
    longtail sweep sample --drafter none --drafter suffix:scope=own+both \\
        --budget fixed:k=1+2+4+8 --budget das -o sweep.parquet --plots pictures
    longtail sweep sweep.yaml -o sweep.csv
    """
    from .analysis.show import show_sweep
    from .sim.grid import Grid
    from .sim.sweep import sweep as run
    from .sim.sweep import write_table

    limits: dict[str, Any] = {name: options[name] or (None,) for name in LIMITS}
    grid = Grid(**_components(options), **limits)
    setups = grid.setups()
    workload = _workload(trace, options["cap"], options["rl_steps"])
    _say_if_compiling()
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
    from .analysis.plots import draw_all, draw_sweep

    if source.endswith(".csv") or (source.endswith(".parquet") and not _is_trace(Path(source))):
        from .sim.sweep import read_table

        paths = draw_sweep(read_table(Path(source)), Path(source).name, Path(output))
    else:
        from .analysis.demo import POLICIES, compare
        from .sim.limits import Limits

        workload = _workload(source, None, rl_steps)
        _say_if_compiling()
        results = compare(
            workload,
            policy or POLICIES,
            latency=latency,
            rl_steps=rl_steps,
            limits=Limits(max_num_seqs=max_num_seqs),
        )
        rows = workload.lengths
        paths = draw_all(results, rows, _caption(workload), Path(output))
    for path in paths:
        click.echo(path)


@cli.command("list")
@click.argument(
    "kind", type=click.Choice(["drafters", "budgets", "placements", "latencies"]), required=False
)
def list_(kind: str | None) -> None:
    """Print the components: what each does, its source, its options and defaults."""
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
    """Replay the bundled recorded sample under several drafters and budgets."""
    from .analysis.demo import run_demo

    _say_if_compiling()
    run_demo(Path(output))


@cli.group()
def record() -> None:
    """Record rollouts as a trace."""


@record.command("tiny")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE")
def record_tiny(seed: int, output: str) -> None:
    """Train the tiny model from scratch, then by RL, and record its rollouts (CPU, needs torch)."""
    try:
        from .engine.tiny.record import record_tiny as run
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"{error.name} is not installed; install it with: pip install 'longtail[record]'"
        ) from None
    run(Path(output), seed=seed, progress=lambda line: click.echo(line, err=True))


def _components(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("drafter", "budget", "latency", "placement")}


def _is_trace(path: Path) -> bool:
    from .traces import TraceError, open_trace

    try:
        open_trace(path)
    except TraceError:
        return False
    return True


def _workload(name: str, cap: int | None, steps: list[int] | None) -> Any:
    from .sim.workload import Workload
    from .traces import find_trace, open_trace

    return Workload.from_trace(
        open_trace(find_trace(name)), cap=cap, last_step=max(steps) if steps else None
    )


def _caption(workload: Any) -> str:
    from .analysis.show import caption

    return caption(workload)


def _say_if_compiling() -> None:
    from .policies.compiled import is_cold

    if is_cold():
        click.echo("Compiling the decode loop and the drafters, once (about 10 s) …", err=True)


def _bar(label: str, total: int | None) -> Any:
    from .analysis.progress import bar

    return bar(label, total)


def main() -> None:
    """Entry point: unusable input is one line on standard error and exit code 2."""
    from .policies.registry import ComponentError
    from .traces.schema import TraceError

    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except (TraceError, ComponentError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        if type(error).__name__ == "ConservationError":
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        raise
