"""What a drafter says, made into drafts that an engine can verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

NO_LABELS = np.zeros(0, np.uint8)


def labels_of(answer: Any, count: int) -> Sequence[np.ndarray]:
    """A row of labels for each of an answer's `count` drafts, empty where it has none."""
    labels = getattr(answer, "labels", None)
    if labels is None or len(labels) != count:
        return [NO_LABELS] * count
    return list(labels)


def all_sound(drafts: Sequence[Any], longest: int, vocab_size: int) -> bool:
    """Whether every draft can be verified as it is, as of every sound drafter; looked at together,
    since one by one takes longer.
    """
    try:
        if not all(draft.dtype.kind in "iu" and draft.ndim == 1 for draft in drafts):
            return False
        flat = np.concatenate(drafts)
        known = not len(flat) or (flat.min() >= 0 and flat.max() < vocab_size)
        return bool(known and max(map(len, drafts)) <= longest)
    except Exception:
        return False  # which one it is shows when they are looked at one by one


def sound(
    draft: Any, longest: int, vocab_size: int, fault: Callable[[str, str], None]
) -> list[int]:
    """The draft up to its first token that is none, and to the drafter's longest; what is cut is a
    fault. Raises ValueError for what is no draft at all.
    """
    tokens = np.asarray(draft)
    if tokens.ndim != 1 or (len(tokens) and tokens.dtype.kind not in "iu"):
        raise ValueError(f"a draft that is no list of token ids: {draft!r:.80}")
    if len(tokens) > longest:
        fault("length", f"a draft of {len(tokens)} tokens is cut to {longest}")
        tokens = tokens[:longest]
    junk = np.flatnonzero((tokens < 0) | (tokens >= vocab_size))
    if len(junk):
        fault("junk", f"token {tokens[junk[0]]} of a vocabulary of {vocab_size}")
        tokens = tokens[: junk[0]]
    return [int(token) for token in tokens]
