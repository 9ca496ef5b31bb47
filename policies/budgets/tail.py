"""Drafts where they are expected to shorten the makespan, and nowhere else: docs/tail.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import (
    DECODING,
    MAX_DRAFT,
    NEXT_LONGEST,
    RULE_SIGNATURE,
    WAITING,
    Plan,
)
from ..compiled import jit
from ..confidence import chances_at_hand
from ..drafters.cost import free
from ..handles import unpack
from ..lengths.ahead import look_ahead
from ..lengths.choice import Foresight
from ..lengths.known import POOL, SCENES
from ..lengths.last import weigh
from ..registry import option
from ..view import StepView
from .depth import SIZE, depth_state, next_longest
from .outlook import held_tokens
from .pace import pace
from .speeds import speed_table

# plan.values: the options, what has been since the last look at who may be last, from SPEEDS on how
# fast drafts are (COUNT columns), and then what is known of lengths
REFRESH, SHARP, TRUST, MEAN, SINCE, LOOKED, TOGETHER, COUNT, COST = range(9)
DEPTH = COST + 4  # COST: drafters/cost.py
SPEEDS = DEPTH + SIZE
WEIGHT = -1  # column of plan.request behind what is known of the request's length; below 0: new
CLASSES = 128


@jit(inner=True)
def _class_of(gain_s):
    """Gains of a nanosecond and less are in class 0; every fourth class's are twice as much."""
    if gain_s <= 1e-9:
        return 0
    return min(np.int64(4.0 * np.log2(gain_s * 1e9)), CLASSES - 1)


@jit(inner=True)
def _choose(latency, params, n, kv, plain_s, gains_s, starts, slots, budget, left_s):
    """Grant the tokens that are expected to gain most, as many as leave most over what they cost.

    gains_s: of all tokens at hand, draft by draft from starts[j] on. left_s: by place, what was
    granted there leaves, is added.
    """
    sums_s, counts = np.zeros(CLASSES), np.zeros(CLASSES, np.int64)
    for gain_s in gains_s:
        which = _class_of(gain_s)
        sums_s[which] += gain_s
        counts[which] += 1
    best_s, price_s, best_class, best_count = 0.0, 0.0, CLASSES, 0
    drafted, total_s, step, alone = 0, 0.0, max(1, n // 8), kv // n
    for which in range(CLASSES - 1, -1, -1):
        done = 0
        while done < counts[which]:
            some = min(step, counts[which] - done)
            done += some
            drafted += some
            total_s += sums_s[which] * some / counts[which]
            longer_s = (
                latency(n + drafted, n, kv + drafted, kv + drafted * alone, 0, drafted, params)
                - plain_s
            )
            if total_s - longer_s > best_s:
                best_s, best_class, best_count = total_s - longer_s, which, done
                price_s = longer_s / drafted
    for j in range(n):
        granted = 0
        for gain_s in gains_s[starts[j] : starts[j + 1]]:
            which = _class_of(gain_s)
            if which < best_class or (which == best_class and best_count == 0):
                break
            best_count -= which == best_class
            left_s[granted] += gain_s - price_s
            granted += 1
        budget[slots[j]] = granted


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    n, slots, values, rows = batch.counts[DECODING], batch.slots, plan.values, plan.request
    generated = batch.generated

    # Who may be last? Looked up again now and then, and when many have gone.
    values[SINCE] += 1.0
    if values[SINCE] >= values[REFRESH] or abs(n - values[LOOKED]) * 8 > values[LOOKED]:
        values[SINCE], values[LOOKED] = 0.0, n
        left, weight = np.empty((n, SCENES)), np.empty(n)
        known = values[SPEEDS + 3 * int(values[COUNT]) :]
        look_ahead(known, rows, slots, n, generated, batch.cap, batch.group, batch.ended, left)
        longest, values[TOGETHER] = weigh(left, n, values[SHARP], weight)
        # While others wait, whoever ends lets somebody begin, and all count alike.
        waiting = min(1.0, batch.counts[WAITING] * values[MEAN] / (n * longest))
        trust = values[TRUST] * (1.0 - waiting)
        for j in range(n):
            rows[slots[j], WEIGHT] = trust * weight[j] + (1.0 - trust) / n

    # What is an accepted token worth? A forward less for those who end last, and, of everybody's
    # forwards, a request less in one.
    cost, kv = values[COST:DEPTH], held_tokens(slots, n, batch.prompt_len, generated)
    alone, more, m = kv // n, max(1, n // 4), min(n, max(1, round(values[TOGETHER])))
    plain_s = latency(n, n, kv, kv, 0, 0, params)
    token_s = (latency(n + more, n, kv, kv, 0, 0, params) - plain_s) / more
    table = values[SPEEDS : SPEEDS + 3 * int(values[COUNT])].reshape(3, -1)
    last_s, speed, wish = pace(latency, params, cost, table, m, alone)
    common_s = token_s
    if n > m and not free(cost):  # what is not accepted is as much of everybody's drafts
        now_s, _, wish = pace(latency, params, cost, table, n, alone)
        common_s = max((now_s - last_s) / (n - m), token_s)
    elif n > 1:
        rest = kv - alone
        carry_s = plain_s - token_s - latency(n - 1, n - 1, rest, rest, 0, 0, params)
        common_s += max(carry_s, 0.0) / speed
    last_s = max(last_s - m * common_s, 0.0)

    # What is not drafted now will be next time: where much is accepted, that is soon.
    starts = np.empty(n + 1, np.int64)
    gains_s = chances_at_hand(batch, MAX_DRAFT, starts)
    usual = 1.0 + gains_s.sum() / n
    for j in range(n):
        i, mine = slots[j], gains_s[starts[j] : starts[j + 1]]
        weight_now = rows[i, WEIGHT] if rows[i, WEIGHT] >= 0.0 else 1.0 / n  # it has just come
        soon = np.sqrt(usual / (1.0 + mine.sum()))
        mine *= token_s + (weight_now * last_s + common_s - token_s) * soon
    left_s = np.zeros(MAX_DRAFT)
    _choose(latency, params, n, kv, plain_s, gains_s, starts, slots, budget, left_s)
    made = np.diff(starts).max()
    longest = next_longest(values[DEPTH:SPEEDS], cost, left_s, made, n, plain_s)
    batch.counts[NEXT_LONGEST] = max(longest, wish)


@dataclass(frozen=True)
class Tail(Foresight):
    """The drafts expected to take most off the makespan, over what they add to the forward.

    An accepted token saves its request a part of a forward, which shortens the makespan if that
    request turns out to be the last one; it saves every forward that the request is carried along;
    and it need not be processed later. All tokens at hand compete by chance times worth, and as
    many of the best are verified as leave most, by the latency model told. (By then they are all
    made: what making them took is gone. With a drafter that is a model, the next ones are made as
    long as leaves most, with a whole one now and then to see.) Who may be last follows from what is
    foreseen of lengths: by default from the prompt's earlier rollouts, finished siblings, and how
    far each has got. While requests wait, everybody counts the same: a seat less is a seat for the
    next. docs/tail.md derives it.
    """

    name: ClassVar[str] = "tail"
    source: ClassVar[str] = "longtail's own: docs/tail.md"
    rule: ClassVar[Any] = staticmethod(_rule)
    sees_drafts: ClassVar[bool] = True
    past_steps: ClassVar[int | None] = 16

    refresh: int = option(16, "between two looks at who may be last", low=1, unit="forwards")
    sharp: float = option(16.0, "how much more the longest count than the shorter", low=0.0)
    trust: float = option(
        0.7, "in what is known of lengths; 0: everybody is as likely to be last", low=0.0, high=1.0
    )

    def plan(self, view: StepView) -> Plan:
        """What is known of lengths."""
        known = self.predictor.plan(view)
        pool, speeds = known.values[POOL:], speed_table(view.past[-1:], view.longest_draft)
        head = np.zeros(SPEEDS)
        head[[REFRESH, SHARP, TRUST]] = self.refresh, self.sharp, self.trust
        head[COUNT], head[TOGETHER] = speeds.shape[1], 1.0
        head[MEAN] = pool.mean() if len(pool) else 0.0
        head[COST:DEPTH], head[DEPTH:SPEEDS] = view.cost.array, depth_state()
        weight = np.full((len(known.request), 1), -1.0)
        return Plan(
            np.concatenate([head, speeds.ravel(), known.values]), np.hstack([known.request, weight])
        )
