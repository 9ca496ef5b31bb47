"""An advice on a terminal: words first, then a small table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from ..show import WIDTH, Output, table

COLUMNS = ("", "makespan s", "speed-up", "95 % interval", "drafted", "wasted", "tail s")
LEGEND = (
    "simulated seconds of all RL steps judged; drafted: draft tokens; wasted: share of them "
    "rejected; tail: seconds after 90 % of the requests are done"
)


def show_advice(told: dict[str, Any], title: str) -> None:
    """Print an advice's document."""
    out = Output()
    out.print(title, style="bold", markup=False)
    out.print(told["conditions"], markup=False)
    out.print()
    _print(out, told["recommendation"]["words"], style="bold")
    if told["runner_up"]:
        _print(out, told["runner_up"]["words"])
    for heading, lines in paragraphs(told):
        out.print(f"\n{heading}", style="bold")
        for line in lines:
            _print(out, line, first="- ", rest="  ")
    out.print("\nTurn it on", style="bold")
    out.print(f"  {told['turn_on']['command']}", markup=False, soft_wrap=True)
    for key, value in (told["turn_on"]["policy"] or {}).items():
        out.print(f"    {key}: {value}", markup=False, soft_wrap=True)
    for line in told["turn_on"]["words"]:
        _print(out, line, first="- ", rest="  ")
    out.print()
    out.show(table(COLUMNS, measured_rows(told)))
    _print(out, LEGEND, style="dim")


def paragraphs(told: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What is said below the recommendation: (heading, sentences), without empty ones."""
    parts = [
        ("What it rests on", told["rests_on"]),
        ("When it would be wrong", told["wrong_when"]),
        ("It holds", told["holds_when"]),
        ("Not judged", told["left_out"] + told["untried"]),
    ]
    return [(heading, lines) for heading, lines in parts if lines]


def measured_rows(told: dict[str, Any]) -> list[list[str]]:
    """Cells of the finalists, as `COLUMNS`."""
    rows = []
    for row in told["candidates"]:
        if row["stage"] == "measured":
            drafted, accepted = row["draft_tokens"], row["accepted_tokens"]
            low, high = row["low"], row["high"]
            rows.append(
                [
                    row["name"],
                    f"{row['makespan_s']:.1f}",
                    f"{row['speed_up']:.2f}x",
                    "-" if low is None or low == high else f"{low:.2f} to {high:.2f}",
                    f"{drafted:,}" if drafted else "-",
                    f"{1 - accepted / drafted:.0%}" if drafted else "-",
                    f"{row['tail_s']:.1f}",
                ]
            )
    return rows


def _print(out: Output, text: str, first: str = "", rest: str = "", **style: Any) -> None:
    lines: Sequence[str] = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    for line in lines:
        out.print(line, markup=False, soft_wrap=True, **style)
