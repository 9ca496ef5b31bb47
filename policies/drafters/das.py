"""DAS's drafter: a suffix tree per problem over the latest RL steps, the latest of them first."""

from __future__ import annotations

import csv
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..registry import ComponentError, option
from . import suffix_options
from .suffix_lookup import SuffixLookup
from .suffix_rule import HISTORY, OWN, SuffixRule


@dataclass(frozen=True)
class Das(SuffixLookup):
    """A suffix tree per problem over a sliding window of RL steps; older ones count less.

    As `suffix` with `scope=both`, but for the window and the weights: what the same prompt's
    rollouts wrote h RL steps (the half-life) earlier counts half as much. Where the policy does not
    move equally far in all RL steps, `updates` names a CSV file with the columns rl_step and size
    (1: the usual update after that RL step): the window is then as long as the sizes add up to it,
    so that larger updates make it shorter. The paper gives neither the weights nor how the
    window follows the updates.
    """

    name: ClassVar[str] = "das"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 §4.2 and Fig. 6-7 (window 16 is the knee)"

    scope: str = option(
        "both",
        "where to look: history of the problem, or own text besides",
        choices=("problem", "both"),
    )
    window: int = option(16, "history window, 0 is all of it", low=0, unit="RL steps")
    half_life: float = option(
        16.0, "RL steps after which history counts half, 0: never", low=0.0, unit="RL steps"
    )
    updates: str = option("", "CSV file of the policy updates' sizes: rl_step, size")
    digest: str = option("", "of that file; another content is refused")
    depth: int = suffix_options.depth()
    factor: float = suffix_options.factor()
    min_prob: float = suffix_options.min_prob()
    max: int = suffix_options.longest()

    def __post_init__(self) -> None:
        if not self.updates:
            return
        found = _digest(self.updates)
        if self.digest and self.digest != found:
            raise ValueError(f"{self.updates} is another file than the one of {self.digest}")
        object.__setattr__(self, "digest", found)
        _read_updates(self.updates, found)

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends; None: on all of them."""
        return None if self.updates else self.window or None

    @property
    def rule(self) -> SuffixRule:
        """What is looked up, and how."""
        sizes = _read_updates(self.updates, self.digest) if self.updates else {}
        return SuffixRule(
            scope=HISTORY | OWN if self.scope == "both" else HISTORY,
            shared=False,
            depth=self.depth,
            limit=self.max,
            factor=self.factor,
            min_prob=self.min_prob,
            window=self.window,
            half_life=self.half_life,
            updates=(lambda step: sizes.get(step, 1.0)) if self.updates else None,
        )


def _digest(path: str) -> str:
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=6).hexdigest()
    except OSError as error:
        raise ComponentError(f"{path} cannot be read ({error.strerror})") from None


@functools.lru_cache(maxsize=16)
def _read_updates(path: str, digest: str) -> dict[int, float]:
    """Size of the policy update after each RL step. Raises ComponentError for another file."""
    try:
        with Path(path).open(newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ComponentError(f"{path} cannot be read ({error})") from None
    if not {"rl_step", "size"} <= {*columns}:
        raise ComponentError(f"{path}, row 1: name the columns rl_step and size")
    sizes = {}
    for number, row in enumerate(rows, 2):
        try:
            step, size = int(row["rl_step"]), float(row["size"])
        except (KeyError, TypeError, ValueError):
            size = -1.0
        if not 0 <= size < float("inf"):
            raise ComponentError(
                f"{path}, row {number}: give an integer rl_step and a size of 0 or more"
            )
        sizes[step] = size
    return sizes
