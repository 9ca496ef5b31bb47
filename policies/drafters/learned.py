"""A learned drafter (EAGLE and its like), known by how often its tokens were accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..measured import checked_digest
from ..profile import Profile
from ..registry import ComponentError, option
from .acceptance_table import PRESETS, REMEDY, AcceptanceTable, TreeTable, read_table
from .cost import DraftCost, cost_notes
from .drift import Drift, age_of
from .table_profile import (
    chain_profile,
    padded,
    tree_chances,
    tree_prior,
    tree_profile,
)

FRESH = Drift()


@dataclass(frozen=True)
class Learned:
    """A draft model whose acceptance is drawn from a measured table, not from the trace's tokens.

    Tables: `tlt` (trees; TLT, arXiv 2511.16665, Fig. 13a and Table 1, Qwen2.5-32B at batch 1),
    `nemo-eagle3` (chains of up to 7; NeMo-RL's EAGLE-3, arXiv 2604.26779, 8B, RL-Zero), or a CSV
    file of chains with the columns position (1 is the first draft token), rate (given that all
    before it were accepted) or drafted and accepted, and optionally staleness and batch. All
    tokens of one position have the same chances, easy or hard, early or late in a rollout. A tree
    cut to fewer tokens is taken to be the tree of that many; with fewer than the table has, it goes
    towards a chain. No source gives the seconds that drafting takes: `step` and `token` must be
    measured, and are 0 until they are. Without staleness in the table nothing drifts, unless
    half_life or start says so (fitted by `fit_drift` in policies/drafters/drift.py): what drift
    leaves is a share of each position's rate.
    """

    name: ClassVar[str] = "learned"
    source: ClassVar[str] = "EAGLE-like drafters in RL: TLT arXiv 2511.16665, NeMo-RL 2604.26779"
    timed: ClassVar[bool] = False
    in_engine: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False
    history_steps: ClassVar[int | None] = 0

    table: str = option("tlt", f"acceptance: {', '.join(PRESETS)}, or a CSV file", always=True)
    digest: str = option("", "of that file; another content is refused")
    k: int = option(
        0, "chains: draft tokens, 0: all of the table's", low=0, high=128, unit="tokens"
    )
    depth: int = option(0, "trees: levels, 0: as the table's source (tlt: 8)", low=0, high=128)
    topk: int = option(0, "trees: children per node, 0: as the table's source (tlt: 8)", low=0)
    verify: int = option(
        0,
        "trees: tokens to verify, the root included, 0: as the table's source (tlt: 48)",
        low=0,
        high=128,
        unit="tokens",
    )
    batch: int = option(0, "the table's batch nearest to this, 0: its only one", low=0)
    seed: int = option(0, "of the random numbers that decide on acceptance", low=0, high=2**62)
    first: int = option(
        -1, "in this RL step the drafter is fresh, -1: in the trace's first", low=-1, unit="RL step"
    )
    every: int = option(
        0, "update the drafter before every n-th RL step, 0: never", low=0, unit="RL steps"
    )
    half_life: float = option(
        0.0, "RL steps until half of what goes is gone, 0: none goes", low=0.0, unit="RL steps"
    )
    floor: float = option(0.0, "share of the rate that stays", low=0.0, high=1.0)
    start: float = option(1.0, "share of the rate before the first update", low=0.0, high=1.0)
    recover: float = option(
        0.0, "updates that bring back half, 0: one brings all", low=0.0, unit="updates"
    )
    step: float = option(
        0.0, "one forward of the draft model (must be measured)", low=0.0, unit="s"
    )
    token: float = option(0.0, "each draft token (must be measured)", low=0.0, unit="s")

    def __post_init__(self) -> None:
        if self.table in PRESETS:
            if self.digest or self.batch:
                raise ValueError(f"the table {self.table} is no file: leave out digest and batch")
        else:
            object.__setattr__(self, "digest", checked_digest(self.table, self.digest, REMEDY))
        if self.floor and not self.half_life:
            raise ValueError("floor tells where drift ends: give half_life too")
        if self.recover and self.start == 1:
            raise ValueError("recover tells how updates bring back what start lacks: give start")
        table = self.measured
        if isinstance(table, TreeTable):
            depth, topk, verify = self.shape
            if self.k:
                raise ValueError(f"{self.table} is of trees: give depth, topk, verify and no k")
            if not 2 <= verify <= table.verify[-1]:
                raise ValueError(f"verify={verify}: {table.source} goes to {table.verify[-1]}")
            table.accepted(depth, topk)
            return
        if self.depth or self.topk or self.verify:
            raise ValueError(f"{self.table} is of chains: give k and no depth, topk, verify")
        if self.k > table.longest:
            raise ValueError(f"k={self.k}: {table.source} ends at position {table.longest}")
        if len(table.staleness) and (self.half_life or self.start != 1):
            raise ValueError(
                f"{self.table} was measured by staleness: leave out half_life and start"
            )

    @property
    def measured(self) -> AcceptanceTable | TreeTable:
        """The table."""
        return PRESETS.get(self.table) or read_table(self.table, self.digest, self.batch)

    @property
    def shape(self) -> tuple[int, int, int]:
        """depth, topk, verify of the trees; zeros for chains."""
        table = self.measured
        usual = table.usual if isinstance(table, TreeTable) else (0, 0, 0)
        return self.depth or usual[0], self.topk or usual[1], self.verify or usual[2]

    @property
    def trees(self) -> bool:
        """Whether drafts are trees."""
        return isinstance(self.measured, TreeTable)

    @property
    def longest_draft(self) -> int:
        """K, tokens: the root of a tree is none of them."""
        table = self.measured
        return self.shape[2] - 1 if isinstance(table, TreeTable) else self.k or table.longest

    @property
    def cost(self) -> DraftCost:
        """One forward for each level of a tree, or token of a chain."""
        levels = self.shape[0] if self.trees else self.longest_draft
        return DraftCost(step_s=self.step, most_steps=levels, token_s=self.token)

    @property
    def acceptance(self) -> str:
        """Where acceptance comes from."""
        drift = ""
        if self.half_life or self.start != 1:
            drift = ", times the drift given"
        return f"drawn at random from {self.measured.source}{drift}; not from the trace's tokens"

    def profile(
        self, lengths: Lengths, tokens: Tokens | None = None, threads: int = 1,
        labels: bool = False,
    ) -> Profile:  # fmt: skip
        """As many tokens as can be drafted everywhere; how many match is drawn from the table.

        labels: each token's place in the draft. Raises ComponentError for an RL step in which the
        drafter is staler than the table tells.
        """
        steps, states = np.unique(lengths.rl_step, return_inverse=True)
        first = self.first if self.first >= 0 else int(steps.min(initial=2**31 - 1))
        ages = [age_of(step, first, self.every) for step in steps.tolist()] or [(0, 0)]
        drift = Drift(self.start, 1.0, self.recover, self.floor, self.half_life)
        shares = np.array([drift.rate(*age) for age in ages])
        table = self.measured
        if isinstance(table, TreeTable):
            fresh = self._chances(table)
            powers = shares[:, None] ** np.arange(1, len(fresh) + 1)
            chances = powers[:, :, None] * fresh
            return tree_profile(lengths, self.seed, chances, states, threads=threads, labels=labels)
        rates = np.array([table.at(age)[: self.longest_draft] for age, _ in ages])
        rates = rates * shares[:, None]
        return chain_profile(lengths, self.seed, rates, states, threads=threads, labels=labels)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of results with it."""
        return cost_notes(self)

    def prior(self) -> np.ndarray:
        """float64[256]: chance of a token so labelled (of a chain: if those before it were
        accepted), the drafter being as fresh as it was measured, and not updated.
        """
        table = self.measured
        if isinstance(table, TreeTable):
            share = self.start ** np.arange(1, self.shape[0] + 1)
            return tree_prior(self._chances(table) * share[:, None])
        return padded(table.rates[0, : self.longest_draft] * self.start)

    def live(self) -> NoReturn:
        """Raises ComponentError: there is no model."""
        raise ComponentError(
            "the drafter 'learned' is a table and cannot draft in an engine; run vLLM's own "
            "speculative_config (method eagle, eagle3 or draft_model) there"
        )

    def _chances(self, table: TreeTable) -> np.ndarray:
        depth, topk, _ = self.shape
        return tree_chances(table.accepted(depth, topk)[: self.longest_draft], depth)
