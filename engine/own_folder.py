"""Where an engine keeps what it writes: several engines may be told the same folder.

A trainer starts many engines with one policy file, one after the other and at once. Each takes a
folder of its own in the one it was told, named by when, where and in which process it began.
"""

from __future__ import annotations

import os
import socket
import time
from itertools import count
from pathlib import Path

from ..traces.schema import TraceError


def own_folder(base: Path) -> Path:
    """A new folder in `base`, which nobody else has; sorted by name they are in order of time.

    Raises TraceError where none can be made.
    """
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        for number in count():
            try:
                folder = base / f"{name}-{number:03d}"
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise TraceError(
            f"cannot write here ({error.strerror})",
            file=base,
            remedy="name a folder that you may write to",
        ) from None
    raise AssertionError("unreachable")
