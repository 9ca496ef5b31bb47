"""What verbs share: the options of a configuration, from words or YAML; a word on compiling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .traces.step_list import Steps

LIMITS = ("max_num_seqs", "max_num_batched_tokens", "kv_tokens", "block_size", "replicas")


def say_if_compiling() -> None:
    """For the rest of this command. To be called before anything compiled is imported: importing it
    is what compiles.
    """
    from .policies.compiled import told_of_compiling

    def say() -> None:
        click.echo("Compiling what is used for the first time (up to 15 s) …", err=True)

    click.get_current_context().with_resource(told_of_compiling(say))


def _read_config(ctx: click.Context, path: str) -> dict[str, Any]:
    """A YAML file's options become defaults of the command; those it takes several of, as lists."""
    from .policies.config import read_config

    params = {p.opts[-1].lstrip("-").replace("-", "_"): p for p in ctx.command.params}
    options = {}
    for key, value in read_config(Path(path), [k for k in params if k != "config"]).items():
        param = params[key]
        several = getattr(param, "multiple", False)
        if isinstance(value, list) and not several and not isinstance(param.type, Steps):
            raise click.UsageError(f"{path}: '{key}' takes one value; several are for `sweep`")
        options[param.name or key] = [value] if several and not isinstance(value, list) else value
    ctx.default_map = options
    return options


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


def configuration(many: bool) -> Callable[[Any], Any]:
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
