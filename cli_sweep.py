"""The verbs that simulate many configurations, and draw what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import read_workload
from .analysis.progress import bar
from .analysis.track import Track, tracked_sweep
from .options import (
    COMPONENTS,
    LIMITS,
    TABLES,
    check_file,
    configuration,
    folder_option,
    say_if_compiling,
    trace_or_config,
    track_option,
)
from .traces.step_list import Steps


@click.command()
@click.argument("trace", metavar="TRACE|CONFIG", is_eager=True, callback=trace_or_config)
@configuration(many=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the whole table (.parquet or .csv).",
)
@track_option
@click.option("--plots", type=click.Path(file_okay=False), metavar="DIR", help="Draw the sweep.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
@click.option("--dry-run", is_flag=True, help="Say how many points and how long; write nothing.")
def sweep(
    trace: str,
    output: str | None,
    track: Track | None,
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
        check_file(Path(output), *TABLES)
    if plots:
        from .analysis.write_page import check_folder

        check_folder(Path(plots))
    from .analysis.show import caption, show_sweep
    from .sim.grid import Grid
    from .sim.sweep import sweep as run
    from .sim.sweep import write_table

    limits: dict[str, Any] = {name: options[name] or (None,) for name in LIMITS}
    grid = Grid(**{name: options[name] for name in COMPONENTS}, **limits)
    setups = grid.setups()
    workload = read_workload(trace, cap=options["cap"], rl_steps=options["rl_steps"])
    if dry_run:
        from .analysis.sweep_time import sweep_time

        click.echo(sweep_time(workload, setups, rl_steps=options["rl_steps"], jobs=jobs))
        return
    with bar(f"sweeping {len(setups)} points", None) as advance:
        table = run(workload, setups, rl_steps=options["rl_steps"], jobs=jobs, progress=advance)
    if output:
        write_table(table, Path(output))
    show_sweep(table, caption(workload), output)
    if plots:
        from .analysis.plots import draw_sweep

        for path in draw_sweep(table, caption(workload), Path(plots)):
            click.echo(path)
    if track:
        track(tracked_sweep(table))


@click.command()
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
@folder_option("Folder for the pictures.", required=True)
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
    from .analysis.show import caption, table_caption
    from .sim.sweep import is_table, read_table

    if is_table(Path(source)):
        if policy or rl_steps or max_num_seqs:
            raise click.UsageError("a sweep's table is drawn whole: give these options to a trace")
        points = read_table(Path(source))
        paths = draw_sweep(points, table_caption(points), Path(output))
    else:
        from .analysis.demo import POLICIES, compare
        from .sim.limits import Limits

        workload = read_workload(source, rl_steps=rl_steps)
        results = compare(
            workload,
            policy or POLICIES,
            latency=latency,
            rl_steps=rl_steps,
            limits=Limits(max_num_seqs=max_num_seqs),
        )
        paths = draw_all(results, workload.lengths, caption(workload), Path(output))
    for path in paths:
        click.echo(path)
