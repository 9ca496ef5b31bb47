"""A calibration's seconds for forwards that were really run: the true batch, the true machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..policies.latency import ARGUMENTS
from ..policies.latency.calibrated import bind_content
from .observations import LiveRun, observe
from .speed import slowness


class Clock:
    """Predicts a live run's forwards one by one."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    def seconds(self, run: LiveRun, quiet: bool = False) -> np.ndarray:
        """float64[n] of each forward, until the next one could begin; on the machine as the probe
        found it just then, or on the quiet one.
        """
        seen = observe([run])
        bound = bind_content(self._content, run.component)
        counts = seen[[*ARGUMENTS, "drafted"]].to_numpy(np.int64)
        whole = np.array([bound.seconds(*row, bound.params) for row in counts.tolist()])
        if quiet:
            return whole
        host = np.array([bound.host_s(*row) for row in counts.tolist()])
        slow = slowness(seen.probe_s.to_numpy(), self._content["probe"]["quiet_s"])
        follows = self._content["probe"]["follows"]
        return (whole - host) * slow ** follows["model"] + host * slow ** follows["host"]

    @staticmethod
    def measured(run: LiveRun) -> np.ndarray:
        """float64[n] of each forward, until the next one could begin."""
        return observe([run]).whole_s.to_numpy()

    def slow(self, run: LiveRun, rl_step: int | None = None) -> float:
        """How many times longer the run, or an RL step of it, took than on the quiet machine."""
        mine = (run.forwards.rl_step == rl_step).to_numpy() if rl_step is not None else slice(None)
        return float(self.seconds(run)[mine].sum() / self.seconds(run, quiet=True)[mine].sum())
