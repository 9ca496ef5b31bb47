"""Simulated points, a row per configuration and RL step, as configurations in order of makespan."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..sim.simulate import Setup

CONFIGURATION = tuple(Setup().row)  # columns
POLICY = ("drafter", "budget")
SUMS = (
    "makespan_s", "tail_s", "forwards", "requests", "finished", "output_tokens", "draft_tokens",
    "accepted_tokens", "clairvoyant_s", "outside",
)  # fmt: skip


def rank(points: pd.DataFrame, keys: Sequence[str] = CONFIGURATION) -> pd.DataFrame:
    """A row per configuration, the shortest makespan first; the index has the order they came in.

    keys: the columns that tell configurations apart. Beside these the SUMS over RL steps, and
    speed_up (over no speculation in the same setting, missing where that was not simulated), wasted
    (share of the draft tokens, missing where there are none) and regret.
    """
    ranked = points.groupby(list(keys), dropna=False, sort=False)[list(SUMS)].sum().reset_index()
    setting = settings_of(ranked, keys)
    plain = ranked[ranked.drafter == "none"].groupby(setting).makespan_s.min()
    ranked = ranked.assign(
        speed_up=setting.map(plain) / ranked.makespan_s,
        wasted=1 - ranked.accepted_tokens / ranked.draft_tokens.where(ranked.draft_tokens > 0),
        regret=ranked.makespan_s / ranked.clairvoyant_s.where(ranked.clairvoyant_s > 0) - 1,
    )
    return ranked.sort_values("makespan_s", kind="stable")


def best_setting(ranked: pd.DataFrame, keys: Sequence[str] = CONFIGURATION) -> pd.DataFrame:
    """The first configuration, and those that differ from it by drafter and budget only."""
    setting = settings_of(ranked, keys)
    return ranked[setting == setting.iloc[0]]


def settings_of(table: pd.DataFrame, keys: Sequence[str] = CONFIGURATION) -> pd.Series:
    """Equal where all but the policy is."""
    return digest(table, [key for key in keys if key not in POLICY])


def digest(table: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Equal where the keys are, missing ones included."""
    rows = table[list(keys)].itertuples(index=False, name=None)
    return pd.Series([repr(row) for row in rows], index=table.index, dtype=object)
