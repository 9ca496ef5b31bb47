"""A drafter and a budget that do as they are told, and a policy of them at work."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from longtail.engine.live import LivePolicy
from longtail.engine.settings import LiveSettings
from longtail.policies.batch import COUNTS, DECODING, LABELS, LASTS, Batch, Plan
from longtail.policies.view import StepView

VOCAB = 100
DRAFT = [7, 8, 9]


class FakeDrafter:
    """Drafts the same for everybody, or what `made` makes of the requests; raises in `bad`."""

    name = "fake"
    longest_draft = 4
    history_steps = 0

    def __init__(self, made: Callable[[Sequence[Any]], Any] | None = None, bad: str = "") -> None:
        self.made, self.bad = made, bad
        self.asked: list[Any] = []
        self.texts: dict[Any, list[int]] = {}
        self.learnt: list[tuple[Any, list[int]]] = []
        self.steps: list[int] = []

    def live(self) -> FakeDrafter:
        return self

    def check(self, method: str) -> None:
        if method == self.bad:
            raise RuntimeError(f"{method} is broken")

    def start_step(self, rl_step: int) -> None:
        self.check("start_step")
        self.steps.append(rl_step)

    def begin(self, request: Any, prompt_id: Any, prompt: Any) -> None:
        self.check("begin")
        self.texts[request] = [*prompt]

    def extend(self, requests: Sequence[Any], tokens: Sequence[Any]) -> None:
        self.check("extend")
        for request, new in zip(requests, tokens, strict=True):
            self.texts[request] += new

    def draft(self, requests: Sequence[Any]) -> Any:
        self.check("draft")
        self.asked += requests
        return self.made(requests) if self.made else [np.array(DRAFT, np.int32) for _ in requests]

    def finish(self, request: Any, learn: bool = True, reward: float = math.nan) -> None:
        self.check("finish")
        text = self.texts.pop(request)
        if learn:
            self.learnt.append((request, text))

    def learn(self, prompt_id: Any, output: Any, reward: float = math.nan) -> None:
        self.check("learn")
        self.learnt.append((prompt_id, [*output]))

    def profile(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("profile is broken")


def opened(handles: np.ndarray) -> tuple[Batch, Plan, np.ndarray]:
    """What a compiled rule unpacks, for rules in Python."""
    n, values, columns, labels = handles[:4].tolist()
    kinds = [(np.int32, (n,))] * 10 + [(np.int64, (n,)), (np.uint8, (labels,))]
    kinds += [(np.float64, (LABELS,)), (np.int64, (LASTS,)), (np.int64, (COUNTS,))]
    kinds += [(np.float64, (values,)), (np.float64, (n, columns)), (np.int32, (n,))]
    arrays = []
    for (kind, shape), address in zip(kinds, handles[4:].tolist(), strict=True):
        size = math.prod(shape) * np.dtype(kind).itemsize
        held = (ctypes.c_char * size).from_address(address)
        arrays.append(np.frombuffer(held, kind).reshape(shape))
    return Batch(*arrays[:15]), Plan(*arrays[15:17]), arrays[17]


class FakeBudget:
    """Grants `grant` to everybody, or what it is told; raises in `bad`."""

    name = "fake"
    past_steps: int | None = 0

    def __init__(self, grant: int = 4, bad: str = "", past_steps: int | None = 0) -> None:
        self.grant, self.bad, self.past_steps = grant, bad, past_steps
        self.views: list[StepView] = []

    def plan(self, view: StepView) -> Plan:
        self.views.append(view)
        if self.bad == "plan":
            raise RuntimeError("plan is broken")
        rows = len(view.prompt) - (self.bad == "rows")
        return Plan(np.zeros(1), np.zeros((rows, 1)))

    def rule(self, handles: np.ndarray, latency: Any, params: np.ndarray) -> None:
        if self.bad == "rule":
            raise RuntimeError("rule is broken")
        self.answer(*opened(handles))

    def answer(self, batch: Batch, plan: Plan, budget: np.ndarray) -> None:
        budget[batch.slots[: batch.counts[DECODING]]] = self.grant


class CountingBudget(FakeBudget):
    """Grants as many tokens as it was asked for the request before; notes it in the plan's row."""

    def answer(self, batch: Batch, plan: Plan, budget: np.ndarray) -> None:
        slots = batch.slots[: batch.counts[DECODING]]
        budget[slots] = plan.request[slots, 0]
        plan.request[slots, 0] += 1


class Bench:
    """A policy, what it warned of, and forwards in which every draft is rejected."""

    def __init__(self, drafter: Any = None, budget: Any = "unlimited", **more: Any) -> None:
        self.drafter = drafter or FakeDrafter()
        self.warnings: list[str] = []
        self.policy = LivePolicy(
            LiveSettings(self.drafter, budget, **more), VOCAB, self.warnings.append
        )
        self.running: list[Any] = []

    def arrive(self, *names: Any, **more: Any) -> None:
        for name in names:
            self.policy.arrive(name, [1, 2], **more)
            self.running.append(name)

    def forward(self, token: int = 5) -> dict[Any, list[int]]:
        """The drafts of a forward that then gives one token to everybody."""
        drafts = self.policy.propose(self.running, waiting=0, prefilling=0, kv_tokens=0)
        sizes = [len(draft) for draft in drafts]
        self.policy.gained(
            self.running, [[token] for _ in self.running], sizes, [0 for _ in self.running]
        )
        return dict(zip(self.running, drafts, strict=True))

    def prefill(self, *names: Any, **more: Any) -> None:
        """Requests arrive and get their first token."""
        self.arrive(*names, **more)
        self.policy.propose([], waiting=len(names), prefilling=0, kv_tokens=0)
        self.policy.gained(names, [[5] for _ in names], [0 for _ in names], [0 for _ in names])

    def leave(self, name: Any, output: Sequence[int] = (5,), **more: Any) -> None:
        self.running.remove(name)
        self.policy.leave(name, output, **more)

    @property
    def faults(self) -> dict[str, int]:
        return dict(self.policy.faults)
