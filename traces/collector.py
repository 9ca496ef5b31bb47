"""`Collector`: rollouts in any order, written sorted by RL step once all of them are known.

Numbers stay in memory (about 80 bytes per rollout); token lists go to a nameless temporary file
beside the output, which vanishes whatever happens. It learns of duplicate keys at the end and
names the file and row of both.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .columns import Record
from .rollouts import chunks, offsets_of
from .schema import FINISH_REASONS, TraceError, first_repeat
from .steps import number_steps
from .writer import TraceWriter, rollout_table

INT16_MAX = 2**15 - 1

_SCALARS = {
    "file": "i",
    "number": "q",
    "rl_step": "i",
    "prompt": "i",
    "sample": "i",
    "prompt_len": "i",
    "output_len": "i",
    "finish": "b",
    "reward": "f",
    "policy_version": "d",
    "start_s": "d",
    "end_s": "d",
    "prompt_at": "q",
    "output_at": "q",
    "drafts_at": "q",
    "drafts": "i",
}


class Collector:
    """Gathers the rollouts of an import; `add` then `write`."""

    def __init__(self, folder: Path) -> None:
        self._columns = {name: array(code) for name, code in _SCALARS.items()}
        self._spill = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._spilled = 0
        self._files: dict[str, int] = {}
        self._steps: dict[str, int] = {}
        self._prompts: dict[str, int] = {}
        self._prompt_texts: dict[bytes, tuple[int, int]] = {}
        self.has_tokens = False

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()

    def __len__(self) -> int:
        return len(self._columns["number"])

    @property
    def n_prompts(self) -> int:
        """Distinct prompt ids so far."""
        return len(self._prompts)

    def find_prompt(self, digest: bytes) -> tuple[int, int] | None:
        """Place and length of a prompt already kept."""
        return self._prompt_texts.get(digest)

    def keep_prompt(self, digest: bytes, tokens: np.ndarray) -> tuple[int, int]:
        """Keep a prompt's tokens once; gives its place and length."""
        place = (self._append(tokens), len(tokens))
        self._prompt_texts[digest] = place
        return place

    def add(
        self,
        record: Record,
        prompt_id: str,
        *,
        prompt: tuple[int, int],
        output_len: int,
        finish: int,
        output: np.ndarray | None = None,
    ) -> None:
        """One rollout; `prompt` is (place, length), the rest is read off the record."""
        step = record.label("rl_step")
        if step is None and "rl_step" in record.bound:
            raise record.missing("rl_step")
        version = record.integer("policy_version")
        drafts = self._drafts(record)
        values: dict[str, Any] = {
            "file": self._files.setdefault(record.source.name, len(self._files)),
            "number": record.number,
            "rl_step": self._steps.setdefault(step or "0", len(self._steps)),
            "prompt": self._prompts.setdefault(prompt_id, len(self._prompts)),
            "sample": self._sample(record),
            "prompt_at": prompt[0],
            "prompt_len": prompt[1],
            "output_len": output_len,
            "finish": finish,
            "reward": record.real("reward"),
            "policy_version": math.nan if version is None else version,
            "start_s": record.real("start_s"),
            "end_s": record.real("end_s"),
            "output_at": -1 if output is None else self._append(output),
            "drafts": -1 if drafts is None else len(drafts) // 2,
            "drafts_at": -1 if drafts is None else self._append(drafts),
        }
        if values["end_s"] < values["start_s"]:
            raise record.error("end_s is before start_s", "correct or drop the times")
        self.has_tokens = output is not None
        for name, value in values.items():
            self._columns[name].append(value)

    def number_steps(self, fixed: Sequence[str] | None) -> dict[str, str]:
        """Turn the RL steps' names into numbers; gives the names that were renumbered."""
        numbers, names = number_steps(list(self._steps), fixed)
        self._step_numbers = np.array(numbers, dtype=np.int32)
        return names

    def write(self, writer: TraceWriter) -> int:
        """Check the keys and write all rollouts, sorted by RL step; gives the number of RL steps.

        Call `number_steps` first.
        """
        columns = {name: np.frombuffer(v, dtype=v.typecode) for name, v in self._columns.items()}
        columns["rl_step"] = self._step_numbers[columns["rl_step"]]
        if len(self) and columns["sample"][0] < 0:
            columns["sample"] = _ranks(columns["rl_step"], columns["prompt"])
        self._refuse_repeats(columns)
        prompt_ids = np.array(list(self._prompts), dtype=object)
        order = np.argsort(columns["rl_step"], kind="stable")
        for rows in chunks(order, columns["output_len"] + columns["prompt_len"].astype(np.int64)):
            chunk = {name: values[rows] for name, values in columns.items()}
            lists = self._lists(chunk)
            writer.write(
                rollout_table(
                    rl_step=chunk["rl_step"],
                    prompt_id=prompt_ids[chunk["prompt"]],
                    sample=chunk["sample"],
                    prompt_len=chunk["prompt_len"],
                    output_len=chunk["output_len"],
                    finish_reason=[FINISH_REASONS[code] for code in chunk["finish"]],
                    reward=_null_nan(chunk["reward"]),
                    policy_version=_null_nan(chunk["policy_version"], np.int32),
                    start_s=_null_nan(chunk["start_s"]),
                    end_s=_null_nan(chunk["end_s"]),
                    **lists,
                )
            )
        return len(np.unique(columns["rl_step"]))

    def _lists(self, chunk: dict[str, np.ndarray]) -> dict[str, Any]:
        lists: dict[str, Any] = {}
        if self.has_tokens:
            for side in ("prompt", "output"):
                sizes = chunk[f"{side}_len"]
                lists[f"{side}_tokens"] = (
                    self._read(chunk[f"{side}_at"], sizes),
                    offsets_of(sizes),
                )
        if (chunk["drafts"] >= 0).any():
            n = chunk["drafts"]
            absent = n < 0
            for name, skip in (("drafted", 0), ("accepted", 1)):
                sizes = np.maximum(n, 0)
                values = self._read(chunk["drafts_at"] + skip * sizes, sizes)
                lists[name] = (values, offsets_of(sizes), absent)
        return lists

    def _sample(self, record: Record) -> int:
        sample = record.integer("sample")
        if sample is None and "sample" in record.bound:
            raise record.missing("sample")
        if sample is not None and sample < 0:
            raise record.error(f"sample {sample} is negative", "number samples from 0")
        earlier = self._columns["sample"]
        if earlier and (earlier[0] < 0) != (sample is None):
            raise record.error("only some rows have a sample", "number all of them, or none")
        return -1 if sample is None else sample

    def _drafts(self, record: Record) -> np.ndarray | None:
        """Drafted, then accepted, one after the other; None where not given."""
        drafted, accepted = record.integers("drafted"), record.integers("accepted")
        if drafted is None and accepted is None:
            return None
        if drafted is None or accepted is None or len(drafted) != len(accepted):
            raise record.error("drafted and accepted differ in length", "one number per forward")
        if (accepted < 0).any() or (accepted > drafted).any() or (drafted > INT16_MAX).any():
            raise record.error("accepted is negative or above drafted", "0 <= accepted <= drafted")
        return np.concatenate([drafted, accepted])

    def _append(self, tokens: np.ndarray) -> int:
        at = self._spilled
        try:
            self._spill.write(tokens.astype(np.int32).tobytes())
        except OSError as error:
            raise TraceError(
                f"no room for temporary data ({error.strerror})", remedy="free some space"
            ) from None
        self._spilled += len(tokens)
        return at

    def _read(self, places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The spilled lists at `places`, one after the other."""
        pieces = []
        for at, size in zip(places.tolist(), sizes.tolist(), strict=True):
            if size:
                self._spill.seek(4 * at)
                pieces.append(self._spill.read(4 * size))
        return np.frombuffer(b"".join(pieces), dtype=np.int32)

    def _refuse_repeats(self, columns: dict[str, np.ndarray]) -> None:
        repeat = first_repeat(columns["rl_step"], columns["prompt"], columns["sample"])
        if repeat is None:
            return
        first, second = repeat
        files, numbers = list(self._files), columns["number"]
        there = f"row {numbers[first]}"
        if columns["file"][first] != columns["file"][second]:
            there += f" of {files[columns['file'][first]]}"
        prompt_id = list(self._prompts)[columns["prompt"][second]]
        raise TraceError(
            f"same key as {there} (rl_step {columns['rl_step'][second]}, prompt_id {prompt_id!r}, "
            f"sample {columns['sample'][second]})",
            file=files[columns["file"][second]],
            row=int(numbers[second]),
            remedy="map rl_step, prompt_id and sample so that they tell the rollouts apart",
        )


def digest(data: bytes) -> bytes:
    """A short key for a prompt."""
    return hashlib.sha256(data).digest()[:16]


def _ranks(*keys: np.ndarray) -> np.ndarray:
    """int32: how many earlier rows have the same key."""
    order = np.lexsort(keys[::-1])
    n = len(order)
    new = np.ones(n, dtype=bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    starts = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    ranks = np.empty(n, dtype=np.int32)
    ranks[order] = np.arange(n) - starts
    return ranks


def _null_nan(values: np.ndarray, dtype: type | None = None) -> np.ma.MaskedArray | None:
    """Masked where NaN; None where nothing is known."""
    unknown = np.isnan(values)
    if unknown.all():
        return None
    known = np.where(unknown, 0, values).astype(dtype or values.dtype)
    return np.ma.masked_array(known, unknown)
