"""A diffusion language model that drafts a whole chain in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..measured import checked_digest
from ..profile import Profile
from ..registry import ComponentError, option
from .acceptance_table import REMEDY, read_table
from .cost import DraftCost, cost_notes
from .table_profile import chain_profile, padded


@dataclass(frozen=True)
class Diffusion:
    """Chains of k tokens for the price of one pass, accepted as a measured rate or table says.

    DiffuSpec drafts with a diffusion language model, without training it. How often its tokens are
    accepted, how long its drafts are and what a pass takes must be measured: the paper was not at
    hand, and nothing is assumed. `rate` is the chance of each token if all before it were
    accepted; a table is a CSV file as for `learned`. The paper's search among the candidates and
    its control of the draft's length count only as far as they were on when that was measured.
    """

    name: ClassVar[str] = "diffusion"
    source: ClassVar[str] = "DiffuSpec, arXiv 2510.02358 (idea; no figures of it)"
    timed: ClassVar[bool] = False
    in_engine: ClassVar[bool] = False
    trees: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False
    history_steps: ClassVar[int | None] = 0

    k: int = option(8, "draft tokens", low=1, high=128, unit="tokens")
    rate: float = option(
        0.0, "acceptance of every token (must be measured), 0: take the table", low=0.0, high=1.0
    )
    table: str = option("", "CSV file of acceptance by position (must be measured)")
    digest: str = option("", "of that file; another content is refused")
    batch: int = option(0, "the table's batch nearest to this, 0: its only one", low=0)
    seed: int = option(0, "of the random numbers that decide on acceptance", low=0, high=2**62)
    once: float = option(0.0, "the pass that drafts (must be measured)", low=0.0, unit="s")

    def __post_init__(self) -> None:
        if not self.table:
            if self.digest or self.batch:
                raise ValueError("digest and batch are of a table: name it by table=")
            return
        if self.rate:
            raise ValueError("give rate or table, not both")
        object.__setattr__(self, "digest", checked_digest(self.table, self.digest, REMEDY))
        table = read_table(self.table, self.digest, self.batch)
        if len(table.staleness):
            raise ValueError(f"{self.table} has staleness: use the drafter learned for it")
        if self.k > table.longest:
            raise ValueError(f"k={self.k}: {table.source} ends at position {table.longest}")

    @property
    def longest_draft(self) -> int:
        """K, tokens."""
        return self.k

    @property
    def cost(self) -> DraftCost:
        """One pass, however many tokens."""
        return DraftCost(once_s=self.once)

    @property
    def acceptance(self) -> str:
        """Where acceptance comes from."""
        if self.table:
            where = read_table(self.table, self.digest, self.batch).source
        else:
            where = f"a rate of {self.rate:g} for every token, as given"
        return f"drawn at random from {where}; not from the trace's tokens"

    def profile(
        self, lengths: Lengths, tokens: Tokens | None = None, threads: int = 1,
        labels: bool = False,
    ) -> Profile:  # fmt: skip
        """k tokens everywhere; how many match is drawn. labels: each token's place.

        Raises ComponentError if nothing measured was given.
        """
        if not (self.rate or self.table):
            raise ComponentError(
                "the drafter 'diffusion' has no acceptance rate of its own: measure it, and give "
                "rate= or table="
            )
        states = np.zeros(len(lengths), np.int64)
        rates = self._rates.reshape(1, -1)
        return chain_profile(lengths, self.seed, rates, states, threads=threads, labels=labels)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of results with it."""
        return cost_notes(self)

    def prior(self) -> np.ndarray:
        """float64[256]: chance of a token so labelled, if those before it were accepted."""
        return padded(self._rates)

    def live(self) -> NoReturn:
        """Raises ComponentError: there is no model."""
        raise ComponentError(
            "the drafter 'diffusion' is a table and cannot draft in an engine; run vLLM's own "
            "speculative_config (method draft_model, or eagle) there"
        )

    @property
    def _rates(self) -> np.ndarray:
        if self.table:
            return read_table(self.table, self.digest, self.batch).rates[0, : self.k]
        return np.full(self.k, self.rate)
