"""What a draft model takes to draft, read off the one figure that tells: TLT's Fig. 13."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .published import published


@dataclass(frozen=True)
class DraftTime:
    """In forwards of one request without drafts: once + level * depth."""

    once: float
    level: float
    error: float  # root mean square, of what it was fitted to

    def of(self, depth: int) -> float:
        """A whole draft."""
        return self.once + self.level * depth


def draft_time(figure13: pd.DataFrame) -> DraftTime:
    """From acceptance length and speed-up of one request by draft depth.

    A round takes acceptance length / speed-up forwards, of which verifying takes one: so few tokens
    are below a roofline's knee. The rest is drafting, a straight line in the depth.
    """
    drafting = (figure13.accept_length / figure13.speedup).to_numpy(float) - 1
    depth = figure13.draft_depth.to_numpy(float)
    level, once = np.polyfit(depth, drafting, 1)
    error = np.sqrt(np.mean((once + level * depth - drafting) ** 2))
    return DraftTime(float(once), float(level), float(error))


def tlt_draft_time() -> DraftTime:
    """TLT's, of its layer on Qwen2.5-32B."""
    return draft_time(published("tlt_fig13").frame)
