"""ReSpec's solver: the best draft length for each number of active requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..drafters.cost import drafting_s
from ..handles import unpack
from ..registry import option
from ..view import PastStep, StepView
from .speeds import speed_table

LENGTHS, CONTEXT, COST, FIRST = 0, 1, 2, 6  # in values; COST: drafters/cost.py
UNSOLVED = -1.0


@jit(inner=True)
def _best(values, lengths, gain, drafted, n, latency, params):
    """The draft length of most tokens per second for n requests; of equals the shortest."""
    best, most = 0.0, 0.0
    for c in range(len(lengths)):
        drafts = np.int64(np.rint(n * drafted[c]))
        kv = np.int64(n * values[CONTEXT]) + drafts
        pairs = np.int64((n + drafts) * values[CONTEXT])
        seconds = latency(n + drafts, n, kv, pairs, 0, drafts, params)
        seconds += drafting_s(values[COST:FIRST], drafts, lengths[c])
        speed = n * gain[c] / seconds
        if speed > most:
            best, most = lengths[c], speed
    return best


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    # values: see plan(); after the candidates, what was solved for each number of requests.
    values, n = plan.values, batch.counts[DECODING]
    count = np.int64(values[LENGTHS])
    lengths = values[FIRST : FIRST + count]
    gain = values[FIRST + count : FIRST + 2 * count]
    drafted = values[FIRST + 2 * count : FIRST + 3 * count]
    solved = values[FIRST + 3 * count :]
    size = min(n, len(solved) - 1)
    if solved[size] == UNSOLVED:
        solved[size] = _best(values, lengths, gain, drafted, n, latency, params)
    k = np.int32(solved[size])
    for j in range(n):
        budget[batch.slots[j]] = k


@dataclass(frozen=True)
class Respec:
    """For each number of active requests the draft length of most tokens per second, or none.

    A solver, run once per RL step. What a draft length gains is known from history: the output
    tokens and draft tokens per forward that the drafter would have had with at most 0, 1, 2, 4, …
    32 draft tokens. What it costs comes from the latency model, for requests whose context is that
    of the average output token of history, and from the drafter's own forwards. So drafts begin
    when the batch has shrunk to where they pay, and grow longer towards the end.

    ReSpec measures both on the machine before training, over steps, top-k and tree sizes; its
    grid and tables are not known to us. Here sizes are draft tokens alone, profiles are
    history's and so follow the drafter as it drifts, and times are those the policy is told: the
    same live and simulated. Without history `cold` tokens are granted.
    """

    name: ClassVar[str] = "respec"
    source: ClassVar[str] = "ReSpec (NexSpec), arXiv 2510.26475: adaptive server, solver"
    rule: ClassVar[Any] = staticmethod(_rule)

    window: int = option(1, "history that is profiled, 0 is all of it", low=0, unit="RL steps")
    cold: int = option(
        0, "draft tokens per forward without history", low=0, high=128, unit="tokens"
    )

    @property
    def past_steps(self) -> int | None:
        """RL steps looked back on."""
        return self.window or None

    def plan(self, view: StepView) -> Plan:
        """Candidate lengths with their gains; the rule solves for each batch size it meets."""
        past = [p for p in view.past if self.window == 0 or p.rl_step >= view.rl_step - self.window]
        if past:
            candidates = speed_table(past, view.longest_draft)
        else:  # one candidate: nothing to choose
            candidates = np.array([[self.cold], [1.0], [self.cold]], float)
        context = float(view.prompt_len.mean()) if len(view.prompt_len) else 0.0
        head = [candidates.shape[1], context + _mean_position(past), *view.cost.array]
        solved = np.full(len(view.prompt) + 1, UNSOLVED)
        values = np.concatenate([head, candidates.ravel(), solved])
        return Plan(values, np.zeros((len(view.prompt), 1)))


def _mean_position(past: list[PastStep]) -> float:
    """Output tokens before the average output token of history."""
    lengths = np.concatenate([p.output_len for p in past] or [np.zeros(0)]).astype(float)
    return float((lengths**2).sum() / (2 * lengths.sum())) if len(lengths) else 0.0
