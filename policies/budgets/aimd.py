"""RhymeRL's window: a draft length of each request's own, moved by what became of its drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..registry import option
from ..view import StepView

FORMS = {"printed": 32, "released": 16}  # and their longest window
START, LONGEST, RELEASED = range(3)  # values
WINDOW, FORWARDS, DRAFTED, ACCEPTED = range(4)  # columns
STEP = 2.0  # tokens


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    start, longest = plan.values[START], plan.values[LONGEST]
    released = plan.values[RELEASED] != 0
    slots, memory = batch.slots, plan.request
    forwards, all_drafted, all_accepted = batch.forwards, batch.drafted, batch.accepted
    for j in range(batch.counts[DECODING]):
        i = slots[j]
        window = memory[i, WINDOW]
        # Before its first look a request has only been prefilled.
        if 0 < memory[i, FORWARDS] < forwards[i]:
            drafted = all_drafted[i] - memory[i, DRAFTED]
            accepted = all_accepted[i] - memory[i, ACCEPTED]
            if released:
                whole = accepted + 1 > window  # of the window, not of the draft
                window = min(2 * window, longest) if whole else max(window // 2, start)
            elif drafted > 0:
                window = min(window + STEP, longest) if accepted == drafted else start
        memory[i, WINDOW], memory[i, FORWARDS] = window, forwards[i]
        memory[i, DRAFTED], memory[i, ACCEPTED] = all_drafted[i], all_accepted[i]
        budget[i] = np.int32(window)


@dataclass(frozen=True)
class Aimd:
    """A window of draft tokens per request: it grows while drafts hold and shrinks when they fail.

    As printed (additive increase): the window starts at 2 tokens, gains 2 when the whole draft was
    accepted, goes back to 2 at any rejection, and ends at 32. A draft shorter than its window
    counts as whole if all of it was accepted, and a forward without a draft changes nothing: both
    are our reading. As released: the window doubles, up to 16, when a forward gave more tokens
    than it has, that is when a draft as long as the window was accepted; otherwise it is halved,
    down to 2, also after a shorter draft or none. Meant for the drafter histospec, whose form
    should be the same.
    """

    name: ClassVar[str] = "aimd"
    source: ClassVar[str] = (
        "RhymeRL, arXiv 2508.18588 (HistoSpec); released: He-Jingkai/specRL, "
        "suffix_cache.cc (update_spec_len)"
    )
    rule: ClassVar[Any] = staticmethod(_rule)
    past_steps: ClassVar[int | None] = 0

    form: str = option("printed", "the paper's or the released code's", choices=tuple(FORMS))
    start: int = option(2, "shortest window", low=1, high=128, unit="tokens")
    longest: int = option(
        0, "longest window, 0: 32 as printed, 16 as released", low=0, high=128, unit="tokens"
    )

    def __post_init__(self) -> None:
        if self.most < self.start:
            raise ValueError(f"longest={self.most} is below start={self.start}")

    @property
    def most(self) -> int:
        """The longest window, tokens."""
        return self.longest or FORMS[self.form]

    def plan(self, view: StepView) -> Plan:
        """Everybody's window at its start."""
        request = np.zeros((len(view.prompt), 4))
        request[:, WINDOW] = self.start
        return Plan(np.array([self.start, self.most, self.form == "released"], float), request)
