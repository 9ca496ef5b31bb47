"""Coverage-guided fuzzing of the importers; optional, needs `pip install atheris`.

    python tests/traces/fuzz.py verl -max_total_time=60

starts from the little dump of the format and stops at the first input that does anything but import
or say one line. What follows the format goes to libFuzzer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["longtail"]):
    from longtail.traces import TraceError
    from longtail.traces.formats import FORMATS
    from longtail.traces.formats.importing import import_dump
    from longtail.traces.formats.recognise import recognise

import dumps
from little_tokenizer import make_tokenizer


def main(name: str, *arguments: str) -> None:
    form = FORMATS[name]
    work = Path(tempfile.mkdtemp(prefix="longtail-fuzz-"))
    for part in ("seeds", "dump", "out"):
        (work / part).mkdir()
    files = [p for p in dumps.WRITERS[name](work / "dump").rglob("*") if p.is_file()]
    for i, file in enumerate(files):
        (work / "seeds" / str(i)).write_bytes(file.read_bytes())
    tokenizer = None
    if not form.lengths_only:
        tokenizer = make_tokenizer(work / "tokenizer.json", "<|endoftext|>")
    path, output = files[0], work / "out" / "T.parquet"

    def one_input(raw: bytes) -> None:
        path.write_bytes(raw)
        for attempt in (
            lambda: import_dump(form, [path], output, tokenizer=tokenizer),
            lambda: recognise([str(path)]),
        ):
            try:
                attempt()
            except TraceError as error:
                assert str(error).isprintable() and not output.exists()
        output.unlink(missing_ok=True)
        assert os.listdir(work / "out") == []

    print(f"{name}: working in {work}")
    atheris.Setup([sys.argv[0], str(work / "seeds"), *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
