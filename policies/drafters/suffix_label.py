"""What a suffix tree knows of a draft token's chances, in one byte.

Four things decide how likely a token is to be accepted, once those before it were: how long the
string is that it continues, how often that string occurred, how often this token followed it, and
whether that was in earlier rollouts or in the rollout's own text. Each falls into a few classes;
what acceptance a class means is learnt from outcomes (policies/confidence.py).
"""

import numpy as np

from ..compiled import jit

PATHS = 16  # classes of a path's share
REACHES = 8  # classes of the string's length, 4 of how often it occurred, 4 of the share, 2 places


@jit(inner=True)
def _class_of(reach):
    if reach < 5:
        return max(reach, 1) - 1
    if reach < 7:
        return 4
    if reach < 10:
        return 5
    return 6 if reach < 16 else 7


@jit(inner=True)
def label(own, reach, before, after, unit):
    """uint8: of a token that followed a string of `reach` tokens in `after` of its `before`
    occurrences, which count `unit` each (`own`: in the rollout's own text).
    """
    share = 3
    if after < before:
        share = 2 if 4 * after >= 3 * before else 1 if 2 * after >= before else 0
    often = 0 if before < 2 * unit else 1 if before < 4 * unit else 2 if before < 16 * unit else 3
    return np.uint8(((np.int64(own) * REACHES + _class_of(reach)) * 4 + often) * 4 + share)


@jit(inner=True)
def write_labels(labels, own, match, length, counts, row, unit):
    """labels[: length] of a draft that continues a match of `match` tokens; counts[row, i]: how
    often the match and the first i tokens occurred.
    """
    for i in range(length):
        labels[i] = label(own, match + i, counts[row, i], counts[row, i + 1], unit)


@jit(inner=True)
def label_path(own, match, prob):
    """uint8: of a node of a draft that branches, behind a match of `match` tokens: how likely its
    whole path is by the counts.
    """
    share = min(np.int64(prob * np.float32(PATHS)), PATHS - 1)
    return np.uint8((np.int64(own) * REACHES + _class_of(match)) * PATHS + share)


def prior(trees: bool) -> np.ndarray:
    """float64[256]: chances by label where no outcome is known: the share itself, of chains towards
    a half where little was seen.
    """
    labels = np.arange(256)
    if trees:
        return (labels % PATHS + 0.5) / PATHS
    share = np.array([0.25, 0.62, 0.87, 1.0])[labels % 4]
    seen = np.array([1.0, 2.5, 8.0, 32.0])[labels // 4 % 4]
    return (share * seen + 0.5) / (seen + 1.0)
