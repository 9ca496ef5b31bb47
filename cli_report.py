"""The verb that makes one HTML file of what others wrote to a folder."""

from __future__ import annotations

from pathlib import Path

import click

from .options import check_file, say_if_compiling


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="The file to write; it opens without a network and loads nothing.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The model's tokenizer.json, to show rollouts of traces as text.",
)
def report(folder: Path, output: Path, tokenizer: Path | None) -> None:
    """Make one HTML file of everything in DIR that longtail wrote: summary, tables, pictures.

    It knows tables of `sweep`, folders of `advise`, `drafters`, `budgets`, `reproduce`, `demo`,
    `run` and `validate`, results of `simulate --json`, latency models of `calibrate`, and traces,
    all by their content. What it skips it names, with the reason.

    \b
    longtail advise sample -o answers/advice
    longtail report answers -o report.html
    """
    say_if_compiling()
    check_file(output)
    click.echo(make_report(folder, output, tokenizer))


def make_report(folder: Path, output: Path, tokenizer: Path | None = None) -> str:
    """Write it; what it holds, in a line. Raises TraceError."""
    from .analysis.progress import bar
    from .analysis.report.read import STEPS, read_report
    from .analysis.report.render import write_report

    with bar("reading", STEPS) as advance:
        found = read_report(folder, tokenizer, advance)
    size = write_report(found, output)
    taken = sum(bool(file.what) for file in found.files)
    return (
        f"{output} ({size / 1e6:.1f} MB): {len(found.parts)} sections of {taken} files, "
        f"{len(found.files) - taken} skipped"
    )
