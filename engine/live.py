"""A policy at work in an engine: the simulator's objects, forward by forward.

In: requests that arrive, gain tokens and leave. Out: drafts, cut to what the budget grants. It
knows no vLLM, and it never fails: a drafter or budget that raises, or returns what cannot be
verified, costs drafts and nothing else. Every fault is counted, and the first of a kind is logged.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from ..policies.batch import (
    DECODING,
    KV_TOKENS,
    MAX_DRAFT,
    NEXT_LONGEST,
    NO_CAP,
    PREFILLING,
    WAITING,
    Batch,
    Plan,
    read_only,
)
from ..policies.components import sees_drafts
from ..policies.drafters.cost import cost_of
from ..policies.drafters.live import UNKNOWN
from ..policies.handles import pack
from ..policies.latency import bound
from ..policies.view import StepView
from ..traces.rollouts import Rollouts
from ..traces.store import Trace
from .history import History
from .seats import Numbers, Request, Seats
from .settings import LiveSettings
from .sound import NO_LABELS, all_sound, labels_of, sound

logger = logging.getLogger(__name__)

NO_OVERRIDE = -1
LAST_STEP = 2**31 - 1  # traces and step logs keep RL steps as int32


class LivePolicy:
    """Drafter, budget and their memory of one engine; request ids are any hashables."""

    def __init__(
        self,
        settings: LiveSettings,
        vocab_size: int,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        self.settings, self._vocab_size, self._warn = settings, vocab_size, warn
        self.k = settings.k
        self._told = bound(settings.latency, settings.drafter)
        self._params = np.ascontiguousarray(self._told.params, np.float64)
        self._sees = sees_drafts(settings.budget)
        self.rl_step = 0
        self.faults: Counter[str] = Counter()
        self._drafter = settings.drafter.live()
        looks_back = settings.budget.past_steps if self.k else 0
        self._history = (
            None if looks_back == 0 else History(settings.drafter, looks_back, labels=self._sees)
        )
        self._requests: dict[Hashable, Request] = {}
        self._arrived = 0
        self._seats = Seats()
        self._budget = np.zeros(0, np.int32)
        self._override = np.zeros(0, np.int32)
        self._plan: Plan | None = None
        self._planned = 0  # requests present at the largest plan of this RL step
        self._unplanned: list[Request] = []
        self._known: dict[str, str] = {}  # digest of a prompt's tokens -> its id in a loaded trace

    def load(self, *traces: Trace, rl_steps: Collection[int] | None = None) -> None:
        """Learn from the traces' rollouts, of all RL steps or of those given that they have; they
        become history when the next RL step starts. Raises TraceError for a lengths-only trace.
        """
        for trace in traces:
            trace.require_tokens()
        wanted = sorted(
            (rl_step, which)
            for which, trace in enumerate(traces)
            for rl_step in trace.rl_steps
            if rl_steps is None or rl_step in rl_steps
        )
        depends, begun = self.settings.drafter.history_steps, -1
        for which, run in groupby(wanted, key=itemgetter(1)):
            for step in traces[which].iter_steps(rl_steps=[rl_step for rl_step, _ in run]):
                learnt = depends is None or step.rl_step > wanted[-1][0] - depends
                if learnt and step.rl_step > begun:
                    begun = step.rl_step
                    self._guard("start_step", self._drafter.start_step, begun)
                self._learn(step, traces[which].prompt_ids, learnt)
                self.rl_step = max(self.rl_step, step.rl_step)

    def _learn(self, step: Rollouts, prompt_ids: Sequence[str], by_drafter: bool) -> None:
        """What an RL step wrote enters the history, and the drafter's own if it wants it."""
        assert step.prompt_tokens is not None and step.prompt_offsets is not None
        assert step.output_tokens is not None and step.output_offsets is not None
        for i in range(len(step)):
            prompt = step.prompt_tokens[step.prompt_offsets[i] : step.prompt_offsets[i + 1]]
            output = step.output_tokens[step.output_offsets[i] : step.output_offsets[i + 1]]
            prompt_id = prompt_ids[step.prompt[i]]
            self._known[_digest(prompt)] = prompt_id
            if by_drafter:
                self._guard("learn", self._drafter.learn, prompt_id, output, float(step.reward[i]))
            if self._history:
                reward = float(step.reward[i])
                self._history.add(step.rl_step, self._arrived, prompt_id, prompt, output, reward)
            self._arrived += 1

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished so far becomes history. Never backwards."""
        if rl_step == self.rl_step:
            return  # said again
        if not self.rl_step < rl_step <= LAST_STEP:
            self.fault("step", f"RL step {rl_step} after {self.rl_step}: ignored")
            return
        self.rl_step = rl_step
        self._guard("start_step", self._drafter.start_step, rl_step)
        if self._history:
            self._guard("history", self._history.close, rl_step)
        self._plan, self._planned = None, 0
        self._unplanned = list(self._requests.values())
        self._seats.forget()
        self._seats.batch.counts[NEXT_LONGEST] = MAX_DRAFT

    def arrive(
        self,
        request_id: Hashable,
        prompt: Sequence[int],
        *,
        cap: int = int(NO_CAP),
        prompt_id: Hashable | None = None,
        budget: int | None = None,
        reward: float = UNKNOWN,
    ) -> Request:
        """A request was submitted: its prompt, its limit of output tokens, and optionally the
        prompt's name (its tokens otherwise), a number of draft tokens that overrides the budget,
        and what it will earn (in a replay).
        """
        tokens = np.array(prompt, np.int32)
        if prompt_id is None:
            digest = _digest(tokens)
            prompt_id = self._known.get(digest, digest)
        if self._seats.full:
            self._grow()
        seat = self._seats.take(prompt_id, len(tokens), cap)
        request = Request(self._arrived, seat, prompt_id, tokens)
        self._arrived += 1
        request.reward = reward
        self._requests[request_id] = request
        self._override[seat] = NO_OVERRIDE if budget is None else min(max(budget, 0), self.k)
        self._unplanned.append(request)
        return request

    def propose(
        self, decoding: Sequence[Hashable], waiting: int, prefilling: int, kv_tokens: int
    ) -> list[list[int]]:
        """One draft per decoding request, in the engine's order, for the coming forward.

        waiting, prefilling: numbers of requests; kv_tokens: tokens of all running ones.
        """
        if self.k == 0:
            return [[] for _ in decoding]
        if self._unplanned and not self._guard("plan", self._make_plan):
            self._plan = None  # who came has no row yet; nobody drafts until a plan succeeds
        drafts: list[list[int]] = [[] for _ in decoding]
        if not decoding or self._plan is None:
            return drafts
        requests = [self._requests[request_id] for request_id in decoding]
        batch, n = self._seats.batch, len(requests)
        seats = np.fromiter((r.seat for r in requests), np.int32, n)
        batch.slots[:n] = seats
        counts = batch.counts
        counts[DECODING], counts[WAITING] = n, waiting
        counts[PREFILLING], counts[KV_TOKENS] = prefilling, kv_tokens
        room = np.minimum(batch.cap[seats] - batch.generated[seats] - 1, self.k).clip(0)
        if self._sees:
            room = np.minimum(room, counts[NEXT_LONGEST])
            made = self._drafts(decoding, requests, room)
            batch = self._offer(seats, made, room)
        if not self._guard("rule", self._ask, batch):
            return drafts
        granted = np.where(self._override[seats] < 0, self._budget[seats], self._override[seats])
        limit = np.minimum(granted, room).clip(0)
        if not self._sees:
            made = self._drafts(decoding, requests, limit)
        return [draft[:most] for (draft, _), most in zip(made, limit.tolist(), strict=True)]

    def _ask(self, batch: Batch) -> None:
        """Let the rule fill `_budget`."""
        assert self._plan is not None
        handles = pack(batch, self._plan, self._budget)
        self.settings.budget.rule(handles, self._told.seconds, self._params)

    def _drafts(
        self, decoding: Sequence[Hashable], requests: list[Request], limit: np.ndarray
    ) -> list[tuple[list[int], np.ndarray]]:
        """Each request's draft with its labels, where `limit` leaves room for any."""
        # A drafter that judges its own drafts is asked as in the simulator: for everybody.
        asks_all = getattr(self.settings.drafter, "judges", False)
        wanted = [
            j
            for j, r in enumerate(requests)
            if (limit[j] > 0 or asks_all) and r.begun and not r.lost
        ]
        drafts: list[tuple[list[int], np.ndarray]] = [([], NO_LABELS)] * len(requests)
        made = self._draft([decoding[j] for j in wanted], [requests[j] for j in wanted])
        for j, draft in zip(wanted, made, strict=True):
            drafts[j] = draft
        return drafts

    def _offer(
        self, seats: np.ndarray, made: list[tuple[list[int], np.ndarray]], room: np.ndarray
    ) -> Batch:
        """Show the rule the drafts at hand."""
        labels = np.zeros((len(made), self.k), np.uint8)
        for row, (_, known) in zip(labels, made, strict=True):
            row[: len(known)] = known[: self.k]
        batch = self._seats.batch
        batch.offered[seats] = np.minimum([len(draft) for draft, _ in made], room)
        batch.labels_at[seats] = np.arange(len(made)) * self.k
        return batch._replace(labels=read_only(labels.ravel()))

    def ran(self, *last: int) -> None:
        """What the last forward was, as `Batch.last` has it."""
        self._seats.batch.last[:] = last

    def gained(
        self,
        request_ids: Sequence[Hashable],
        tokens: Sequence[list[int]],
        drafted: Sequence[int],
        accepted: Sequence[int],
    ) -> None:
        """What the last forward gave: per request its new tokens, and its verified drafts."""
        requests = [self._requests[request_id] for request_id in request_ids]
        n, batch = len(requests), self._seats.batch
        seats = np.fromiter((r.seat for r in requests), np.int32, n)
        gain = np.fromiter(map(len, tokens), np.int32, n)
        batch.generated[seats] += gain
        batch.forwards[seats] += gain > 0
        batch.drafted[seats] += np.array(drafted, np.int32)
        batch.accepted[seats] += np.array(accepted, np.int32)
        if self.k == 0:
            return
        for request_id, request in zip(request_ids, requests, strict=True):
            if not request.begun and not request.lost:
                request.begun = self._guard(
                    "begin", self._drafter.begin, request_id, request.prompt_id, request.prompt
                )
                request.lost = not request.begun
        if any(r.lost for r in requests):
            alive = [j for j, r in enumerate(requests) if not r.lost]
            request_ids, tokens = [request_ids[j] for j in alive], [tokens[j] for j in alive]
        if request_ids and not self._guard("extend", self._drafter.extend, request_ids, tokens):
            for request_id in request_ids:  # how far it got is not known
                self._requests[request_id].lost = True

    def leave(self, request_id: Hashable, output: Sequence[int], *, learn: bool = True) -> Request:
        """The request is over, with everything it wrote; `learn`: it is history from the next RL
        step on (an aborted one is not).
        """
        request = self._requests.pop(request_id)
        self._seats.leave(request.seat, len(output) if learn else 0)
        if request in self._unplanned:
            self._unplanned.remove(request)
        if request.begun:
            learnt = learn and not request.lost
            self._guard("finish", self._drafter.finish, request_id, learnt, request.reward)
        if learn and self._history and len(output):
            tokens = np.array(output, np.int32)
            self._history.add(
                self.rl_step,
                request.order,
                request.prompt_id,
                request.prompt,
                tokens,
                request.reward,
            )
        return request

    def counts(self, request: Request) -> tuple[int, int, int]:
        """Forwards that gave it tokens, draft tokens verified, and accepted, so far."""
        batch, seat = self._seats.batch, request.seat
        return int(batch.forwards[seat]), int(batch.drafted[seat]), int(batch.accepted[seat])

    def _make_plan(self) -> None:
        """Ask the budget for its plan for everybody who is here.

        A request keeps what the rule has written to its row, and the values of the largest plan
        of this RL step stay: they are for the step, not for who is left of it.
        """
        new = {r.seat for r in self._unplanned}
        self._unplanned = []
        present = sorted(self._requests.values(), key=lambda r: r.order)
        seats = np.array([r.seat for r in present])
        number = self._history.number if self._history else Numbers().number
        view = StepView(
            rl_step=self.rl_step,
            prompt=np.array([number(r.prompt_id) for r in present], np.int32),
            prompt_len=self._seats.batch.prompt_len[seats],
            cap=self._seats.batch.cap[seats],
            longest_draft=self.k,
            past=self._history.past if self._history else (),
            forward_s=self._forward_s,
            prior=self.settings.drafter.prior() if self._sees else None,
            cost=cost_of(self.settings.drafter),
        )
        plan = self.settings.budget.plan(view)
        rows = np.zeros((len(self._budget), plan.request.shape[1]))
        old = self._plan
        if self._sees:
            self._seats.batch.chances[:] = view.chances
        if old is not None:
            rows[: len(old.request)] = old.request
        fresh = np.array([seat in new or old is None for seat in seats.tolist()])
        rows[seats[fresh]] = plan.request[fresh]
        grown = old is None or len(present) > self._planned
        self._planned = max(self._planned, len(present))
        self._plan = Plan(plan.values if grown or old is None else old.values, rows)

    def _forward_s(self, tokens: int, requests: int) -> float:
        latency = self._told
        return float(latency.seconds(tokens, requests, 0, 0, 0, 0, latency.params))

    def _draft(
        self, ids: list[Hashable], requests: list[Request]
    ) -> list[tuple[list[int], np.ndarray]]:
        """Drafts that can be verified, whole numbers of the vocabulary, at most K of them, and
        their labels.
        """
        if not ids:
            return []
        try:
            answer = self._drafter.draft(ids)
            drafts = list(answer)
            if len(drafts) != len(ids):
                raise ValueError(f"{len(drafts)} drafts for {len(ids)} requests")
        except Exception as error:
            self.fault("draft", repr(error))
            if len(ids) == 1:
                requests[0].lost = True
                return [([], NO_LABELS)]
            return [
                draft for i, r in zip(ids, requests, strict=True) for draft in self._draft([i], [r])
            ]
        labels, longest = labels_of(answer, len(drafts)), self.settings.drafter.longest_draft
        if all_sound(drafts, longest, self._vocab_size):
            return [(d.tolist(), row) for d, row in zip(drafts, labels, strict=True)]
        made = []
        for draft, request, row in zip(drafts, requests, labels, strict=True):
            try:
                made.append((sound(draft, longest, self._vocab_size, self.fault), row))
            except Exception as error:
                self.fault("draft", repr(error))
                request.lost = True
                made.append(([], NO_LABELS))
        return made

    def _guard(self, kind: str, call: Callable[..., Any], *args: Any) -> bool:
        """Whether the call went through."""
        try:
            call(*args)
        except Exception as error:
            self.fault(kind, repr(error))
            return False
        return True

    def fault(self, kind: str, what: str) -> None:
        """Count a fault; the first of its kind is told."""
        self.faults[kind] += 1
        if self.faults[kind] == 1:
            self._warn(f"longtail: {kind}: {what} (the engine goes on; said once)")

    def _grow(self) -> None:
        """More seats; what is in the old ones stays."""
        self._seats.grow()
        size = len(self._seats)
        self._budget = np.resize(self._budget, size)
        self._override = np.resize(self._override, size)
        if self._plan is not None:
            rows = np.zeros((size, self._plan.request.shape[1]))
            rows[: len(self._plan.request)] = self._plan.request
            self._plan = Plan(self._plan.values, rows)


def _digest(prompt: np.ndarray) -> str:
    """A prompt's name where it has none: a digest of its tokens."""
    return hashlib.blake2b(prompt.astype("<i4").tobytes(), digest_size=12).hexdigest()
