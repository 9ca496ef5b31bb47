"""`python -m tests.docs.budgets regret|tail`: what README and docs/tail.md show of the
study of budgets, from the tables that `longtail budgets` left in `docs/`.
"""

from __future__ import annotations

import click
import pandas as pd

from longtail.analysis.budgets import NONE
from longtail.analysis.budgets_page import TIE, against_published

from .page import ROOT

SHOWN = [NONE, "das", "beg_mab", "best fixed", "goodput", "adaptive_verification", "tail"]
LATENCIES = ("H100, 7B", "KV-bound, 32B")


def regret() -> pd.DataFrame:
    """Of some budgets on the bundled sample, %, by latency and requests at once."""
    table = pd.read_csv(ROOT / "docs" / "policies-regret-sample.csv", index_col="budget")
    shown = [name for latency in LATENCIES for name in table if name.startswith(latency)]
    columns = pd.MultiIndex.from_tuples([name.rsplit(" ", 1) for name in shown])
    table = table.loc[SHOWN, shown].rename_axis(None)
    return table.set_axis(columns.set_names(["regret, %", ""]), axis=1)


def tail() -> pd.DataFrame:
    """By drafter: in what share of cells `tail` is no longer than the best other budget, and how
    long at worst.
    """
    cells = pd.read_parquet(ROOT / "docs" / "policies.parquet")
    table = against_published(cells[cells.budget != NONE])
    ratio = {name: table[table.drafter == name].ratio for name in cells.drafter.unique()}
    return pd.DataFrame(
        [
            (len(mine), f"{(mine <= 1 + TIE).mean():.0%}", f"{mine.max():.3f}x")
            for mine in (*ratio.values(), table.ratio)
        ],
        index=[*ratio, "all of these"],
        columns=["cells", f"tie ({TIE:.1%}) or shorter", "at worst"],
    )


@click.command()
@click.argument("name", type=click.Choice(["regret", "tail"]))
def main(name: str) -> None:
    """Print one of the tables."""
    table = regret() if name == "regret" else tail()
    click.echo(table.to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    main()
