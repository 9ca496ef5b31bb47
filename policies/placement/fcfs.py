"""First come, first served: vLLM's default, spread over the replicas in turn."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..view import StepView


@dataclass(frozen=True)
class Fcfs:
    """Requests in the order of the trace, one to each replica in turn."""

    name: ClassVar[str] = "fcfs"
    source: ClassVar[str] = "vLLM V1 scheduler; round-robin as most trainers dispatch"

    def assign(self, view: StepView, replicas: int) -> list[np.ndarray]:
        """For each replica the requests it serves, int64, in the order in which they queue."""
        return [np.arange(first, len(view.prompt), replicas) for first in range(replicas)]
