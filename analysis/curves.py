"""What the pictures of a comparison draw, as tables: one function each, results in, a frame out.

`results` maps a policy's label to its Result, all over the same RL steps. Seconds are simulated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..sim.simulate import Result
from ..sim.state import POSITION_BIN
from ..sim.step import StepResult
from ..traces.rollouts import Lengths

Results = Mapping[str, Result]
FEW = 200  # decode forwards below which a bin of positions is left out


def active_requests(results: Results) -> pd.DataFrame:
    """Requests not yet finished from each second of the last RL step on: columns policy, rl_step,
    seconds, requests.
    """
    frames = []
    for policy, result in results.items():
        last = max(result.steps, key=lambda s: s.rl_step)
        seconds, requests = active_curve(last)
        where = {"policy": policy, "rl_step": last.rl_step}
        frames.append(pd.DataFrame({**where, "seconds": seconds, "requests": requests}))
    return pd.concat(frames, ignore_index=True)


def active_curve(step: StepResult) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, requests not yet finished) as steps, from the finish times; ends at (makespan,
    0).
    """
    times, counts = np.unique(step.finish_s, return_counts=True)
    left = step.requests - np.cumsum(counts)
    return np.concatenate([[0.0], times]), np.concatenate([[step.requests], left])


def makespans(results: Results) -> pd.DataFrame:
    """Columns policy, rl_step, makespan_s, and clairvoyant_s where there is a drafter."""
    rows = [
        {
            "policy": policy,
            "rl_step": s.rl_step,
            "makespan_s": s.makespan_s,
            "clairvoyant_s": result.bounds.clairvoyant_s[s.rl_step]
            if result.setup.drafter.longest_draft
            else np.nan,
        }
        for policy, result in results.items()
        for s in result.steps
    ]
    return pd.DataFrame(rows)


def acceptance(results: Results) -> pd.DataFrame:
    """Acceptance length by RL step, and by position in the rollout (the middle of a bin, output
    tokens): columns policy, by, at, acceptance_length.
    """
    frames = []
    for policy, result in results.items():
        by_step = [s.rl_step for s in result.steps], [s.acceptance_length for s in result.steps]
        both = {"rl_step": by_step, "position": acceptance_by_position(result)}
        for by, (at, length) in both.items():
            columns = {"policy": policy, "by": by, "at": at, "acceptance_length": length}
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def acceptance_by_position(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """(middle of the bin in output tokens, acceptance length); bins of fewer than FEW forwards left
    out, and nothing for a policy that never drafts.
    """
    width = max(len(s.positions) for s in result.steps)
    sums = np.zeros((width, 3), np.int64)
    for s in result.steps:
        sums[: len(s.positions)] += s.positions
    enough = sums[:, 0] >= FEW
    middle = (np.arange(width) + 0.5) * POSITION_BIN
    return middle[enough], 1 + sums[enough, 2] / sums[enough, 0]


def survival(lengths: Lengths) -> pd.DataFrame:
    """Share of rollouts at least so long: columns rl_step (missing: all together), output_tokens,
    share.
    """
    parts = [(None, lengths.output_len)]
    parts += [(s, lengths.output_len[lengths.rl_step == s]) for s in np.unique(lengths.rl_step)]
    frames = []
    for step, output_len in parts:
        tokens, share = survival_curve(output_len)
        columns = {"output_tokens": tokens, "share": share}
        frames.append(pd.DataFrame({"rl_step": pd.array([step] * len(tokens), "Int64"), **columns}))
    return pd.concat(frames, ignore_index=True)


def survival_curve(output_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, P(length >= x)) at every length that occurs, ascending."""
    values, counts = np.unique(output_len, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    return values, at_least / len(output_len)


def waste(results: Results) -> pd.DataFrame:
    """Columns policy, wasted (share of the draft tokens that were rejected, missing where nothing
    was drafted) and drafted (draft tokens per output token).
    """
    drafted = np.array([result.total("draft_tokens") for result in results.values()], float)
    accepted = [result.total("accepted_tokens") for result in results.values()]
    output = [result.total("output_tokens") for result in results.values()]
    wasted = 1 - accepted / np.where(drafted > 0, drafted, np.nan)
    return pd.DataFrame({"policy": list(results), "wasted": wasted, "drafted": drafted / output})
