"""A calibration as files: the JSON that `--latency` reads, and the picture of its fit."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..traces.schema import TraceError
from .calibrate import Calibration
from .calibration_figure import fit_quality
from .plots import write_figure


def write_calibration(made: Calibration, path: Path) -> list[Path]:
    """Write `path`, whole or not at all, and its picture beside it; the pictures' paths.

    Raises TraceError where it cannot be written.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        hidden.write_text(json.dumps(made.content, indent=1))
        hidden.replace(path)
    except OSError as error:
        raise TraceError(
            f"cannot be written ({error.strerror})", file=path, remedy="choose another file"
        ) from None
    finally:
        hidden.unlink(missing_ok=True)
    return write_figure(lambda: fit_quality(made.content, path.name), path.parent, path.stem)
