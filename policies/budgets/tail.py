"""Drafts where they are expected to shorten the makespan, and nowhere else: docs/tail.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..batch import DECODING, KV_TOKENS, RULE_SIGNATURE, TREES, WAITING, Plan
from ..compiled import jit
from ..handles import unpack
from ..lengths import OWN, SCENES, known_lengths, left_quantiles
from ..profile import PROBES
from ..registry import option
from ..view import StepView

# plan.values: the options, what has been since the last look at who may be last, what drafting
# costs, and from POOL on everybody's lengths
(REFRESH, SHARP, TRUST, GENERAL, SPREAD, MEAN, SINCE, LOOKED, ONCE_S, STEP_S, MOST_STEPS, TOKEN_S,
 SPEED, POOL) = range(14)  # fmt: skip
WEIGHT = 1 + OWN  # column of plan.request behind the prompt's lengths
CLASSES = 128


@jit(inner=True)
def _class_of(gain_s):
    """Gains of a nanosecond and less are in class 0; every fourth class's are twice as much."""
    if gain_s <= 1e-9:
        return 0
    return min(np.int64(4.0 * np.log2(gain_s * 1e9)), CLASSES - 1)


@jit(inner=True)
def _draw(j, s):
    """Which of its quantiles the j-th request has in scene s: each once, as if independently."""
    hashed = np.uint32(j) * np.uint32(2654435761)
    return np.int64((np.uint32(s) * ((hashed >> 7) | 1) + (hashed >> 16)) % SCENES)


@jit(inner=True)
def _weigh(left, n, sharp, weight):
    """weight[j]: how likely the j-th request is to be the last one, or near it.

    left: float64[n, SCENES]. Returns how long the longest is expected to take.
    """
    weight[:n] = 0.0
    expected = 0.0
    share = np.empty(n)
    for s in range(SCENES):
        longest, total = 1.0, 0.0
        for j in range(n):
            longest = max(longest, left[j, _draw(j, s)])
        for j in range(n):
            share[j] = np.exp(sharp * (left[j, _draw(j, s)] / longest - 1.0))
            total += share[j]
        for j in range(n):
            weight[j] += share[j] / (total * SCENES)
        expected += longest / SCENES
    return expected


@jit(RULE_SIGNATURE)
def _rule(handles, latency, params):
    batch, plan, budget = unpack(handles)
    n, slots, values, rows = batch.counts[DECODING], batch.slots, plan.values, plan.request
    generated, group, ended = batch.generated, batch.group, batch.ended

    # Who may be last? Looked up again now and then, and when many have gone.
    values[SINCE] += 1.0
    if values[SINCE] >= values[REFRESH] or abs(n - values[LOOKED]) * 8 > values[LOOKED]:
        values[SINCE], values[LOOKED] = 0.0, n
        left, weight, siblings = np.empty((n, SCENES)), np.empty(n), np.empty(len(ended))
        pool = values[POOL:]
        for j in range(n):
            i, count = slots[j], 0
            for k in range(len(ended)):
                if ended[k] > 0 and group[k] == group[i]:
                    siblings[count] = ended[k]
                    count += 1
            own = rows[i, 1 : 1 + np.int64(rows[i, 0])]
            left_quantiles(
                own, siblings[:count], pool, generated[i], batch.cap[i], values[GENERAL],
                values[SPREAD], left[j],
            )  # fmt: skip
        longest = _weigh(left, n, values[SHARP], weight)
        # While others wait, whoever ends lets somebody begin, and all count alike.
        waiting = min(1.0, batch.counts[WAITING] * values[MEAN] / (n * longest))
        trust = values[TRUST] * (1.0 - waiting)
        for j in range(n):
            rows[slots[j], WEIGHT] = trust * weight[j] + (1.0 - trust) / n

    # What is an accepted token worth? A forward less for the last one, a request less in a forward,
    # and a token less.
    kv = batch.counts[KV_TOKENS]
    alone, more, speed = kv // n, max(1, n // 4), values[SPEED]
    plain_s = latency(n, n, kv, kv, 0, 0, params)
    token_s = (latency(n + more, n, kv, kv, 0, 0, params) - plain_s) / more
    last_s = max(latency(1, 1, alone, alone, 0, 0, params) - token_s, 0.0) / speed
    carry_s = 0.0
    if n > 1:
        rest = kv - alone
        carry_s = max(plain_s - token_s - latency(n - 1, n - 1, rest, rest, 0, 0, params), 0.0)
    common_s = carry_s / speed + token_s

    # All tokens at hand by what they are expected to gain, in classes.
    trees, labels, chances = batch.counts[TREES] != 0, batch.labels, batch.chances
    offered, labels_at = batch.offered, batch.labels_at
    gains_s, counts, each_s = np.zeros(CLASSES), np.zeros(CLASSES, np.int64), np.empty(n)
    for j in range(n):
        i, chance = slots[j], 1.0
        weight_now = rows[i, WEIGHT] if rows[i, WEIGHT] > 0.0 else 1.0 / n  # it has just come
        each_s[j] = weight_now * last_s + common_s
        for d in range(offered[i]):
            own_chance = chances[labels[labels_at[i] + d]]
            chance = own_chance if trees else chance * own_chance
            which = _class_of(chance * each_s[j])
            gains_s[which] += chance * each_s[j]
            counts[which] += 1

    # The best ones, as many as leave most over what they cost.
    best_s, best_class, best_count = 0.0, CLASSES, 0
    drafted, gain_s, step = 0, 0.0, max(1, n // 8)
    for which in range(CLASSES - 1, -1, -1):
        done = 0
        while done < counts[which]:
            some = min(step, counts[which] - done)
            done += some
            drafted += some
            gain_s += gains_s[which] * some / counts[which]
            longer_s = (
                latency(n + drafted, n, kv + drafted, kv + drafted * alone, 0, drafted, params)
                - plain_s
            )
            left_s = gain_s - longer_s - drafted * values[TOKEN_S]
            if left_s > best_s:
                best_s, best_class, best_count = left_s, which, done
    deepest = 0
    for j in range(n):
        i, chance, d = slots[j], 1.0, 0
        while d < offered[i]:
            own_chance = chances[labels[labels_at[i] + d]]
            chance = own_chance if trees else chance * own_chance
            which = _class_of(chance * each_s[j])
            if which < best_class or (which == best_class and best_count == 0):
                break
            best_count -= which == best_class
            d += 1
        budget[i] = d
        deepest = max(deepest, d)
    once_s = values[ONCE_S] + values[STEP_S] * min(float(deepest), values[MOST_STEPS])
    if best_s <= once_s:  # not worth the drafter's own forwards
        for j in range(n):
            budget[slots[j]] = 0


def _speed(view: StepView) -> float:
    """Tokens per forward of the last RL step's rollouts had they been alone, their drafts whole."""
    if not view.past:
        return 1.0
    last = view.past[-1]
    whole = int(np.searchsorted(PROBES, min(view.longest_draft, PROBES[-1])))
    forwards = int(last.profile.walks[:, whole, 0].sum())
    return float(last.output_len.sum()) / max(forwards, 1)


@dataclass(frozen=True)
class Tail:
    """The drafts expected to take most off the makespan, over what they add to the forward.

    An accepted token saves its request a part of a forward, which shortens the makespan if that
    request turns out to be the last one; it saves every forward that the request is carried along;
    and it need not be processed later. All tokens at hand compete by chance times worth, and as
    many of the best are drafted as leave most, by the latency model told. Who may be last follows
    from what is known of lengths: the prompt's earlier rollouts, finished siblings, how far each
    has got (policies/lengths.py). While requests wait, everybody counts the same: a seat less is a
    seat for the next. docs/tail.md derives it.
    """

    name: ClassVar[str] = "tail"
    source: ClassVar[str] = "longtail's own: docs/tail.md"
    rule: ClassVar[Any] = staticmethod(_rule)
    sees_drafts: ClassVar[bool] = True
    past_steps: ClassVar[int | None] = 16

    refresh: int = option(16, "between two looks at who may be last", low=1, unit="forwards")
    sharp: float = option(8.0, "how much more the longest count than the shorter", low=0.0)
    trust: float = option(
        0.7, "in what is known of lengths; 0: everybody is as likely to be last", low=0.0, high=1.0
    )
    general: float = option(
        0.85, "weight of everybody's lengths beside the prompt's own", low=0.0, high=0.99
    )
    spread: float = option(1.0, "of lengths around known ones, standard deviation of log", low=0.0)

    def plan(self, view: StepView) -> Plan:
        """What is known of lengths."""
        own, pool = known_lengths(view)
        cost = view.cost
        head = np.zeros(POOL)
        head[[REFRESH, SHARP, TRUST]] = self.refresh, self.sharp, self.trust
        head[[GENERAL, SPREAD]] = self.general, self.spread
        head[SPEED] = _speed(view)
        head[MEAN] = pool.mean() if len(pool) else 0.0
        head[[ONCE_S, STEP_S, MOST_STEPS, TOKEN_S]] = cost.array
        return Plan(np.concatenate([head, pool]), np.hstack([own, np.zeros((len(own), 1))]))
