"""The verb that says which drafter to choose on a trace."""

from __future__ import annotations

from pathlib import Path

import click

from . import read_workload
from .analysis.progress import bar
from .options import folder_option, say_if_compiling
from .traces.step_list import Steps


@click.command()
@click.argument("trace")
@click.option(
    "--drafter",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A drafter to compare; may be repeated. By default all that the trace allows.",
)
@click.option("--latency", default="h100-7b", show_default=True, help="Seconds of a forward.")
@click.option("--max-num-seqs", type=click.IntRange(min=1), help="Requests running at once.")
@click.option(
    "--rl-steps",
    type=Steps(),
    metavar="1,3..5",
    help="Judge these RL steps only; all but the first by default.",
)
@folder_option("Write the tables (.csv) and pictures (.png, .svg).")
def drafters(
    trace: str,
    drafter: tuple[str, ...],
    latency: str,
    max_num_seqs: int | None,
    rl_steps: list[int] | None,
    output: str | None,
) -> None:
    """Compare drafters on TRACE (a trace file, or `sample`) and say which one to choose.

    How far drafts get, what they cost, how well their chances are known beforehand, and the
    makespan under the best fixed draft budget; then how history ages. Drafters that look at
    siblings take minutes per million tokens to simulate: --rl-steps takes fewer.

    \b
    longtail drafters sample -o drafters
    longtail drafters T.parquet --drafter das --drafter suffix:scope=own+both --max-num-seqs 256
    """
    say_if_compiling()
    from .analysis.drafters import compare_drafters
    from .analysis.show import caption
    from .analysis.show_drafters import conditions, show_drafters, write_tables
    from .analysis.write_page import check_folder
    from .sim.limits import Limits

    if output:
        check_folder(Path(output))
    load = read_workload(trace, rl_steps=rl_steps)
    with bar("comparing drafters", None) as advance:
        found = compare_drafters(
            load,
            drafter,
            latency=latency,
            limits=Limits(max_num_seqs=max_num_seqs),
            rl_steps=rl_steps,
            progress=advance,
        )
    show_drafters(found, caption(load))
    if output:
        from .analysis.drafter_figures import draw_drafters

        Path(output).mkdir(parents=True, exist_ok=True)
        words = f"{caption(load)}; {conditions(found)}"
        paths = write_tables(found, Path(output)) + draw_drafters(found, words, Path(output))
        for path in paths:
            click.echo(path)
