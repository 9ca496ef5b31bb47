"""What history is worth as it grows old: one RL step, or policy version, of it at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

import numpy as np
from scipy.special import stdtrit

from ..policies.components import DRAFTERS
from ..policies.drafters.drift import Drift, fit_drift
from ..traces.rollouts import Lengths, Tokens
from .acceptance import NOTHING, Decoded, decode_after

PROBE = "suffix:scope=problem"  # drafts from history alone
OLDEST = 8  # ages measured
PAIRS = 6  # pairs measured of each age
RL_STEP, VERSION = "rl_step", "policy_version"


@dataclass(frozen=True)
class Pair:
    """Rollouts of one RL step (or policy version), with those of an earlier one as history."""

    by: str  # RL_STEP or VERSION
    past: int
    now: int
    history: int  # tokens of output: more of it gets further
    done: Decoded

    @property
    def age(self) -> int:
        """How old the history is, RL steps or policy versions."""
        return self.now - self.past


@dataclass(frozen=True)
class Decay:
    """The share of the forwards with an accepted draft token that is lost with each RL step (or
    version) of age, and its 95 % interval.
    """

    lost: float
    low: float
    high: float


def choose_pairs(
    known: Collection[int], wanted: Collection[int], most: int | None = PAIRS
) -> list[tuple[int, int]]:
    """(past, now) among the RL steps `known`, `now` among those wanted: of each of the smallest
    OLDEST ages `most` pairs, spread evenly (all if None).
    """
    found = sorted((b - a, b) for b in wanted for a in known if a < b)
    chosen = []
    for age, group in islice(groupby(found, key=itemgetter(0)), OLDEST):
        nows = [now for _, now in group]
        count = len(nows) if most is None else min(most, len(nows))
        spread = np.linspace(0, len(nows) - 1, count).round().astype(int)
        chosen += [(nows[i] - age, nows[i]) for i in spread.tolist()]
    return chosen


def measure(
    lengths: Lengths, tokens: Tokens, wanted: Collection[int], *,
    versions: np.ndarray | None = None, most: int | None = PAIRS, threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Pair]:  # fmt: skip
    """Rollouts of the RL steps `wanted` with one earlier RL step as their only history, and where
    versions (float64[n], the policy versions; NaN: not known) are given, with one earlier version.

    Rollouts whose prompt the history does not have are left out, and pairs without any others.
    """
    late = np.isin(lengths.rl_step, list(wanted))
    sides = [(RL_STEP, lengths.rl_step)]
    if versions is not None and not np.isnan(versions).any():
        sides.append((VERSION, versions.astype(np.int64)))
    tasks = [
        (by, key, past, now)
        for by, key in sides
        for past, now in choose_pairs(
            np.unique(key).tolist(), np.unique(key[late]).tolist(), most
        )
    ]  # fmt: skip
    drafter, known, pairs = DRAFTERS.make(PROBE), dict[bytes, Decoded](), []
    for i, (by, key, past, now) in enumerate(tasks):
        before = np.flatnonzero(key == past)
        after = np.flatnonzero(
            (key == now) & late & np.isin(lengths.prompt, lengths.prompt[before])
        )
        name = before.tobytes() + b"/" + after.tobytes()
        if len(after):
            if name not in known:  # often a version is an RL step
                known[name] = decode_after(drafter, lengths, tokens, before, after, threads)
            size = int(lengths.output_len[before].sum())
            pairs.append(Pair(by, past, now, size, known[name]))
        if progress:
            progress(i + 1, len(tasks))
    return pairs


def by_age(pairs: Sequence[Pair], by: str = RL_STEP) -> dict[int, Decoded]:
    """All pairs of an age together, ascending."""
    ages = sorted({pair.age for pair in pairs if pair.by == by})
    return {
        age: sum((p.done for p in pairs if p.by == by and p.age == age), NOTHING) for age in ages
    }


def versions_per_step(pairs: Sequence[Pair]) -> float | None:
    """Policy versions from one RL step to the next, where every version is an RL step and they are
    evenly apart: then the pairs of both kinds are the same. None otherwise.
    """
    steps, versions = by_age(pairs), by_age(pairs, VERSION)
    rates = {b / a for a, b in zip(steps, versions, strict=False)}
    same = list(steps.values()) == list(versions.values())
    return rates.pop() if same and len(rates) == 1 else None


def fit_decay(pairs: Sequence[Pair]) -> Decay:
    """How fast acceptance falls with age, each RL step (`now`) compared with itself alone.

    What falls is the share of forwards whose first draft token is accepted; one without a draft
    counts as well, as old history also matches more rarely. Its logarithm is taken to fall evenly,
    from a level that each RL step has for itself: another policy is drafted for in each, and old
    history is known for late ones only. Weighted by the binomial variance; where pairs scatter more
    than that, so does the interval. Raises ValueError where the pairs do not determine it.
    """
    pairs = [pair for pair in pairs if pair.done.forwards]
    nows, level = np.unique([pair.now for pair in pairs], return_inverse=True)
    age = np.array([pair.age for pair in pairs], np.float64)
    n = np.array([pair.done.forwards for pair in pairs], np.float64)
    share = (np.array([pair.done.hits for pair in pairs]) + 0.5) / (n + 1)
    free = len(pairs) - len(nows) - 1
    if free < 1 or not any(len(np.unique(age[level == i])) > 1 for i in range(len(nows))):
        raise ValueError(
            "an RL step must be drafted for with histories of at least two different ages, and "
            "another pair tell by how much they scatter"
        )
    weight = n * share / (1 - share)
    columns = np.column_stack([level == i for i in range(len(nows))] + [age]).astype(np.float64)
    root = np.sqrt(weight)[:, None]
    found, *_ = np.linalg.lstsq(columns * root, np.log(share) * root[:, 0], rcond=None)
    left = float((((columns @ found) - np.log(share)) ** 2 * weight).sum())
    variance = np.linalg.inv((columns * root).T @ (columns * root))[-1, -1]
    error = np.sqrt(variance * max(1.0, left / free)) * stdtrit(free, 0.975)
    slope = found[-1]
    return Decay(*(float(-np.expm1(value)) for value in (slope, slope + error, slope - error)))


def fit_half_life(pairs: Sequence[Pair]) -> Drift:
    """The drift model of learned drafters (policies/drafters/drift.py), fitted to the same counts:
    it has a floor, but no level for each RL step. Raises ValueError as it does.
    """
    counts = [(p.age, 0, p.done.forwards, p.done.hits) for p in pairs if p.done.forwards]
    return fit_drift(*np.array(counts, np.float64).reshape(-1, 4).T)
