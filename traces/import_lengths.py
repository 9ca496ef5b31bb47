"""Rollouts of which only the lengths are known (CSV) into a lengths-only trace.

Columns: rl_step, prompt_id, sample, prompt_len, output_len in tokens, and the optional ones of
every import. Output lengths are taken as they stand, end token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .collector import Collector
from .gaps import OWN_PROMPT
from .importing import (
    FIELDS,
    ImportOptions,
    ImportReport,
    Intake,
    Watcher,
    refuse_own_source,
)
from .schema import TraceError, TraceMeta
from .sources import Source
from .vocabulary import Vocabulary
from .writer import TraceWriter

if TYPE_CHECKING:
    from .formats import Reading

LENGTH_FIELDS = (*FIELDS, "prompt_len", "output_len")


def import_lengths(
    sources: Sequence[str | Path | Source],
    output: str | Path,
    *,
    prompt_len: int | None = None,
    options: ImportOptions | None = None,
    watch: Watcher | None = None,
    reading: Reading | None = None,
) -> ImportReport:
    """Import CSV `sources` ("-" is standard input) into the trace `output`.

    `prompt_len` (tokens) stands in where the sources do not have that column. `reading`: the format
    of the sources where they do not use our names. Raises TraceError, and leaves no file, for any
    row that cannot be used.
    """
    refuse_own_source(sources, output)
    if prompt_len is not None and prompt_len < 1:
        raise TraceError(f"--prompt-len {prompt_len} is below 1", remedy="give a length in tokens")
    intake = Intake(sources, LENGTH_FIELDS, options or ImportOptions(), "csv", watch, reading)
    meta = TraceMeta(origin="imported")
    with TraceWriter(output, meta) as writer, Collector(Path(output).parent) as collector:
        assumed = 0
        for record in intake:
            prompt_id = record.label("prompt_id")
            if prompt_id is None and reading is None:
                raise record.missing("prompt_id")
            generated = record.integer("output_len")
            if generated is None:
                raise record.missing("output_len")
            if generated < 1:
                intake.drop_empty(record, f"output_len {generated} is below 1")
                continue
            own_len = record.integer("prompt_len")
            in_tokens = prompt_len if own_len is None else own_len
            if in_tokens is None:
                raise record.error("no prompt_len", "map the column, or give --prompt-len TOKENS")
            if in_tokens < 1:
                raise record.error(f"prompt_len {in_tokens} is below 1", "correct or drop the row")
            assumed += own_len is None
            finish = intake.finish(record, generated)
            intake.told[OWN_PROMPT] += prompt_id is None
            collector.add(
                record,
                f"request {intake.rows}" if prompt_id is None else prompt_id,
                prompt=(-1, in_tokens),
                output_len=generated,
                finish=finish,
            )
            intake.count(generated, finish)
        if assumed:
            intake.notes.append(
                f"prompt_len {prompt_len} was assumed in {assumed} rows without one"
            )
        return intake.store(collector, writer, Vocabulary(None), None)
