"""Mutations of honest dumps: of their bytes, and of the values in their records."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

#: What a field may hold that its writer would not write.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**63, 2**64, 10**300, 10**4000, 1e308, 0.5),
    *(float("nan"), float("inf"), "", "w1", "-1", "\ud800", "\x00\x1b[2J", "9" * 5000),
    *("../../etc/passwd", [], [[]], [None], [2**70], [-1], ["w1"], [1.5], {}, {"content": 3}),
    *([{}], [{"role": "user", "content": [{"type": "image"}, 7]}], {"a": {"b": []}}, [[1], [2]]),
)


def mutate_bytes(raw: bytes, seed: int) -> bytes:
    """Up to eight edits: cuts, flips, insertions, repeats."""
    rng = random.Random(seed)
    data = bytearray(raw)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        edit = rng.randrange(5)
        if edit == 0:
            del data[at : at + rng.choice((1, 3, 1000))]
        elif edit == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif edit == 2:
            data[at:at] = rng.choice(
                (b"\x00", b"\xff\xfe", b'"', b"{", b"]", b"\n", b"-", b"9" * 40)
            )
        elif edit == 3:
            data[at:at] = data[at : at + rng.randrange(1, 60)]
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def mutate_record(record: Any, seed: int) -> Any:
    """One to three values, anywhere in the record, replaced, dropped or named otherwise."""
    rng = random.Random(seed)
    record = json.loads(json.dumps(record))
    for _ in range(rng.randint(1, 3)):
        holder, key = _place(record, rng)
        if holder is None:
            break
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return record


def _place(value: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container somewhere in `value`, and a key of it."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        found = (value, key)
        value = value[key]
        if rng.random() < 0.3:
            break
    return found


def as_json(record: Any) -> bytes:
    return json.dumps(record).encode("utf-8") + b"\n"
