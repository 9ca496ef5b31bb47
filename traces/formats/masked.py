"""Token ids with a mask that tells what the model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..gaps import NOT_WRITTEN
from .format import Raw, Reading


def prompt_and_output(
    raw: Raw, reading: Reading, ids: Sequence[Any], mask: Sequence[Any]
) -> dict[str, Any] | None:
    """`prompt_tokens` and `output_tokens` of a sequence; None if the model wrote nothing.

    The prompt is what stands before the first written token, the output every written one; the
    tokens in between that it did not write are counted. ids, mask: of one length.
    """
    written = _written(raw, mask)
    if not written:
        return None
    output = [ids[i] for i in written]
    reading.told[NOT_WRITTEN] += written[-1] + 1 - written[0] - len(output)
    return {"prompt_tokens": ids[: written[0]], "output_tokens": output}


def whole_but_between(raw: Raw, mask: Sequence[Any]) -> list[bool]:
    """A mask that leaves out only what lies between written tokens.

    Trainers also mask what the model wrote (a first part under an older policy, whole samples);
    what tools wrote lies between two turns of the model.
    """
    written = _written(raw, mask)
    if not written:
        return [True] * len(mask)
    return [bool(flag) or not written[0] < i < written[-1] for i, flag in enumerate(mask)]


def _written(raw: Raw, mask: Sequence[Any]) -> list[int]:
    """Where the mask is set."""
    if not set(map(type, mask)) <= {bool, int, float}:
        raise raw.error("a token mask holds what is neither a number nor true or false")
    return [i for i, flag in enumerate(mask) if flag]
