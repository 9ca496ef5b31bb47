"""Dumps of known formats into traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..import_lengths import import_lengths
from ..import_text import import_text
from ..importing import ImportOptions, ImportReport, Watcher
from ..schema import TraceError
from .dump import Dump
from .files import find_files
from .format import Format, Reading

SKIPPED = "{n} files of evaluations, or of what other files hold too, are left out"


def import_dump(
    form: Format,
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    end_token: str | None = None,
    options: ImportOptions | None = None,
    watch: Watcher | None = None,
) -> ImportReport:
    """Import files, or folders of them, of one format into the trace `output`.

    Text needs `tokenizer`, token ids do not; `end_token` as for text. Raises TraceError, and leaves
    no file, for anything that cannot be used.
    """
    reading = Reading(form)
    found = find_files(form, [str(path) for path in paths])
    reading.told[SKIPPED] = found.skipped
    dumps = [Dump(file, reading) for file in found.files]
    options = options or ImportOptions()
    if form.lengths_only:
        if tokenizer is not None or end_token is not None:
            raise TraceError(f"{form.name} holds lengths only", remedy="leave --tokenizer out")
        # Services record requests that failed or gave nothing as a matter of course.
        options = replace(options, drop_empty=True)
        return import_lengths(dumps, output, options=options, watch=watch, reading=reading)
    return import_text(
        dumps,
        output,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        end_token=end_token,
        options=options,
        watch=watch,
        reading=reading,
    )
