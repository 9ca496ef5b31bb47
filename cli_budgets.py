"""The verb that compares draft budgets."""

from __future__ import annotations

from pathlib import Path

import click

from . import read_workload
from .analysis.progress import bar
from .options import folder_option, say_if_compiling
from .traces.step_list import Steps


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE…")
@click.option(
    "--drafter",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A drafter to compare budgets with; may be repeated, the first has tables of its own.",
)
@click.option(
    "--budget",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A budget to compare; may be repeated. By default all, with their published variants.",
)
@click.option(
    "--latency",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="Seconds of a forward; may be repeated. By default a 7B on an H100, a model bound by "
    "launches, and a 32B bound by its KV cache.",
)
@click.option(
    "--at-once",
    multiple=True,
    type=click.IntRange(min=1),
    help="Requests of an RL step; may be repeated. By default 16, 128 and 512.",
)
@click.option(
    "--rl-steps", type=Steps(), metavar="1,3..5", help="Judge these; by default all but the first."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
@click.option("--dry-run", is_flag=True, help="Say how many points and how long; write nothing.")
@folder_option("Write the page (policies.md), all cells (policies.parquet), tables and pictures.")
def budgets(
    traces: tuple[str, ...],
    drafter: tuple[str, ...],
    budget: tuple[str, ...],
    latency: tuple[str, ...],
    at_once: tuple[int, ...],
    rl_steps: list[int] | None,
    jobs: int | None,
    dry_run: bool,
    output: str | None,
) -> None:
    """Compare draft budgets on TRACE… (trace files, or `sample`): regret, speed-up, waste.

    Regret is makespan over that of the same drafter with no token drafted in vain.

    \b
    longtail budgets sample --drafter suffix:scope=both
    longtail budgets T.parquet --budget das --budget fixed:k=1..8 --latency model.json -o policies
    longtail budgets T.parquet --at-once 128 --dry-run
    """
    say_if_compiling()
    from .analysis.budgets import AT_ONCE, COMPARED, LATENCIES, Plan, study
    from .analysis.budgets_page import budgets_page
    from .analysis.show import caption
    from .analysis.show_budgets import show_budgets
    from .analysis.study_time import study_time
    from .analysis.write_page import check_folder, write_page
    from .policies.latency.presets import make_latency, name_latency
    from .sim.sweep import write_table

    if output:
        check_folder(Path(output))
    loads = [read_workload(trace, rl_steps=rl_steps) for trace in traces]
    plan = Plan.of(
        loads,
        drafters=drafter or COMPARED,
        budgets=budget,
        latencies={name_latency(make_latency(spec)): spec for spec in latency} or LATENCIES,
        at_once=at_once or AT_ONCE,
        rl_steps=rl_steps,
    )
    if dry_run:
        click.echo(study_time(plan, jobs=jobs))
        return
    with bar("comparing budgets", None) as advance:
        found = study(plan, jobs=jobs, progress=advance)
    captions = [caption(load) for load in loads]
    show_budgets(found, captions)
    if output:
        words = " ".join(["longtail budgets", *(Path(trace).name for trace in traces)])
        for name, given in (("drafter", drafter), ("budget", budget), ("latency", latency)):
            words += "".join(f" --{name} {each}" for each in given)
        words += "".join(f" --at-once {count}" for count in at_once)
        words += f" --rl-steps {','.join(map(str, rl_steps))}" if rl_steps else ""
        paths = write_page(budgets_page(found, words, captions), Path(output))
        write_table(found.cells, Path(output) / "policies.parquet")
        for path in [*paths, Path(output) / "policies.parquet"]:
            click.echo(path)
