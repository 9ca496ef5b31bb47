"""Measured acceptance of draft tokens by position: read, checked, and interpolated in staleness.

The CSV's columns are position (1 is the first draft token), and either rate or drafted and
accepted; optional are staleness (RL steps since the drafter's last update) and batch (requests in
the forward when it was measured).

rate: how often the token at that position is accepted where all before it were. drafted, accepted:
how many drafts had a token at that position, and in how many it was accepted (and all before it),
as engines count them: that is a probability of getting so far, and divided by the one of the
position before it the rate.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..measured import Row, integer_in, number_in, read_rows
from ..registry import ComponentError

LONGEST = 128  # no drafter may draft more tokens
REMEDY = "name a CSV file of acceptance rates"  # where one cannot be read


@dataclass(frozen=True)
class AcceptanceTable:
    """How likely draft token j of a chain is to be accepted where all before it were."""

    rates: np.ndarray  # float64[S, K]: one row for each staleness
    staleness: np.ndarray  # float64[S] RL steps, ascending; of length 0 (S = 1) where not told
    source: str

    @property
    def longest(self) -> int:
        """K: how many positions are in the table."""
        return self.rates.shape[1]

    def at(self, staleness: float) -> np.ndarray:
        """float64[K]: rates of a drafter last updated so many RL steps ago, linear in between.

        Raises ComponentError outside what was measured: what lies there is not known.
        """
        if not len(self.staleness):
            return self.rates[0]
        low, high = self.staleness[0], self.staleness[-1]
        if not low <= staleness <= high:
            raise ComponentError(
                f"the drafter is {staleness:g} RL steps old, and {self.source} tells of {low:g} … "
                f"{high:g}; measure that too, update more often (every=), or simulate other RL "
                "steps"
            )
        columns = [np.interp(staleness, self.staleness, column) for column in self.rates.T]
        return np.array(columns)


def rates_of_lengths(drafted: Sequence[int], lengths: Sequence[float]) -> np.ndarray:
    """float64[K]: rates that give these acceptance lengths (bonus token included) for drafts of
    so many tokens, ascending; equal where nothing was measured in between.

    So the rate is a step function of the position: the fewest changes that the figures need.
    Raises ValueError for lengths that no drafter has.
    """
    rates: list[float] = []
    reached, before, survival = 0, 1.0, 1.0  # tokens, acceptance length, chance to get there
    for k, length in zip(drafted, lengths, strict=True):
        gain = (length - before) / survival
        if k <= reached or not 0 < gain < k - reached:
            raise ValueError(f"no drafter has an acceptance length of {length} at {k} tokens")
        rate = geometric_rate(gain, k - reached)
        rates += [rate] * (k - reached)
        survival *= rate ** (k - reached)
        reached, before = k, length
    return np.array(rates)


def geometric_rate(total: float, terms: int, first: float | None = None) -> float:
    """The a in [0, 1] with a + a² + … + a^terms = total, or with first · (1 + a + …) = total."""
    low, high = 0.0, 1.0
    for _ in range(60):
        a = (low + high) / 2
        head = a if first is None else first
        if head * sum(a**j for j in range(terms)) < total:
            low = a
        else:
            high = a
    return (low + high) / 2


@functools.lru_cache(maxsize=16)
def read_table(path: str, digest: str, batch: int) -> AcceptanceTable:
    """The table of a CSV file, of the batch measured that is nearest to `batch` (0: any).

    digest: of the content, so that a file that changed is read again. Raises ComponentError naming
    the file, the row and the remedy.
    """
    rows, columns = read_rows(path, ("position", "rate"), ("position", "drafted", "accepted"))
    places: dict[tuple[float, float], dict[int, tuple[float, str]]] = {}
    for where, row in rows:
        place = (
            number_in(row, "batch", where, 1) if "batch" in columns else 0.0,
            number_in(row, "staleness", where, 0) if "staleness" in columns else 0.0,
        )
        position = integer_in(row, "position", where, 1, LONGEST)
        found = places.setdefault(place, {})
        if position in found:
            raise ComponentError(
                f"{where}: position {position} occurs again; give each once, or tell the rows "
                "apart by staleness or batch"
            )
        found[position] = (_value(row, columns, where), where)
    chosen = _nearest({b for b, _ in places}, batch, path, "batch" in columns)
    stale = sorted(s for b, s in places if b == chosen)
    rates = [_rates(places[chosen, s], "rate" not in columns, path) for s in stale]
    if len({len(row) for row in rates}) > 1:
        raise ComponentError(
            f"{path}: some staleness has more positions than another; give all of them for each"
        )
    told = np.array(stale if "staleness" in columns else [], np.float64)
    at = f" at batch {chosen:g}" if chosen else ""
    table = AcceptanceTable(np.array(rates), told, f"the table {Path(path).name}{at}")
    table.rates.flags.writeable = table.staleness.flags.writeable = False
    return table


def _value(row: Row, columns: set[str], where: str) -> float:
    """The rate, or what share of the drafts got so far."""
    if "rate" in columns:
        return number_in(row, "rate", where, 0, 1)
    drafted = number_in(row, "drafted", where, 1)
    return number_in(row, "accepted", where, 0, drafted) / drafted


def _rates(found: dict[int, tuple[float, str]], counted: bool, path: str) -> list[float]:
    """The rates of positions 1, 2, … of one staleness."""
    for position in range(1, len(found) + 1):
        if position not in found:
            where = found[max(found)][1]
            raise ComponentError(
                f"{where}: position {position} is missing before {max(found)}; give all from 1 on"
            )
    rates, before = [], 1.0
    for position in range(1, len(found) + 1):
        value, where = found[position]
        if counted and value > before:
            raise ComponentError(
                f"{where}: position {position} was accepted in a larger share of its drafts "
                f"({value:.3g}) than the one before it ({before:.3g}), which it needs; count "
                "drafts of one length, or give rate"
            )
        rates.append((value / before if before > 0 else 0.0) if counted else value)
        before = value
    return rates


def _nearest(batches: set[float], wanted: int, path: str, told: bool) -> float:
    if wanted and not told:
        raise ComponentError(f"{path} has no column batch; leave out batch={wanted}")
    if not wanted and len(batches) > 1:
        known = ", ".join(f"{b:g}" for b in sorted(batches))
        raise ComponentError(f"{path} was measured at the batches {known}; choose one by batch=")
    return min(batches, key=lambda b: (abs(b - wanted), b))


@dataclass(frozen=True)
class TreeTable:
    """Acceptance lengths (bonus token included) of trees by depth and tokens to verify.

    The tokens to verify include the root, which is no draft: the text's last token.
    """

    depths: tuple[int, ...]  # ascending
    verify: tuple[int, ...]  # tokens to verify, ascending
    lengths: np.ndarray  # float64[depths, verify], tokens
    topk: tuple[int, ...]  # ascending
    topk_lengths: tuple[float, ...]  # tokens, for one depth and tokens to verify
    usual: tuple[int, int, int]  # depth, topk (the one of `lengths`), verify
    source: str

    def accepted(self, depth: int, topk: int) -> np.ndarray:
        """float64[verify[-1] - 1]: how much of a tree cut to 1, 2, … draft tokens matches, tokens.

        Linear in the depth and in the logarithm of the draft tokens; `topk` scales all by the
        same. Below what is tabulated each token adds the same share of what the one before it
        adds, and the first as much as in a chain of the rate a that the deepest tree with the
        fewest tokens would have: the nearest to a chain in the table. (In a chain that share is a.)
        Raises ComponentError outside of the table.
        """
        for name, value, known in (("depth", depth, self.depths), ("topk", topk, self.topk)):
            if not known[0] <= value <= known[-1]:
                raise ComponentError(
                    f"{name}={value}: {self.source} tells of {known[0]} … {known[-1]}"
                )
        wide = np.interp(np.log([topk, self.usual[1]]), np.log(self.topk), self.topk_lengths)
        table = (self.lengths - 1) * (wide[0] - 1) / (wide[1] - 1)
        fewest = self.verify[0] - 1
        row = [np.interp(depth, self.depths, column) for column in table.T]
        chain = geometric_rate(table[-1, 0], fewest)
        share = geometric_rate(row[0], fewest, chain)
        counts = np.arange(1, self.verify[-1])
        result = np.interp(np.log(counts), np.log(np.array(self.verify) - 1), row)
        result[:fewest] = np.cumsum(chain * share ** np.arange(fewest))
        return result


# Acceptance length includes the bonus token: at depth 4 the table goes to 4.82, and TLT's code
# adds 1 to what was accepted. That the root counts as a token to verify is SGLang's way, on which
# TLT is built: of `draft tokens` it takes the best (draft tokens - 1) nodes and puts the last
# verified token in front. The numbers are a transcription of the paper's figure by others.
TLT = TreeTable(
    (4, 6, 8, 10, 12, 16),
    (16, 32, 48, 64, 96, 128),
    np.array(
        [
            [4.63, 4.74, 4.78, 4.81, 4.81, 4.82],
            [5.71, 6.08, 6.16, 6.31, 6.31, 6.36],
            [6.34, 7.01, 7.24, 7.39, 7.49, 7.51],
            [6.80, 7.63, 7.97, 8.21, 8.31, 8.39],
            [7.02, 8.05, 8.49, 8.76, 8.86, 9.06],
            [7.25, 8.44, 8.97, 9.23, 9.51, 9.78],
        ]
    ),
    (4, 6, 8, 10, 12, 16),
    (8.29, 8.66, 8.67, 8.67, 8.60, 8.42),  # Table 1; its depth and tokens to verify are not known
    (8, 8, 48),  # depth and verify as TLT's released configuration has them, topK as the figure
    "TLT (arXiv 2511.16665, Fig. 13a and Table 1, Qwen2.5-32B, transcribed)",
)
# RL-Zero, 8B. A draft of 3 tokens cannot have 3.32 accepted: the bonus token is included. That the
# rate at a position does not depend on how long the draft becomes is assumed.
NEMO_EAGLE3 = AcceptanceTable(
    rates_of_lengths((3, 5, 7), (3.32, 4.35, 5.06)).reshape(1, -1),
    np.empty(0),
    "NeMo-RL's EAGLE-3 (arXiv 2604.26779, 8B, RL-Zero; accepted 3.32, 4.35, 5.06 at k = 3, 5, 7)",
)
# None for ReSpec (speedups only), DAS Fig. 4 and TLT Tables 6 and 7 (no draft length is given).
PRESETS: dict[str, AcceptanceTable | TreeTable] = {"tlt": TLT, "nemo-eagle3": NEMO_EAGLE3}
