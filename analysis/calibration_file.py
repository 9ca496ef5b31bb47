"""A calibration as files: the JSON that `--latency` reads, and the picture of its fit."""

from __future__ import annotations

import json
from pathlib import Path

from ..traces.whole import whole
from .calibrate import Calibration
from .calibration_figure import fit_quality
from .plots import write_figure


def write_calibration(made: Calibration, path: Path) -> list[Path]:
    """Write `path`, whole or not at all, and its picture beside it; the pictures' paths.

    Raises TraceError where it cannot be written.
    """
    with whole(path) as partial:
        partial.write_text(json.dumps(made.content, indent=1))
    return write_figure(lambda: fit_quality(made.content, path.name), path.parent, path.stem)
