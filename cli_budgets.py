"""The verb that compares draft budgets."""

from __future__ import annotations

from pathlib import Path

import click

from .options import say_if_compiling
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
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write the page (policies.md), all cells (policies.parquet), tables and pictures.",
)
def budgets(
    traces: tuple[str, ...],
    drafter: tuple[str, ...],
    budget: tuple[str, ...],
    latency: tuple[str, ...],
    at_once: tuple[int, ...],
    rl_steps: list[int] | None,
    jobs: int | None,
    output: str | None,
) -> None:
    """Compare draft budgets on TRACE… (trace files, or `sample`): regret, speed-up, waste.

    Regret is makespan over that of the same drafter with no token drafted in vain.

    \b
    longtail budgets sample --drafter suffix:scope=both
    longtail budgets T.parquet --budget das --budget fixed:k=1..8 --latency model.json -o policies
    """
    say_if_compiling()
    from .analysis.budgets import AT_ONCE, COMPARED, LATENCIES, study
    from .analysis.budgets_page import budgets_page
    from .analysis.progress import bar
    from .analysis.show import caption
    from .analysis.show_budgets import show_budgets
    from .analysis.write_page import write_page
    from .policies.latency.presets import make_latency, name_latency
    from .sim.sweep import write_table
    from .sim.workload import Workload
    from .traces import find_trace, open_trace

    loads = [Workload.from_trace(open_trace(find_trace(t)), rl_steps=rl_steps) for t in traces]
    chosen = {name_latency(make_latency(spec)): spec for spec in latency} or LATENCIES
    with bar("comparing budgets", None) as advance:
        found = study(
            loads, drafters=drafter or COMPARED, budgets=budget, latencies=chosen,
            at_once=at_once or AT_ONCE, rl_steps=rl_steps, jobs=jobs,
            progress=lambda label, done, total: advance(done, total),
        )  # fmt: skip
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
