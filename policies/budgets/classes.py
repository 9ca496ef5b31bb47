"""DAS's length classes with fixed budgets, as independently replicated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, MAX_DRAFT, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView

SHORT, MEDIUM, LONG = range(3)
FROM_MEDIUM, FROM_LONG, ACTIVE = range(3, 6)  # plan.values, behind the classes' budgets


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    values, slots, n = plan.values, batch.slots, batch.counts[DECODING]
    drafting = n <= values[ACTIVE]
    for j in range(n):
        i = slots[j]
        now = int(plan.request[i, 0])
        if batch.generated[i] >= values[FROM_LONG]:
            now = LONG
        elif batch.generated[i] >= values[FROM_MEDIUM]:
            now = max(now, MEDIUM)
        budget[i] = np.int32(values[now]) if drafting else np.int32(0)


@jit()
def _average(prompt, length, share, averages):
    """Moving averages of each prompt's lengths, float64[prompts], NaN before the first."""
    for i in range(len(prompt)):
        before = averages[prompt[i]]
        averages[prompt[i]] = (
            length[i] if np.isnan(before) else share * length[i] + (1.0 - share) * before
        )


@dataclass(frozen=True)
class Classes:
    """Fixed budgets for short, medium and long rollouts: DAS as independently replicated.

    A prompt's class comes from an exponential moving average of the lengths of its rollouts in
    earlier RL steps; a request begins in it and moves up, never down, when the tokens it has
    generated reach the next class's threshold. Prompts never seen are medium, so that cold ones
    draft. Nothing is saved up and no latency model is asked: compare `das`, which solves the
    paper's cost model. The replication's lengths enter the average as rollouts finish, ours RL
    step by RL step in the order of the requests. A length of exactly `short` tokens is medium, as
    in its code. Its other settings belong to the drafter: `suffix:factor=2,depth=24,max=24`.
    """

    name: ClassVar[str] = "classes"
    source: ClassVar[str] = (
        "aniketmohanty82/py-inference-scheduler, py_inference_scheduler/speculative (after DAS, "
        "arXiv 2511.13841)"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = None

    large: int = option(24, "of long requests", low=0, high=MAX_DRAFT, unit="tokens")
    medium: int = option(8, "of medium ones", low=0, high=MAX_DRAFT, unit="tokens")
    small: int = option(0, "of short ones", low=0, high=MAX_DRAFT, unit="tokens")
    short: int = option(256, "medium from this length", low=1, unit="tokens")
    long: int = option(1024, "long from this length", low=1, unit="tokens")
    share: float = option(0.2, "of the newest length in the average", low=0.0, high=1.0)
    active: int = option(0, "drafts while at most that many decode, 0 is always", low=0)

    def __post_init__(self) -> None:
        if self.long < self.short:
            raise ValueError(f"long={self.long} is below short={self.short}")

    def plan(self, view: StepView) -> Plan:
        """The class that each request begins in."""
        size = int(max([view.prompt.max(initial=0), *(p.prompt.max(initial=0) for p in view.past)]))
        averages = np.full(size + 1, np.nan)
        for past in view.past:
            _average(past.prompt, past.output_len, self.share, averages)
        mean = averages[view.prompt]
        kind = np.where(mean >= self.long, LONG, np.where(mean >= self.short, MEDIUM, SHORT))
        kind = np.where(np.isnan(mean), MEDIUM, kind)
        active = float(self.active or np.inf)
        values = [self.small, self.medium, self.large, self.short, self.long, active]
        return Plan(np.array(values, np.float64), kind[:, None].astype(np.float64))
