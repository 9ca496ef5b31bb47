"""A study of budgets for people, on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .budgets import Study
from .budgets_page import place_names, ranked
from .show import WIDTH, Output, table

LEGEND = (
    "regret in %: makespan over that of the same drafter with no token drafted in vain; by budget, "
    "the best median first; x16: so many requests at once; best fixed: the best length of each "
    "column in hindsight; fixed:k=0: without drafts"
)


def show_budgets(found: Study, captions: Sequence[str]) -> None:
    """Print a table of regret for each trace and drafter."""
    out = Output()
    for trace, words in zip(found.captions, captions, strict=True):
        out.print(words, style="bold")
        for drafter in found.drafters:
            shown = ranked(found, trace, drafter)
            columns = [drafter, *place_names(shown)]
            rows = [
                [str(budget), *(f"{100 * value:.1f}" for value in values)]
                for budget, *values in shown.itertuples()
            ]
            out.show(table(columns, rows))
    out.print(textwrap.fill(LEGEND, WIDTH), style="dim", markup=False)
