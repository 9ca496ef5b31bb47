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


# Chances before anything was drafted are logistic sums of these, by class; fitted to four recorded
# traces (`python -m tests.bench.prior`: the bundled sample, two RL runs of 3B models and
# checkpoints of a 1.5B one). On a trace left out, their Brier score is 3 to 11 % above the lowest
# that any chances by label could have, of trees 7 to 12 %.
REACH = (-1.13, -0.55, -0.58, -0.33, -0.11, 0.33, 1.05, 1.52)
OFTEN = (-0.97, 0.05, 0.28, 0.83)
SHARE = (-1.43, -0.31, 0.44, 1.50)
PLACE = (-0.33, 0.52)
MATCH = (-0.52, -0.46, -0.51, -0.48, -0.64, 0.15, 0.59, 0.68)  # of trees
PATH = (
    0.00, -2.24, -1.75, -1.38, -1.14, -1.15, -0.33, 0.05, -0.61, 0.36, 0.47, 0.93, 1.07, 1.55, 2.02,
    0.96,
)  # fmt: skip
PLACE_OF_TREES = (-1.16, -0.03)


def terms(trees: bool) -> tuple[list[np.ndarray], list[int]]:
    """Of every label the class of each thing that it says, int64[256] each, and how many classes
    there are.
    """
    labels = np.arange(256)
    if trees:
        return [labels // PATHS % REACHES, labels % PATHS, labels // 128], [REACHES, PATHS, 2]
    what = [labels // 16 % REACHES, labels // 4 % 4, labels % 4, labels // 128]
    return what, [REACHES, 4, 4, 2]


def prior(trees: bool) -> np.ndarray:
    """float64[256]: chances by label where no outcome is known."""
    weights = (MATCH, PATH, PLACE_OF_TREES) if trees else (REACH, OFTEN, SHARE, PLACE)
    sums = np.zeros(256)
    for weight, which in zip(weights, terms(trees)[0], strict=True):
        sums += np.array(weight)[which]
    chances: np.ndarray = 1 / (1 + np.exp(-sums))
    return chances
