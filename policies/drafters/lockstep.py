"""The profile of a drafter whose drafts depend on timing, under the plainest timing there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..drafts import matches
from ..profile import Profile, blank_profile
from .live import LiveDrafter


def profile_lockstep(
    drafter: Any,
    lengths: Lengths,
    tokens: Tokens,
    *,
    labels: bool = False,
    live: LiveDrafter | None = None,
) -> Profile:
    """What the drafter's live face would draft if all rollouts of an RL step began at once and
    grew by one token in every forward.

    For a drafter that does not look at siblings that is its profile. live: another face than
    `drafter.live()`.
    """
    result, live = blank_profile(lengths.output_len), live or drafter.live()
    if hasattr(live, "assign"):
        live.assign(np.arange(len(lengths)))
    kept_labels: list[np.ndarray] = []
    kept_ranks: list[np.ndarray] = []
    where: list[np.ndarray] = []
    for rl_step in np.unique(lengths.rl_step).tolist():
        live.start_step(rl_step)
        rows = np.flatnonzero(lengths.rl_step == rl_step)
        for row in rows.tolist():
            live.begin(row, int(lengths.prompt[row]), tokens.prompt(row))
        position = 0  # tokens that everybody has who is not done
        while len(rows):
            if position:
                drafts = live.draft(rows.tolist())
                at, end = tokens.output_offsets[rows] + position, tokens.output_offsets[rows + 1]
                matched, ranks = matches(drafts, tokens.output_tokens, at, end)
                to = result.offsets[rows] + position
                result.drafted[to], result.matched[to] = drafts.sizes, matched
                if labels or drafter.trees:
                    where.append(to)
                    kept_labels.append(_cells(drafts.labels, drafts.sizes))
                    kept_ranks.append(_cells(ranks, matched) if drafter.trees else ranks)
            new = tokens.output_tokens[tokens.output_offsets[rows] + position]
            live.extend(rows.tolist(), list(new[:, None]))
            position += 1
            done = lengths.output_len[rows] == position
            for row in rows[done].tolist():
                live.finish(row, reward=float(lengths.reward[row]))
            rows = rows[~done]
    if labels:
        result = replace(result, labels=_in_order(kept_labels, where, result.drafted))
    if drafter.trees:
        result = replace(result, ranks=_in_order(kept_ranks, where, result.matched))
    return result


def _cells(table: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first sizes[j] entries of each row, one after the other."""
    return table[np.arange(table.shape[1]) < sizes[:, None]]


def _in_order(pieces: list[np.ndarray], where: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Pieces of the positions `where`, forward by forward, in the order of the positions."""
    if not pieces:
        return np.empty(0, np.uint8)
    flat, positions = np.concatenate(pieces), np.concatenate(where)
    return flat[np.argsort(np.repeat(positions, counts[positions]), kind="stable")]
