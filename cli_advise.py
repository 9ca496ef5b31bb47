"""The verb that says what to turn on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from . import read_workload
from .analysis.progress import bar
from .cli_report import make_report
from .options import LIMITS, check_file, folder_option, say_if_compiling
from .traces.step_list import Steps

COMPONENT: dict[str, Any] = {"multiple": True, "metavar": "NAME[:KEY=VALUE,…]"}
COUNT = click.IntRange(min=1)


@click.command()
@click.argument("trace")
@click.option(
    "--engine",
    type=click.Choice(["longtail", "vllm"]),
    default="longtail",
    show_default=True,
    help="What can be turned on: what vLLM has by itself, or longtail's plug-in as well.",
)
@click.option(
    "--latency",
    default="h100-7b",
    show_default=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="Seconds of a forward (longtail list latencies), best a calibration of your engine.",
)
@click.option("--drafter", help="Only this drafter; may be repeated.", **COMPONENT)
@click.option("--budget", help="Only this draft budget; may be repeated.", **COMPONENT)
@click.option(
    "--max-num-seqs", type=COUNT, help="Requests running at once on a replica; fewer are tried too."
)
@click.option("--max-num-batched-tokens", type=COUNT, help="Tokens in one forward.")
@click.option("--kv-tokens", type=COUNT, help="KV-cache capacity of a replica, in tokens.")
@click.option(
    "--block-size", type=COUNT, default=16, show_default=True, help="Tokens per KV block."
)
@click.option("--replicas", type=COUNT, default=1, show_default=True, help="Engine instances.")
@click.option("--requests", type=COUNT, help="Requests of an RL step; as recorded by default.")
@click.option(
    "--rl-steps",
    type=Steps(),
    metavar="1,3..5",
    help="Judge these RL steps only; by default all but the first, which has no history.",
)
@click.option(
    "--cap",
    type=COUNT,
    metavar="TOKENS",
    help="Token cap of requests that were not cut; by default the trace's.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@folder_option("Write advice.json, advice.md, candidates.csv, policy.yaml and pictures.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all of it as one HTML file, as `longtail report` does.",
)
def advise(
    trace: str,
    engine: str,
    latency: str,
    drafter: tuple[str, ...],
    budget: tuple[str, ...],
    requests: int | None,
    rl_steps: list[int] | None,
    cap: int | None,
    as_json: bool,
    output: str | None,
    report: Path | None,
    **limits: Any,
) -> None:
    """Say what to turn on for rollouts like those of TRACE (a trace file, or `sample`).

    Drafter, draft budget, placement and concurrency are searched within what the engine can do; the
    answer comes with its interval, what it rests on, when it would be wrong, the runner-up, and the
    arguments that turn it on. Where nothing clearly helps it says to leave speculation off.

    \b
    longtail advise sample
    longtail advise T.parquet --latency model.json --max-num-seqs 256 -o advice --report advice.html
    longtail advise T.parquet --engine vllm --json
    """
    say_if_compiling()
    from .analysis.advice.advise import advise as run
    from .analysis.advice.document import document
    from .analysis.advice.show import show_advice
    from .analysis.show import caption
    from .analysis.write_page import check_folder
    from .sim.limits import Limits

    if output:
        check_folder(Path(output))
    if report:
        check_file(report)
    load = read_workload(trace, cap=cap, rl_steps=rl_steps)
    with bar("advising", 100) as advance:
        found = run(
            load,
            engine=engine,
            latency=latency,
            limits=Limits(*(limits[name] for name in LIMITS)),
            drafters=drafter,
            budgets=budget,
            rl_steps=rl_steps,
            requests=requests,
            progress=lambda done: advance(round(100 * done), 100),
        )
    told, title = document(found), caption(load)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if output or report:
            from .analysis.advice.write import write_advice

            paths = write_advice(found, told, title, Path(output or folder))
            lines += map(str, paths) if output else []
        if report:
            lines.append(make_report(Path(output or folder), report))
    if as_json:
        click.echo(json.dumps(told, allow_nan=False))
        return
    show_advice(told, title)
    for line in lines:
        click.echo(line)
