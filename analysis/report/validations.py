"""Folders of `longtail validate`: predictions held against live runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ..validation import Validation
from .calibrations import CPU
from .folder import UNREADABLE, Folder, Item
from .leftovers import picture_of
from .page import Block, Facts, Figure, Items, Part, Table, Text

KEY = "longtail_validation"
FORMS = (
    dict.fromkeys(("clock_error", "makespan_error", "tail_error", "error", "raw_error"), "{:+.1%}")
    | dict.fromkeys(("forward_error", "curve", "outside", "spread", "raw_spread"), "{:.1%}")
    | dict.fromkeys(("measured_s", "predicted_s", "slow"), "{:,.2f}")
)
PICTURES = {
    "makespans": "Makespans, predicted and measured",
    "active_requests": "Requests not yet finished, predicted and measured",
    "residuals": "Errors of single forwards, given the true batch",
}
SAMPLE = 100  # forwards of a run in the tables of pictures
CHECKS = ["run", "policy", "held_out", "exact", "measured_s", "slow", "predicted_s", "clock_error",
          "forward_error", "makespan_error", "tail_error", "curve", "finish_tau",
          "outside"]  # fmt: skip


def read_validations(folder: Folder) -> Iterator[Part]:
    """A part for each; its logs and calibrations are its own."""
    for item in folder.find("json", where=_is_validation):
        try:
            made = Validation.read(item.path.parent)
            part = _part(folder, item, made)
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "result of `longtail validate`")
        for name in ("runs", "calibrations"):
            for other in folder.below(item.beside(name)):
                folder.take(other, f"log or calibration of {item.name}")
        yield part


def _is_validation(item: Item) -> bool:
    return isinstance(item.content, dict) and KEY in item.content


def _part(folder: Folder, item: Item, made: Validation) -> Part:
    where = item.folder or folder.root.name
    checks = pd.DataFrame([check.to_json() for check in made.checks])
    cells = _records([cell for ranking in made.rankings for cell in ranking.cells])
    tables = [Table("Policies, at the quiet machine's speed", cells, FORMS)] if len(cells) else []
    if len(checks):
        shown = checks[[c for c in CHECKS if c in checks]]
        tables.append(Table("Live replays and their predictions", shown, FORMS))
    blocks: list[Block] = [Facts({k: v for k, v in made.engine.items() if not _nested(v)}), *tables]
    for name, title in PICTURES.items():
        picture = picture_of(folder, item.beside(name), title)
        if picture is not None:
            numbers = tables[:1] if name == "makespans" else _logs(made, name)
            blocks.append(Figure(title, picture, numbers))
    if made.forecasts:
        told = _records(made.forecasts)
        blocks.append(Table("Live generation, forecast and in hindsight", told, FORMS))
    blocks.append(Items("What it does not show", made.limitations))
    if not made.exact:
        differ = "The tokens of a replay are NOT the simulator's: see the column `exact`."
        blocks.insert(0, Text(differ, "loud"))
    return Part(
        f"Validation: {where}",
        blocks,
        headlines=[_headline(made, where)],
        limitations=[f"{where}: {line}" for line in made.limitations]
        or ([f"{where}: {CPU}"] if "CPU" in str(made.engine.get("hardware")) else []),
    )


def _logs(made: Validation, name: str) -> list[Table]:
    """Forward by forward, what a picture of logs was drawn from: the first run of each policy."""
    firsts = {check.cell: check.run for check in reversed(made.checks)}
    columns = ["rl_step", "begin_s", "forward_s", "running", "tokens", "kv_tokens"]
    columns += ["measured_s", "fitted_s"] if name == "residuals" else []
    tables = []
    for run in sorted(firsts.values()):
        live, _ = made.logs(run)
        each = -(-len(live) // SAMPLE)
        shown = live[[c for c in columns if c in live]].iloc[::each]
        tables.append(Table(f"{run}: one forward in {each}" if each > 1 else run, shown))
    return tables


def _headline(made: Validation, where: str) -> str:
    worst = made.worst_held_out
    same = "token for token as simulated" if made.exact else "NOT token for token as simulated"
    words = f"{where}: {len(made.checks)} live replays on {made.engine.get('hardware')}, {same}"
    if worst is None:
        return f"{words}; no policy was held out."
    return (
        f"{words}; makespans of policies that the calibration had not seen are predicted within "
        f"{abs(worst.error):.1%} ({worst.policy} at worst)."
    )


def _records(things: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame([vars(thing) for thing in things])


def _nested(value: object) -> bool:
    return isinstance(value, (dict, list)) and len(str(value)) > 120
