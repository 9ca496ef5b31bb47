"""One engine's run as longtail sees it: the policy, and what is kept of the run.

Between vLLM's scheduler (`engine/scheduler.py`) and the policy (`engine/live.py`): it knows RL
steps, request arguments, the step log and the recorder, but imports no vLLM.

Request arguments (`SamplingParams(extra_args=…)`, over HTTP `vllm_xargs`), all optional:
`longtail_prompt_id` the prompt's name, `longtail_rl_step` the RL step it belongs to,
`longtail_sample` which of the prompt's rollouts it is, `longtail_budget` draft tokens per forward
in place of the budget's, `longtail_cap` the token limit that the policy is told, `longtail_reward`
what the rollout will earn, where that is known before (in a replay).

Where nobody says which RL step it is, one begins when a request comes after everybody was done, if
its prompt was among them or they were at least `BATCH`; and after `ENOUGH` rollouts in any case, so
that a server's history grows, too, and its memory does not.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..policies.drafters.live import UNKNOWN
from ..traces.schema import TraceMeta
from .live import LAST_STEP, LivePolicy
from .recorder import Recorder, Samples
from .seats import Request
from .settings import LiveSettings
from .step_log import StepLog
from .warm_up import warm_up

BATCH, ENOUGH = 16, 4096  # rollouts
KNOWN_STEPS = 64  # a rollout may come that much later than its RL step and still be numbered well
IDLE_S = 2.0  # between two writings when the engine has nothing left to do
POLL_S = 0.1  # between two looks at the file that tells the RL step

NUMBERS = ("longtail_rl_step", "longtail_sample", "longtail_budget", "longtail_cap")
OTHERS: dict[str, tuple[type, ...]] = {
    "longtail_prompt_id": (str, int),
    "longtail_replay": (list, tuple),
    "longtail_coupled": (bool, int),
    "longtail_reward": (int, float),
}


@dataclass(slots=True)
class Rollout:
    """A request on its way: what the trace and the log will say of it."""

    policy: Request
    rl_step: int
    sample: int
    arrive_s: float
    sampling: dict[str, Any]
    drafted: list[int]
    accepted: list[int]


class Session:
    """What an engine does on longtail's behalf, from its start to its shutdown.

    Raises TraceError or ComponentError at once for settings that cannot be used; later it never
    raises: what cannot be done is a fault, counted and told once.
    """

    def __init__(
        self, settings: LiveSettings, *, vocab_size: int, meta: TraceMeta, warn: Any
    ) -> None:
        self.settings = settings
        if settings.k:
            warm_up(settings, vocab_size)
        self.policy = LivePolicy(settings, vocab_size, warn)
        self._began = time.perf_counter()
        self._rollouts: dict[str, Rollout] = {}
        self._samples = Samples()
        self._signalled = False  # somebody tells us the RL step
        self._finished: Counter[Any] = Counter()  # rollouts of this RL step, by prompt
        self._file_seen: float | None = None
        self._polled_s = -POLL_S
        self._rested_s = -IDLE_S
        self.forwards = self._ended = 0
        self.log = self.recorder = None
        if settings.history:
            self.policy.load(*settings.open_history())
            self.policy.start_step(self.policy.rl_step + 1)
        if settings.log:
            about = {"policy": settings.to_dict(), "engine": meta.engine, **meta.engine_config}
            self.log = StepLog(settings.log, {**about, "hardware": meta.hardware})
        if settings.record:
            self.recorder = Recorder(settings.record, meta)
        self._close = weakref.finalize(self, _write, self.policy, self.log, self.recorder)

    @property
    def now_s(self) -> float:
        """Seconds since the engine started."""
        return time.perf_counter() - self._began

    def knows(self, request_id: str) -> bool:
        """Whether the request is one of ours (a generative one, with token ids)."""
        return request_id in self._rollouts

    def arrive(
        self,
        request_id: str,
        prompt: Sequence[int],
        cap: int,
        arguments: Mapping[str, Any],
        sampling: dict[str, Any],
    ) -> None:
        """A request was submitted; `cap` is its limit of output tokens."""
        given = self._check(arguments)
        if not self._rollouts:
            self.poll(at_once=True)  # what is told between RL steps holds from the first request on
        if "longtail_rl_step" in given:
            self._signalled = True
            if given["longtail_rl_step"] > self.policy.rl_step:
                self.start_step(given["longtail_rl_step"])
        prompt_id = given.get("longtail_prompt_id")
        request = self.policy.arrive(
            request_id,
            prompt,
            cap=given.get("longtail_cap", cap),
            prompt_id=prompt_id if prompt_id is None else str(prompt_id),
            budget=given.get("longtail_budget"),
            reward=float(given.get("longtail_reward", UNKNOWN)),
        )
        if not self._signalled and self._step_is_over(request.prompt_id):
            self.start_step(self.policy.rl_step + 1)
        rl_step = given.get("longtail_rl_step", self.policy.rl_step)
        sample = self._samples.take(rl_step, request.prompt_id, given.get("longtail_sample"))
        self._rollouts[request_id] = Rollout(request, rl_step, sample, self.now_s, sampling, [], [])

    def _step_is_over(self, prompt_id: Any) -> bool:
        """Whether the request that comes now, of this prompt, begins an RL step."""
        finished = self._finished.total()
        again = not self._rollouts and (finished >= BATCH or prompt_id in self._finished)
        return again or finished >= ENOUGH

    def signal(self, rl_step: int) -> None:
        """The trainer says that RL step `rl_step` begins."""
        self._signalled = True
        self.start_step(rl_step)

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished becomes history, and is written down."""
        self.policy.start_step(rl_step)
        self._finished.clear()
        self._samples.forget(self.policy.rl_step - KNOWN_STEPS)
        self.flush()

    def poll(self, at_once: bool = False) -> None:
        """Look at the file that tells the RL step, if there is one: now and then, or at once."""
        path = self.settings.rl_step_file
        if path is None:
            return
        self._signalled = True
        if self.now_s - self._polled_s < POLL_S and not at_once:
            return
        self._polled_s = self.now_s
        try:
            seen = path.stat().st_mtime_ns
            if seen != self._file_seen:
                rl_step = int(path.read_text())
                self._file_seen = seen
                if rl_step > self.policy.rl_step:
                    self.start_step(rl_step)
        except FileNotFoundError:
            pass  # the trainer has not written it yet
        except (OSError, ValueError) as error:
            self.policy.fault("rl_step_file", f"{path}: {error}")

    def gained(
        self,
        request_ids: Sequence[str],
        tokens: Sequence[list[int]],
        drafted: Sequence[int],
        accepted: Sequence[int],
    ) -> None:
        """What a forward gave to each request that gained tokens."""
        self.policy.gained(request_ids, tokens, drafted, accepted)
        if self.recorder:
            for request_id, d, a in zip(request_ids, drafted, accepted, strict=True):
                rollout = self._rollouts[request_id]
                rollout.drafted.append(d)
                rollout.accepted.append(a)

    def leave(self, request_id: str, output: Sequence[int], reason: str | None) -> None:
        """The request is over; reason: stop, length, abort, or None if that is not known. One that
        was aborted is no history.
        """
        rollout = self._rollouts.pop(request_id)
        self._ended += 1
        request = rollout.policy
        forwards, drafted, accepted = self.policy.counts(request)
        learn = reason != "abort"
        self.policy.leave(request_id, output, learn=learn)
        if learn:
            self._finished[request.prompt_id] += 1
        if self.log:
            self.log.request(
                (
                    request.order, rollout.rl_step, str(request.prompt_id), rollout.sample,
                    len(request.prompt), len(output), reason, rollout.arrive_s, self.now_s,
                    forwards, drafted, accepted,
                )
            )  # fmt: skip
        if self.recorder and len(output):
            row = {
                "rl_step": rollout.rl_step,
                "prompt_id": str(request.prompt_id),
                "sample": rollout.sample,
                "prompt_tokens": request.prompt,
                "output_tokens": np.array(output, np.int32),
                "prompt_len": len(request.prompt),
                "output_len": len(output),
                "finish_reason": reason,
                "reward": None,
                "policy_version": None,
                "start_s": rollout.arrive_s,
                "end_s": self.now_s,
                "drafted": rollout.drafted[1:],  # the first token comes from the prefill
                "accepted": rollout.accepted[1:],
            }
            with self._kept("record"):
                self.recorder.add(row, rollout.sampling)

    def rest(self) -> None:
        """The engine has nothing left to do, and may be killed: write what is pending."""
        if not self._rollouts and self.now_s - self._rested_s > IDLE_S:
            self._rested_s = self.now_s
            self.flush()

    def forward(self, row: tuple) -> None:
        """One forward for the step log: `FORWARDS` without number and RL step."""
        if self.log:
            with self._kept("log"):
                self.log.forward((self.forwards, self.policy.rl_step, *row))
        self.forwards += 1

    def number(self, request_id: str) -> int:
        """The request's number in the step log; -1 for one that is not ours."""
        rollout = self._rollouts.get(request_id)
        return rollout.policy.order if rollout else -1

    def stats(self) -> dict[str, Any]:
        """Where the run stands; plain types."""
        return {
            "rl_step": self.policy.rl_step,
            "forwards": self.forwards,
            "running": len(self._rollouts),
            "finished": self._ended,
            "faults": dict(self.policy.faults),
        }

    def close(self) -> None:
        """Write what is pending; nothing comes after."""
        self._close()

    def _check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Our arguments that can be used; another one is a fault, not an end."""
        given = {}
        for name, value in arguments.items():
            if not name.startswith("longtail_"):
                continue
            if name in NUMBERS:
                right = type(value) is int and 0 <= value <= LAST_STEP
            else:
                right = isinstance(value, OTHERS.get(name, ()))
            if right:
                given[name] = value
            else:
                self.policy.fault("argument", f"{name}={value!r:.80}")
        return given

    def flush(self) -> None:
        """Write the log and the finished rollouts down now."""
        _write(self.policy, self.log, self.recorder)

    @contextlib.contextmanager
    def _kept(self, kind: str) -> Any:
        """A full disk must not stop the engine."""
        try:
            yield
        except Exception as error:
            self.policy.fault(kind, repr(error))


def _write(policy: LivePolicy, log: StepLog | None, recorder: Recorder | None) -> None:
    """Each of them, whatever becomes of the other."""
    for kind, write in (
        ("record", recorder.write if recorder else None),
        ("log", log.flush if log else None),
    ):
        try:
            if write:
                write()
        except Exception as error:
            policy.fault(kind, repr(error))
