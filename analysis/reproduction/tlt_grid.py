"""TLT's Table 4 as an array: speed-up by tokens to verify and batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Grid:
    """One number for each of V sizes of a draft tree and B batch sizes."""

    verify: tuple[int, ...]  # tokens, the root included, ascending
    batches: tuple[int, ...]  # requests, ascending
    values: np.ndarray  # float64[V, B]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Grid:
        """From the columns tokens_to_verify, batch_size, speedup."""
        wide = frame.pivot(index="tokens_to_verify", columns="batch_size", values="speedup")
        verify, batches = (tuple(map(int, axis)) for axis in (wide.index, wide.columns))
        return cls(verify, batches, wide.to_numpy(float))

    def fill(self, value: Callable[[int, int], float]) -> Grid:
        """The same sizes with other numbers: value(tokens to verify, batch size)."""
        filled = [[value(v, b) for b in self.batches] for v in self.verify]
        return replace(self, values=np.array(filled))

    def at(self, verify: int, batch: int) -> float:
        """One of the numbers."""
        return float(self.values[self.verify.index(verify), self.batches.index(batch)])

    def best(self, batch: int) -> int:
        """Tokens to verify of the largest number at a batch size; of equals the fewest."""
        return self.verify[int(self.values[:, self.batches.index(batch)].argmax())]

    @property
    def bests(self) -> list[int]:
        """`best` at each batch size."""
        return [self.best(batch) for batch in self.batches]

    @property
    def rises(self) -> int:
        """How often a number is larger at the next larger batch size."""
        return int((np.diff(self.values, axis=1) > 0).sum())

    def errors(self, truth: Grid) -> np.ndarray:
        """float64[V, B - 1]: relative to theirs, beyond the first batch size, without sign."""
        error: np.ndarray = np.abs(self.values / truth.values - 1)[:, 1:]
        return error


def tidy(theirs: Grid, ours: Grid) -> pd.DataFrame:
    """One row for each number of both."""
    rows = [
        {"tokens_to_verify": v, "batch_size": b, "theirs": theirs.at(v, b), "ours": ours.at(v, b)}
        for v in theirs.verify
        for b in theirs.batches
    ]
    return pd.DataFrame(rows).assign(error=lambda table: table.ours / table.theirs - 1)


def beside(theirs: Grid, ours: Grid) -> pd.DataFrame:
    """Both in one table of cells `theirs / ours`, as printed."""
    table = pd.DataFrame({"tokens to verify": [str(v) for v in theirs.verify]})
    for batch in theirs.batches:
        table[f"batch {batch}"] = [
            f"{theirs.at(v, batch):.2f} / {ours.at(v, batch):.2f}" for v in theirs.verify
        ]
    return table
