"""How fast the machine is just now: the seconds of a fixed piece of work, done now and then.

Other programs on the machine, and on the other half of a core, slow everything down, at times by
half. Beside a forward's seconds stands therefore how long the same work took just after it, so that
what the machine did is not taken for what the policy did. The work is a few small tensor operations
on the host.
"""

from __future__ import annotations

import time

EVERY_S = 0.1
ROUNDS, SIZE = 10, 64  # some 0.1 ms


class Probe:
    """Does the work when it is due."""

    def __init__(self) -> None:
        import torch

        self._relu, self._matrix = torch.relu, torch.zeros(SIZE, SIZE)
        self._due_s = 0.0

    def seconds(self, now_s: float) -> float:
        """Of the work, or 0 where it is not due yet."""
        if now_s < self._due_s:
            return 0.0
        self._due_s = now_s + EVERY_S
        self._work()  # what ran before has left its own data in the caches
        began = time.perf_counter()
        self._work()
        return time.perf_counter() - began

    def _work(self) -> None:
        matrix = self._matrix
        for _ in range(ROUNDS):
            matrix = self._relu(matrix + 1.0)
