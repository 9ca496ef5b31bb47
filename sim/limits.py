"""What one engine can hold: vLLM's own names, unlimited where not given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..policies.registry import ComponentError
from .state import UNLIMITED


class CapacityError(ComponentError):
    """A rollout cannot run at all within the limits."""


@dataclass(frozen=True)
class Limits:
    """Limits of each replica and their number; None is unlimited."""

    max_num_seqs: int | None = None  # requests running at once
    max_num_batched_tokens: int | None = None  # tokens in one forward
    kv_tokens: int | None = None  # KV-cache capacity, tokens
    block_size: int = 16  # tokens per KV block
    replicas: int = 1

    def __post_init__(self) -> None:
        for name in (
            "max_num_seqs",
            "max_num_batched_tokens",
            "kv_tokens",
            "block_size",
            "replicas",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ComponentError(f"{name} must be at least 1, got {value}")

    def array(self, longest_draft: int) -> np.ndarray:
        """int64[6] as the decode loop takes them."""
        blocks = UNLIMITED if self.kv_tokens is None else self.kv_tokens // self.block_size
        return np.array(
            [
                self.max_num_seqs or UNLIMITED,
                self.max_num_batched_tokens or UNLIMITED,
                self.block_size,
                longest_draft,
                blocks,
                UNLIMITED,
            ]
        )

    def check(
        self,
        rl_step: int,
        prompt_len: np.ndarray,
        output_len: np.ndarray,
        head: np.ndarray | int = 0,
    ) -> None:
        """Raise CapacityError for the largest rollout if its KV cache would never fit.

        head: tokens that are verified with the prompt.
        """
        if self.kv_tokens is None:
            return
        room = self.kv_tokens // self.block_size * self.block_size
        # The last token's KV is never written.
        need = prompt_len.astype(np.int64) + np.maximum(output_len - 1, head)
        if len(need) and need.max() > room:
            worst = int(need.argmax())
            enough = -(-int(need[worst]) // self.block_size) * self.block_size
            raise CapacityError(
                f"rollout {worst + 1} of RL step {rl_step} needs {need[worst]} KV tokens, a "
                f"replica holds {room}; give --kv-tokens {enough} or more"
            )
