"""The proposer that proposes nothing: drafts are made where the scheduler is.

vLLM verifies drafts only with a speculative method configured. This is that method
(`custom_class`): the worker asks it and gets nothing, while `engine/scheduler.py`, which knows the
requests, the queue and the clock, fills in the drafts. So there is one drafter however many
tensor-parallel workers there are.
"""

from __future__ import annotations

from typing import Any

PATH = "longtail.engine.proposer.NoProposer"


class NoProposer:
    """What `speculative_config={"method": "custom_class", "model": PATH}` names."""

    def __init__(self, vllm_config: Any) -> None:
        pass

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to load (the CPU runner insists on asking)."""

    def propose(self, sampled_token_ids: list[list[int]], *args: Any, **kwargs: Any) -> list[list]:
        """One empty draft per request."""
        return [[] for _ in sampled_token_ids]
