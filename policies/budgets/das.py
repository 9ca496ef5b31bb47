"""DAS: drafts for the rollouts that will be long, as many as shorten the makespan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, RULE_SIGNATURE, Plan
from ..compiled import jit
from ..handles import unpack
from ..lengths.classes import LONG, MEDIUM, SHORT, class_cuts, class_of, initial_classes
from ..registry import option
from ..view import PastStep, StepView
from .das_optimum import FORMS, fit_acceptance, optimal_budgets

INITIAL, GRANTED = range(2)  # columns of plan.request


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    # values: draft tokens per forward of the three classes, then, for each initial class, the
    # generated lengths from which the request counts as medium and as long; last, the batch size up
    # to which anything is granted.
    for j in range(batch.counts[DECODING]):
        i = batch.slots[j]
        initial = int(plan.request[i, INITIAL])
        generated = batch.generated[i]
        now = initial
        if generated >= plan.values[3 + 2 * initial]:
            now = max(now, MEDIUM)
        if generated >= plan.values[4 + 2 * initial]:
            now = LONG
        granted = plan.request[i, GRANTED]
        if batch.counts[DECODING] <= plan.values[9]:
            granted += plan.values[now]
        plan.request[i, GRANTED] = granted
        budget[i] = np.int32(min(max(granted - batch.drafted[i] + 1e-9, 0.0), 128.0))


@dataclass(frozen=True)
class Das:
    """Distribution-aware budgets: the optimum of DAS's cost model, by length class.

    Rollouts are short, medium or long by quantiles of the history's lengths. A request begins in
    the majority class of its prompt's earlier rollouts and moves up when, given the tokens it has
    generated, a longer class is the more likely one. For each class, acceptance efficiency alpha
    and capacity k are fitted to what the drafter would have had accepted in history; the optimum
    (das_optimum.py) over the last RL step's lengths gives lifetime totals p*, of which p*/N* is
    granted per forward; what a forward leaves unspent is kept. The paper publishes neither
    thresholds nor the spread: those are ours. With no history at all, `cold` tokens are granted
    per forward while at most c_base / c_tok requests decode: where a draft token with even odds
    pays for itself.
    """

    name: ClassVar[str] = "das"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 §4.2, eq. 1-9 and length classes"
    rule: ClassVar[Any] = staticmethod(_rule)

    form: str = option("corrected", "solution of eq. 6", choices=FORMS)
    short: float = option(
        0.5, "short up to this length: quantile of history, above 1 tokens", low=0.0
    )
    long: float = option(0.9, "long from this length: quantile of history, above 1 tokens", low=0.0)
    window: int = option(16, "history used, 0 is all of it", low=0, unit="RL steps")
    cold: float = option(
        8.0, "granted per forward without history", low=0.0, high=128.0, unit="tokens"
    )

    def __post_init__(self) -> None:
        if (self.short > 1) == (self.long > 1) and self.long < self.short:
            raise ValueError(f"long={self.long} is below short={self.short}")

    @property
    def past_steps(self) -> int | None:
        """RL steps looked back on."""
        return self.window or None

    def plan(self, view: StepView) -> Plan:
        """Classes, upgrade lengths and rates for this RL step."""
        past = [p for p in view.past if self.window == 0 or p.rl_step >= view.rl_step - self.window]
        request = np.zeros((len(view.prompt), 2))
        values = np.full(10, np.inf)
        if not past:
            base_s, token_s = _linear_cost(view)
            values[:3] = self.cold
            values[9] = base_s / token_s
            return Plan(values, request)
        length = np.concatenate([p.output_len for p in past])
        prompt = np.concatenate([p.prompt for p in past])
        cut = class_cuts(length, self.short, self.long)
        size = int(max(prompt.max(), view.prompt.max(initial=0))) + 1
        initial = initial_classes(prompt, class_of(length, cut), size)
        request[:, INITIAL] = initial[view.prompt]
        for start in (SHORT, MEDIUM, LONG):
            like = initial[prompt] == start
            values[3 + 2 * start : 5 + 2 * start] = upgrade_lengths(
                length[like] if like.any() else length, cut
            )
        values[:3] = self._rates(view, past, cut)
        return Plan(values, request)

    def _rates(self, view: StepView, past: list[PastStep], cut: np.ndarray) -> np.ndarray:
        """Draft tokens per forward of each class: the mean of p*/N* over the last step's
        members.
        """
        length = np.concatenate([p.output_len for p in past])
        walks = np.concatenate([p.profile.walks for p in past]).astype(float)
        everyone = fit_acceptance(*_curve(length, walks))
        if everyone[1] == 0:
            return np.zeros(3)
        kind = class_of(length, cut)
        fits = np.array(
            [
                fit_acceptance(*_curve(length[kind == c], walks[kind == c]))
                for c in (SHORT, MEDIUM, LONG)
            ]
        )
        fits[fits[:, 1] == 0] = everyone
        expected = past[-1].output_len.astype(float)
        kind = class_of(expected, cut)
        base_s, token_s = _linear_cost(view)
        forwards, totals = optimal_budgets(
            expected,
            fits[kind, 0],
            fits[kind, 1],
            base_s,
            token_s,
            self.form,
            weight=len(view.prompt) / len(expected),
        )
        rates = np.zeros(3)
        for c in (SHORT, MEDIUM, LONG):
            if (kind == c).any():
                rates[c] = totals[kind == c].mean() / max(forwards, 1.0)
            elif c > SHORT:  # nobody was that long lately: whoever is now gets no less than others
                rates[c] = rates[c - 1]
        return np.minimum(rates, view.longest_draft)


def _curve(length: np.ndarray, walks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drafted and accepted tokens per output token at each probed draft length (n pooled
    rollouts).
    """
    tokens = max(float(length.sum()), 1.0)
    return walks[:, :, 1].sum(0) / tokens, walks[:, :, 2].sum(0) / tokens


def upgrade_lengths(length: np.ndarray, cut: np.ndarray) -> tuple[float, float]:
    """Generated tokens from which MEDIUM, and LONG, is the likeliest class given that many tokens.

    length: final lengths of the rollouts with one initial class. P(c | l) = #(final in c, final >=
    l) / #(final >= l); ties, and lengths nobody reached, to the longer class. Only upward moves
    can occur: the shorter classes' counts fall first.
    """
    seen = np.sort(length)
    at = np.concatenate([[0], np.unique(seen) + 1])
    reach = len(seen) - np.searchsorted(seen, at)
    above_short = len(seen) - np.searchsorted(seen, np.maximum(at, np.floor(cut[0]) + 1))
    above_long = len(seen) - np.searchsorted(seen, np.maximum(at, np.ceil(cut[1])))
    counts = np.stack([above_long, above_short - above_long, reach - above_short])
    likeliest = 2 - counts.argmax(0)  # argmax takes the first: the longer class
    medium, long = (at[likeliest >= c] for c in (MEDIUM, LONG))
    return float(medium[0]), float(long[0])


def _linear_cost(view: StepView) -> tuple[float, float]:
    """(c_base, c_tok) of the line through the latency model where this batch will run."""
    n = len(view.prompt)
    tokens = np.unique(np.linspace(1, max(2 * n, 64), 32).astype(int))
    seconds = [view.forward_s(int(t), min(n, int(t))) for t in tokens]
    token_s, base_s = np.polyfit(tokens, seconds, 1)
    return max(float(base_s), 1e-12), max(float(token_s), 1e-15)
