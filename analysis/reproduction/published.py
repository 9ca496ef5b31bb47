"""The papers' numbers: small CSV files in data/, each headed by what it is and how it was read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import pandas as pd


@dataclass(frozen=True)
class Published:
    """A figure or table of a paper."""

    frame: pd.DataFrame
    paper: str
    what: str
    how: str
    note: str = ""

    @property
    def source(self) -> str:
        """One sentence: which figure, how it was read, and what to know of it."""
        return f"{self.what} ({self.how}{'; ' if self.note else ''}{self.note})"


def published(name: str) -> Published:
    """The numbers of data/`name`.csv; its first lines are `# key: value`."""
    resource = files(__package__) / "data" / f"{name}.csv"
    lines = resource.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    told = dict(line.removeprefix("# ").split(": ", 1) for line in head)
    with resource.open(encoding="utf-8") as stream:
        frame = pd.read_csv(stream, skiprows=len(head))
    return Published(frame, **told)
