"""Copying token lists out of a trace's row groups into flat arrays, one row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from .rollouts import offsets_of
from .schema import TraceError

if TYPE_CHECKING:
    from .store import Trace


class ListReader:
    """Copies lists out of row groups, remembering the last group of each column."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.bounds = trace.group_bounds
        self._last: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}

    def gather(self, name: str, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """The lists of the file rows `rows`, one after the other at the given offsets."""
        values = np.empty(offsets[-1], dtype=np.int32)
        sizes = np.diff(offsets)
        for places, local, group_values, group_offsets in self._visit(name, rows):
            found = group_offsets[local + 1] - group_offsets[local]
            if (wrong := found != sizes[places]).any():
                raise TraceError(
                    f"{name} has another length than its column says",
                    file=self.trace.path,
                    row=int(rows[places[wrong.argmax()]]) + 1,
                    remedy="import the rollouts again",
                )
            if _consecutive(places) and _consecutive(local):
                piece = group_values[group_offsets[local[0]] : group_offsets[local[-1] + 1]]
                values[offsets[places[0]] : offsets[places[-1] + 1]] = piece
            else:
                for i, j in zip(places, local, strict=True):
                    piece = group_values[group_offsets[j] : group_offsets[j + 1]]
                    values[offsets[i] : offsets[i + 1]] = piece
        return values

    def distinct_prompts(
        self, rows: np.ndarray, prompt: np.ndarray, n_prompts: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Each prompt text once, and int32[n], the text of every row.

        Text p is the first one seen of prompt p; further texts of a prompt follow after them all.
        """
        nothing = np.zeros(0, dtype=np.int32)
        texts = [nothing] * n_prompts
        variants: dict[int, list[int]] = {}
        text_of = np.empty(len(rows), dtype=np.int32)
        for places, local, values, offsets in self._visit("prompt_tokens", rows):
            for i, j in zip(places.tolist(), local.tolist(), strict=True):
                text = values[offsets[j] : offsets[j + 1]]
                p = int(prompt[i])
                known = variants.setdefault(p, [])
                same = next((t for t in known if np.array_equal(texts[t], text)), None)
                if same is None:
                    same = p if not known else len(texts)
                    known.append(same)
                    if same == p:
                        texts[p] = text.copy()
                    else:
                        texts.append(text.copy())
                text_of[i] = same
        return texts, text_of

    def _visit(
        self, name: str, rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Per row group that has some of `rows`: (places in `rows`, rows in the group, lists)."""
        if len(rows) == 0:
            return
        first, last = np.searchsorted(self.bounds, [rows.min(), rows.max()], side="right") - 1
        for index in range(first, last + 1):
            start, stop = self.bounds[index], self.bounds[index + 1]
            places = np.flatnonzero((rows >= start) & (rows < stop))
            if len(places):
                yield places, rows[places] - start, *self._lists(index, name)

    def _lists(self, index: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Flat values and offsets of one list column of one row group."""
        if name not in self._last or self._last[name][0] != index:
            self._last.pop(name, None)
            column = self.trace.read_group(index, [name]).column(0).combine_chunks()
            values = column.flatten().to_numpy()
            sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
            self._last[name] = (index, values, offsets_of(sizes))
        return self._last[name][1:]


def _consecutive(indices: np.ndarray) -> bool:
    return bool(indices[-1] - indices[0] == len(indices) - 1 and (np.diff(indices) == 1).all())
