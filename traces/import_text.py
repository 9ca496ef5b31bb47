"""Rollouts as text or token ids (JSONL) into a trace.

Text is tokenised as it stands: no special tokens, no chat template. The end token is appended to
every output that was not cut by its length limit (or aborted) and does not end in it already; but
token ids of a known format are the engine's own, and text of one that shows its end tokens is
whole: there an output without its end token was cut.
Streams: memory holds one batch of rows, and what `Collector` keeps of each rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .collector import Collector, digest
from .columns import Record
from .gaps import END_APPENDED, NO_END_TOKEN, NO_PROMPT_ID, TAKEN_AS_CUT, TEXT_ONLY
from .importing import (
    FIELDS,
    ImportOptions,
    ImportReport,
    Intake,
    Watcher,
    refuse_own_source,
)
from .length_check import LengthCheck
from .schema import ABORT, LENGTH, STOP, UNKNOWN, TraceError, TraceMeta
from .sources import Source
from .vocabulary import MOST_TOKENS, Vocabulary
from .writer import TraceWriter

if TYPE_CHECKING:
    from .formats import Reading

TEXT_FIELDS = (*FIELDS, "prompt", "output", "prompt_tokens", "output_tokens", "drafted", "accepted")
#: What known formats may also say, held against the tokens.
RECORDED_LENGTHS = ("prompt_len", "output_len")
BATCH_ROWS = 256
BATCH_CHARACTERS = 1 << 22
MAX_BYTES = 1 << 23  # of one text; a tokenizer takes some hundred bytes for each


@dataclass(frozen=True)
class _Pending:
    """A row of the batch at hand: prompt and output as text or as token ids."""

    record: Record
    prompt: str | np.ndarray
    output: str | np.ndarray


def import_text(
    sources: Sequence[str | Path | Source],
    output: str | Path,
    *,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    end_token: str | None = None,
    options: ImportOptions | None = None,
    watch: Watcher | None = None,
    reading: Reading | None = None,
) -> ImportReport:
    """Import JSONL `sources` ("-" is standard input) into the trace `output`.

    `tokenizer` is the path of a tokenizer.json, needed for text; `end_token` a token, an id or
    "none", by default the tokenizer's usual one. `reading`: the format of the sources where they
    do not use our names. Raises TraceError, and leaves no file, for any row that cannot be used.
    """
    refuse_own_source(sources, output)
    vocabulary = Vocabulary(tokenizer, vocab_size)
    if vocabulary.has_tokenizer or end_token is not None:
        vocabulary.end_token(end_token)  # refuse what is wrong with it before any work
    fields = (*TEXT_FIELDS, *RECORDED_LENGTHS) if reading else TEXT_FIELDS
    intake = Intake(sources, fields, options or ImportOptions(), "jsonl", watch, reading)
    meta = TraceMeta(origin="imported", vocab_size=vocabulary.size)
    with TraceWriter(output, meta) as writer, Collector(Path(output).parent) as collector:
        batch = _Batch(intake, collector, vocabulary, end_token)
        for record in intake:
            batch.take(record)
        batch.finish()
        return intake.store(collector, writer, vocabulary, batch.end)


class _Batch:
    """Rows on their way to the collector, tokenised a few hundred at a time."""

    def __init__(
        self, intake: Intake, collector: Collector, vocabulary: Vocabulary, end_token: str | None
    ) -> None:
        self.intake, self.collector, self.vocabulary = intake, collector, vocabulary
        self.end: int | None = None
        self._asked, self._settled = end_token, False
        self._rows: list[_Pending] = []
        self._characters = 0
        self._inner_ends = 0
        self._checks = {side: LengthCheck(side) for side in ("prompt", "output")}

    def take(self, record: Record) -> None:
        """Queue one row."""
        row = _Pending(record, self._side(record, "prompt"), self._side(record, "output"))
        if not self._settled:
            self.end, self._settled = self._end_token(), True
        if len(row.prompt) == 0:
            raise record.error("the prompt is empty", "fill it in or drop the row")
        if len(row.output) == 0:
            self.intake.drop_empty(record, "the output is empty")
            return
        characters = self._characters + len(row.output)
        if len(self._rows) == BATCH_ROWS or characters > BATCH_CHARACTERS:
            self._flush()
        self._rows.append(row)
        self._characters += len(row.output)

    def finish(self) -> None:
        """Hand over the last rows."""
        self._flush()
        if self._inner_ends:
            self.intake.notes.append(
                f"{self._inner_ends} outputs hold the end token before their end; kept whole"
            )
        self.intake.notes += [check.sentence() for check in self._checks.values() if check.off]

    def _end_token(self) -> int | None:
        """The end token; only a known format that gives token ids can do without."""
        if self.intake.reading and self._asked is None and not self.vocabulary.has_tokenizer:
            self.intake.told[NO_END_TOKEN] += 1
            return None
        return self.vocabulary.end_token(self._asked)

    def _side(self, record: Record, side: str) -> str | np.ndarray:
        """Prompt or output of a row: token ids if it has them, else text."""
        ids = record.integers(f"{side}_tokens")
        if ids is not None:
            top = self.vocabulary.size or MOST_TOKENS
            outside = (ids < 0) | (ids >= top)
            if outside.any():
                raise record.error(
                    f"token id {ids[outside.argmax()]} in {side}_tokens lies outside the "
                    f"vocabulary of {top} tokens",
                    "give the tokenizer or --vocab-size that the rollouts were made with",
                )
            return ids.astype(np.int32)
        text = record.text(side)
        if text is None:
            raise record.missing(f"{side}_tokens" if f"{side}_tokens" in record.bound else side)
        if not self.vocabulary.has_tokenizer:
            raise TraceError(
                "text cannot be imported without a tokenizer",
                file=record.source.name,
                row=record.number,
                remedy="give --tokenizer with the path of the model's tokenizer.json",
            )
        if (size := len(text.encode())) > MAX_BYTES:
            problem = f"{side} has {size:,} bytes of text, over {MAX_BYTES:,}"
            raise record.error(problem, f"drop the row, or give {side}_tokens")
        return text

    def _flush(self) -> None:
        rows, self._rows, self._characters = self._rows, [], 0
        texts = [row.output for row in rows if isinstance(row.output, str)]
        encoded = iter(self.vocabulary.encode(texts) if texts else ())
        for row in rows:
            output = next(encoded) if isinstance(row.output, str) else row.output
            self._collect(row, output)

    def _collect(self, row: _Pending, output: np.ndarray) -> None:
        """Judge how a tokenised output ended, end it if it must be, and hand it over."""
        told, generated, is_text = self.intake.told, len(output), isinstance(row.output, str)
        ended = generated > 0 and self.end is not None and bool(output[-1] == self.end)
        finish = self.intake.finish(row.record, generated, ended)
        if self.end is not None and self._is_whole(is_text):
            if finish == UNKNOWN:
                finish = STOP if ended else LENGTH
                told[TAKEN_AS_CUT] += not ended
        elif self.end is not None and not ended and finish not in (LENGTH, ABORT):
            output = np.append(output, np.int32(self.end))
            told[END_APPENDED] += 1
        if len(output) == 0:
            self.intake.drop_empty(row.record, "the output has no tokens")
            return
        told[TEXT_ONLY] += is_text
        self._inner_ends += self.end is not None and bool((output[:-1] == self.end).any())
        self._checks["output"].hold(row.record, is_text, generated, len(output))
        key, place = self._prompt(row)
        self._checks["prompt"].hold(row.record, isinstance(row.prompt, str), place[1])
        prompt_id = row.record.label("prompt_id")
        if prompt_id is None and "prompt_id" in row.record.bound:
            raise row.record.missing("prompt_id")
        told[NO_PROMPT_ID] += prompt_id is None
        self.collector.add(
            row.record,
            key.hex() if prompt_id is None else prompt_id,
            prompt=place,
            output_len=len(output),
            finish=finish,
            output=output,
        )
        self.intake.count(len(output), finish)

    def _is_whole(self, is_text: bool) -> bool:
        """Whether an output shows how it ended: by its end token, or by lacking it."""
        reading = self.intake.reading
        return reading is not None and (reading.format.ends_shown or not is_text)

    def _prompt(self, row: _Pending) -> tuple[bytes, tuple[int, int]]:
        """Digest of the prompt, and where its tokens are kept."""
        prompt = row.prompt
        key = digest(prompt.encode() if isinstance(prompt, str) else prompt.tobytes())
        place = self.collector.find_prompt(key)
        if place is None:
            tokens = self.vocabulary.encode([prompt])[0] if isinstance(prompt, str) else prompt
            if len(tokens) == 0:
                raise row.record.error("the prompt has no tokens", "fill it in or drop the row")
            place = self.collector.keep_prompt(key, tokens)
        return key, place
