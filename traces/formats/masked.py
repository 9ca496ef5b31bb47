"""Token ids with a mask that tells what the model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..gaps import NOT_WRITTEN
from .format import Raw, Reading


def prompt_and_output(raw: Raw, reading: Reading, ids: Any, mask: Any) -> dict[str, Any] | None:
    """`prompt_tokens` and `output_tokens` of a sequence; None if the model wrote nothing.

    The prompt is what stands before the first written token, the output every written one; the
    tokens in between that it did not write are counted. ids, mask: lists of one length.
    """
    if not isinstance(ids, list) or not isinstance(mask, list) or len(ids) != len(mask):
        raise raw.error("token ids and their mask are not lists of one length")
    written = [i for i, flag in enumerate(mask) if flag]
    if not written:
        return None
    output = [ids[i] for i in written]
    reading.told[NOT_WRITTEN] += written[-1] + 1 - written[0] - len(output)
    return {"prompt_tokens": ids[: written[0]], "output_tokens": output}


def whole_but_between(mask: Sequence[Any]) -> list[bool]:
    """A mask that leaves out only what lies between written tokens.

    Trainers also mask what the model wrote (a first part under an older policy, whole samples);
    what tools wrote lies between two turns of the model.
    """
    written = [i for i, flag in enumerate(mask) if flag]
    if not written:
        return [True] * len(mask)
    return [bool(flag) or not written[0] < i < written[-1] for i, flag in enumerate(mask)]
