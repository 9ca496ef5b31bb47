"""The verb that holds a paper's figures against our simulation."""

from __future__ import annotations

from pathlib import Path

import click

from . import read_workload
from .options import folder_option, say_if_compiling

NAMES = ("das", "tlt", "respec", "nemo-rl", "seer")


@click.command()
@click.argument("paper", type=click.Choice(NAMES))
@folder_option(
    "Folder for the page (.md), its tables (.csv) and pictures (.png, .svg).", "longtail-reproduce"
)
@click.option("--trace", default="sample", show_default=True, help="Rollouts to replay.")
def reproduce(paper: str, output: str, trace: str) -> None:
    """Write a page on PAPER: its digitized figures and tables beside our simulation.

    Each claim has a verdict, computed from the numbers: of the paper's own figures, and of ours.
    What differs is explained and not tuned away; what cannot be judged here is said so. Takes up to
    a minute on the bundled sample.

    \b
    longtail reproduce tlt
    longtail reproduce das -o pages --trace T.parquet
    """
    say_if_compiling()
    from .analysis.progress import bar
    from .analysis.reproduction.papers import reproduce as run
    from .analysis.reproduction.show import show_claims
    from .analysis.write_page import check_folder, write_page

    check_folder(Path(output))
    words = f"longtail reproduce {paper}"
    if trace != "sample":
        words += f" --trace {Path(trace).name}"
    load = read_workload(trace)
    with bar(f"reproducing {paper}", None) as advance:
        page = run(paper, load, words, advance)
    show_claims(page)
    for path in write_page(page, Path(output)):
        click.echo(path)
