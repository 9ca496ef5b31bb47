"""What verbs share: options (those of a configuration also from YAML), a file refused before the
work, a word on compiling.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .analysis.track import TRACKERS, find_tracker
from .traces.step_list import Steps

if TYPE_CHECKING:
    from .policies.config import Config
    from .sim.simulate import Result
    from .sim.workload import Workload

logger = logging.getLogger(__name__)

COMPONENTS = ("drafter", "budget", "latency", "placement")
LIMITS = ("max_num_seqs", "max_num_batched_tokens", "kv_tokens", "block_size", "replicas")
TABLES = (".parquet", ".csv")
CONFIG = "longtail.config"  # where a command's context keeps the YAML file that it was given

track_option = click.option(
    "--track",
    type=click.Choice(list(TRACKERS)),
    callback=lambda ctx, param, name: name and find_tracker(name),
    help="Keep configuration and results in an experiment tracker, too. It has to be installed; "
    "wandb stays offline unless WANDB_MODE says otherwise.",
)


def folder_option(
    help: str, default: str | None = None, required: bool = False
) -> Callable[[Any], Any]:
    """`-o DIR`."""
    more: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    return click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False),
        required=required,
        metavar="DIR",
        help=help,
        **more,
    )


def say_if_compiling() -> None:
    """For the rest of this command. To be called before anything compiled is imported: importing it
    is what compiles.
    """
    from .policies.compiled import cache_folder, told_of_compiling

    def say() -> None:
        click.echo("Compiling what is used for the first time (once; up to a minute) …", err=True)

    click.get_current_context().with_resource(told_of_compiling(say))
    logger.info("compiled code is kept in %s", cache_folder())


def simulated(trace: Any, options: dict[str, Any], log: bool) -> tuple[Workload, Result]:
    """The trace, and how it went under one configuration: of COMPONENTS, LIMITS, cap, RL steps."""
    from . import read_workload
    from .analysis.progress import bar
    from .sim.limits import Limits
    from .sim.simulate import Setup, simulate

    named = {name: options[name] for name in COMPONENTS}
    setup = Setup.of(**named, limits=Limits(*(options[name] for name in LIMITS)))
    steps = options["rl_steps"]
    load = read_workload(trace, cap=options["cap"], rl_steps=steps)
    with bar("simulating", len(load.choose(steps))) as advance:
        return load, simulate(load, setup, rl_steps=steps, log=log, progress=lambda step: advance())


def check_file(path: Path, *endings: str) -> None:
    """Refuse a file that could not be written before the work, not after it."""
    from .traces import TraceError

    if endings and path.suffix not in endings:
        raise TraceError(
            "unknown kind of file", file=path, remedy=f"end it in {' or '.join(endings)}"
        )
    if not path.absolute().parent.is_dir():
        raise TraceError("no such folder", file=path.parent, remedy="make it, or choose another")


def _read_config(ctx: click.Context, path: str) -> Config:
    """A YAML file's options become defaults of the command; those it takes several of, as lists."""
    from .policies.config import read_config

    if CONFIG in ctx.meta:
        first = ctx.meta[CONFIG].path
        raise click.UsageError(f"two YAML files, {first} and {path}: give one's keys as options")
    params = {p.opts[-1].lstrip("-").replace("-", "_"): p for p in ctx.command.params}
    config = read_config(Path(path), [k for k in params if k != "config"])
    ctx.default_map = defaults = {}
    for key, value in config.items():
        param = params[key]
        several = getattr(param, "multiple", False)
        if isinstance(value, list) and not several and not isinstance(param.type, Steps):
            raise config.error(f"'{key}' takes one value; several are for `sweep`", key)
        defaults[param.name or key] = [value] if several and not isinstance(value, list) else value
        try:
            param.type_cast_value(ctx, defaults[param.name or key])
        except click.BadParameter as error:
            raise config.error(f"{key}: {error.message}", key) from None
    ctx.meta[CONFIG] = config
    return config


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        _read_config(ctx, value)


def trace_or_config(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A trace's name; a YAML file's `trace`, its other keys becoming the command's defaults."""
    if not value.endswith((".yaml", ".yml")):
        return value
    trace = _read_config(ctx, value).get("trace")
    if not trace:
        raise click.UsageError(f"{value} names no trace; add `trace: FILE` to it")
    return str(trace)


def _naming_rows(verb: Any, many: bool) -> Any:
    """The verb; a component that its YAML file names and that cannot be made is reported with its
    row.
    """

    @functools.wraps(verb)
    def command(*words: Any, **options: Any) -> Any:
        from .policies.registry import ComponentError

        try:
            return verb(*words, **options)
        except ComponentError:
            from .sim.grid import Grid
            from .sim.simulate import Setup

            ctx = click.get_current_context()
            for key in COMPONENTS:
                if ctx.get_parameter_source(key) is click.core.ParameterSource.DEFAULT_MAP:

                    def make(spec: Any, key: str = key) -> Any:
                        return Grid(**{key: [spec]}).setups() if many else Setup.of(**{key: spec})

                    ctx.meta[CONFIG].check(key, make)
            raise

    return command


def configuration(many: bool) -> Callable[[Any], Any]:
    """The options that make up a configuration; with `many`, each may be given several times."""

    def decorate(verb: Any) -> Any:
        command = _naming_rows(verb, many)
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
                    help="Token cap that every request is told; by default the trace's.",
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
