"""Where live runs write. Several engines may be told the same folder: a trainer starts many with
one policy file, one after the other and at once. Each takes a folder of its own in the one it was
told, named by when, where and in which process it began.
"""

from __future__ import annotations

import os
import socket
import time
from itertools import count
from pathlib import Path

from ..traces.schema import TraceError


def make_folder(folder: Path) -> None:
    """The folder, there or new. Raises TraceError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def own_folder(base: Path) -> Path:
    """A new folder in `base`, which nobody else has; sorted by name they are in order of time.

    Raises TraceError where none can be made.
    """
    make_folder(base)
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
    for number in count():
        folder = base / f"{name}-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(base, error) from None
        break
    return folder


def _unwritable(folder: Path, error: OSError) -> TraceError:
    return TraceError(
        f"cannot write here ({error.strerror})",
        file=folder,
        remedy="name a folder that you may write to",
    )
