"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .schema import TraceError


@contextmanager
def whole(path: Path, remedy: str = "choose another file") -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` when all is written, else it is removed.

    Raises TraceError where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise TraceError(
            f"cannot be written ({os.strerror(error.errno) if error.errno else error})",
            file=path,
            remedy=remedy,
        ) from None
    finally:
        partial.unlink(missing_ok=True)
