"""The trace format: its columns, its metadata, and what makes a row valid.

One row is one rollout, and its key is (rl_step, prompt_id, sample). Lengths are in tokens, times in
seconds. Outputs include the end token. Token lists are null in every row of a lengths-only trace.
This module knows nothing about files beyond the names it puts into error messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_VERSION = 1
LONGEST_MESSAGE = 1200  # characters of an error
METADATA_KEY = b"longtail"
ORIGINS = ("recorded", "imported", "synthetic")

#: Finish reasons in the order of their codes; code 0 is "not known" (null in the file).
FINISH_REASONS: tuple[str | None, ...] = (None, "stop", "length", "abort")
UNKNOWN, STOP, LENGTH, ABORT = range(4)

SCHEMA = pa.schema(
    [
        pa.field("rl_step", pa.int32(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.list_(pa.int32())),
        pa.field("output_tokens", pa.list_(pa.int32())),
        pa.field("prompt_len", pa.int32(), nullable=False),
        pa.field("output_len", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("reward", pa.float32()),
        pa.field("policy_version", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("drafted", pa.list_(pa.int16())),
        pa.field("accepted", pa.list_(pa.int16())),
    ]
)


class TraceError(Exception):
    """Input that cannot be used: prints as one line naming the file, the row and the remedy.

    `row` counts from 1: the line of a text source, the rollout of a stored trace.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object | None = None,
        row: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem, self.file, self.row, self.remedy = problem, file, row, remedy
        place = [str(file)] if file is not None else []
        place += [f"row {row}"] if row is not None else []
        text = (", ".join(place) + ": " if place else "") + problem
        text += f"; {remedy}" if remedy else ""
        super().__init__(_one_line(text))


def _one_line(text: str) -> str:
    """Without line breaks, without what a terminal would obey, and not without end."""
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[: LONGEST_MESSAGE - 200]} ... {text[-200:]}"
    return printable(" ".join(text.split()))


def printable(text: str, keep: str = "") -> str:
    """Without what a terminal would obey, but for the characters in `keep`."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


KINDS: Mapping[str, type] = {
    **dict.fromkeys(("origin", "source", "model", "engine", "hardware", "licence"), str),
    **dict.fromkeys(("vocab_size", "end_token_id"), int),
    **dict.fromkeys(("tokenizer", "sampling", "engine_config", "rl_steps"), dict),
    "notes": list,
}
"""What metadata are in JSON."""


@dataclass(frozen=True)
class TraceMeta:
    """Where a trace comes from and how it was sampled; JSON in the Parquet file's metadata.

    `tokenizer` holds `name` and `sha256` (of tokenizer.json); `rl_steps` maps each number to the
    source's own name for that RL step, as in {"0": "step_400"}.
    """

    origin: str
    source: str | None = None
    model: str | None = None
    tokenizer: Mapping[str, Any] | None = None
    vocab_size: int | None = None
    end_token_id: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    engine: str | None = None
    engine_config: Mapping[str, Any] = field(default_factory=dict)
    hardware: str | None = None
    licence: str | None = None
    rl_steps: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise TraceError(f"origin {self.origin!r} is none of {', '.join(ORIGINS)}")
        if self.tokenizer and not {"name", "sha256"} <= set(self.tokenizer):
            raise TraceError("a tokenizer has a name and a sha256")
        object.__setattr__(self, "notes", tuple(map(str, self.notes)))

    @property
    def synthetic(self) -> bool:
        """Whether the rollouts were made up; whoever shows them must say so."""
        return self.origin == "synthetic"

    def to_json(self) -> bytes:
        """The metadata as compact JSON, the same bytes for the same values."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, raw: bytes, file: object | None = None) -> TraceMeta:
        """Read back `to_json`; raises TraceError for anything else or a newer version."""
        remedy = "write the trace again with this version of longtail"
        try:
            values = json.loads(raw)
            version = int(values["schema_version"])
        except (ValueError, KeyError, TypeError):
            raise TraceError("the trace's metadata is damaged", file=file, remedy=remedy) from None
        if version > SCHEMA_VERSION:
            raise TraceError(
                f"written in trace version {version}, this program reads up to {SCHEMA_VERSION}",
                file=file,
                remedy="update longtail",
            )
        known = {f.name for f in fields(cls)}
        try:
            for name, value in values.items():
                if value is not None and not isinstance(value, KINDS.get(name, object)):
                    raise TypeError(name)
            return cls(**{name: value for name, value in values.items() if name in known})
        except (TypeError, TraceError):
            raise TraceError("the trace's metadata is damaged", file=file, remedy=remedy) from None


def check_rows(
    rows: pa.Table,
    *,
    vocab_size: int | None = None,
    file: object | None = None,
    first_row: int = 1,
) -> None:
    """Raise TraceError for the first column rule that `rows` (in SCHEMA) break, naming the row.

    Uniqueness of the key spans the whole trace and is checked by `first_repeat`.
    """

    def refuse(bad: np.ndarray, problem: str, remedy: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            raise TraceError(problem, file=file, row=first_row + row, remedy=remedy)

    def column(name: str) -> pa.Array:
        return rows.column(name).combine_chunks()

    def missing(name: str) -> np.ndarray:
        return column(name).is_null().to_numpy(zero_copy_only=False)

    for name in ("rl_step", "prompt_id", "sample", "prompt_len", "output_len"):
        refuse(missing(name), f"no {name}", "every rollout needs one")
    for name, least in (("rl_step", 0), ("sample", 0), ("prompt_len", 1), ("output_len", 1)):
        values = column(name).to_numpy()
        refuse(values < least, f"{name} is below {least}", "correct or drop the row")
    refuse(
        ~pc.is_in(column("finish_reason"), pa.array(FINISH_REASONS)).to_numpy(zero_copy_only=False),
        "unknown finish_reason",
        "use stop, length, abort or null",
    )
    start_s, end_s = (
        column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("start_s", "end_s")
    )
    refuse(end_s < start_s, "end_s is before start_s", "correct or drop the times")

    absent = missing("prompt_tokens")
    refuse(
        missing("output_tokens") != absent,
        "only one of prompt_tokens and output_tokens is given",
        "give both, or neither for a lengths-only trace",
    )
    for name in ("prompt", "output"):
        lists = column(f"{name}_tokens")
        lengths, values = _list_lengths(lists), _list_values(lists)
        refuse(
            ~absent & (lengths != column(f"{name}_len").to_numpy()),
            f"{name}_tokens and {name}_len disagree",
            f"set {name}_len to the number of tokens",
        )
        top = np.iinfo(np.int32).max if vocab_size is None else vocab_size - 1
        if values.null_count:
            refuse(_owners(lengths, values.is_null()), f"a null in {name}_tokens", "drop the row")
        ids = values.to_numpy()
        if len(ids) and (ids.min() < 0 or ids.max() > top):
            bad = _owners(lengths, (ids < 0) | (ids > top))
            size = "" if vocab_size is None else f" of {vocab_size} tokens"
            refuse(
                bad,
                f"a token id in {name}_tokens lies outside the vocabulary{size}",
                "give the tokenizer or vocabulary size that the rollouts were made with",
            )

    drafted, accepted = column("drafted"), column("accepted")
    lengths = _list_lengths(drafted)
    refuse(
        lengths != _list_lengths(accepted),
        "drafted and accepted do not have the same number of forwards",
        "give one number per forward in both, or neither",
    )
    many, good = _list_values(drafted), _list_values(accepted)
    if many.null_count or good.null_count:
        nulls = pc.or_(many.is_null(), good.is_null())
        refuse(_owners(lengths, nulls), "a null in drafted or accepted", "write 0")
    wrong = (good.to_numpy() > many.to_numpy()) | (good.to_numpy() < 0)
    if wrong.any():
        refuse(
            _owners(lengths, wrong),
            "accepted is negative or above drafted",
            "0 <= accepted <= drafted in every forward",
        )


def first_repeat(*columns: np.ndarray) -> tuple[int, int] | None:
    """Rows (i, j), i < j, of the earliest j whose key also stands at i; None if all are unique."""
    n = len(columns[0])
    order = np.lexsort(columns[::-1])
    same = np.ones(max(n - 1, 0), dtype=bool)
    for values in columns:
        ranked = values[order]
        same &= ranked[1:] == ranked[:-1]
    if not same.any():
        return None
    hits = np.flatnonzero(same)
    hit = hits[order[hits + 1].argmin()]  # lexsort is stable: equal keys keep their row order
    return int(order[hit]), int(order[hit + 1])


def _list_lengths(lists: pa.ListArray) -> np.ndarray:
    """Elements per row; -1 where the list is null."""
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(lists), -1).to_numpy()
    return lengths


def _list_values(lists: pa.ListArray) -> pa.Array:
    """All elements one after the other, null lists left out."""
    return lists.flatten()


def _owners(lengths: np.ndarray, bad: Any) -> np.ndarray:
    """Which rows own a bad element, given the rows' list lengths and a flag per element."""
    rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0))
    owns = np.zeros(len(lengths), dtype=bool)
    owns[rows[np.asarray(bad)]] = True
    return owns
