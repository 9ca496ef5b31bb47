"""vLLM's draft length by batch size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, LAST_REQUESTS, MAX_DRAFT, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView

ENTRY = re.compile(r"(\d+)-(\d+):(\d+)")


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    size = batch.last[LAST_REQUESTS]
    if size == 0:
        size = batch.counts[DECODING]
    k = np.int32(plan.values[min(size, len(plan.values) - 1)])
    for j in range(batch.counts[DECODING]):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class Schedule:
    """A draft length for each batch size, as vLLM's dynamic speculative decoding has it.

    `ranges` is vLLM's num_speculative_tokens_per_batch_size: inclusive ranges of batch sizes, each
    with a draft length, here `1-16:3_64-128:2_256-4096:0` for [[1, 16, 3], [64, 128, 2], [256,
    4096, 0]]. The first begins at 1; sizes between two ranges, and beyond the last, take the length
    of the range before. The batch size is the number of requests in the forward before this one,
    prompts included: vLLM drafts at a forward's end, for that forward's size. vLLM has no default;
    ours is the example of the pull request that brought it. The older engine's
    disable_by_batch_size=32 is about `1-31:8_32-4096:0`.
    """

    name: ClassVar[str] = "schedule"
    source: ClassVar[str] = (
        "vLLM, speculative_config num_speculative_tokens_per_batch_size (PR #32374): "
        "vllm/v1/spec_decode/dynamic/utils.py"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    ranges: str = option(
        "1-16:3_64-128:2_256-4096:0", "FROM-TO:TOKENS joined by _, of batch sizes", always=True
    )

    def __post_init__(self) -> None:
        before = 0
        for first, last, k in self.entries:
            if not before < first <= last or (before == 0 and first != 1):
                raise ValueError(
                    f"ranges={self.ranges}: ranges begin at 1, ascend and do not overlap"
                )
            if k > MAX_DRAFT:
                raise ValueError(f"ranges={self.ranges}: {k} is above {MAX_DRAFT} tokens")
            before = last

    @property
    def entries(self) -> list[tuple[int, int, int]]:
        """(first batch size, last, tokens) of each range."""
        entries = []
        for part in self.ranges.split("_"):
            match = ENTRY.fullmatch(part)
            if not match:
                raise ValueError(f"ranges={self.ranges}: write FROM-TO:TOKENS, not '{part}'")
            first, last, k = map(int, match.groups())
            entries.append((first, last, k))
        return entries

    def plan(self, view: StepView) -> Plan:
        """The length at each batch size, up to where the last range begins."""
        starts = [first for first, _, _ in self.entries]
        sizes = np.arange(starts[-1] + 1)
        lengths = np.array([0.0, *(k for _, _, k in self.entries)])
        values = lengths[np.searchsorted(starts, sizes, side="right")]
        return Plan(values, np.zeros((len(view.prompt), 1)))
