"""What the command prints of a page: its claims and their verdicts."""

from __future__ import annotations

from ..page import Page
from ..show import Output, table

WIDEST = 60  # characters of a claim


def show_claims(page: Page) -> None:
    """One line a claim: what is needed, theirs, ours, and whether ours bears it out."""
    out = Output()
    out.print(page.title, style="bold")
    rows = [
        [
            c.text if len(c.text) <= WIDEST else f"{c.text[: WIDEST - 1]}…",
            c.rule.text,
            c.show(c.theirs),
            c.show(c.ours),
            str(c.verdict),
        ]
        for c in page.claims
    ]
    out.show(table(["claim", "needed", "theirs", "ours", "here it"], rows))
