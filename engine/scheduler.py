"""vLLM's own scheduler, with a policy that drafts for it and a log of what it did.

Selected by `scheduler_cls`; see engine/plugin.py for how that comes about. Before vLLM schedules a
forward, the policy looks at the running batch and leaves its drafts where vLLM keeps those of any
drafter (`Request.spec_token_ids`); after the forward it learns what was accepted. Everything else
is vLLM's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine.core import EngineCore
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request

from . import proposer
from .describe import describe_engine
from .probe import Probe
from .session import Session
from .settings import LiveSettings
from .versions import check_version
from .wrap import wrap_once

logger = logging.getLogger("vllm.longtail")

RPC = ("longtail_start_step", "longtail_stats", "longtail_flush")
REASONS = {"stop": "stop", "length": "length", "repetition": "stop"}  # others: abort
DECIDED = ("longtail_replay", "longtail_coupled")  # by hooks in the V1 model runner
NOT_DRAFTING = (
    "longtail: this policy drafts, but vLLM was configured without its speculative method; set "
    "LONGTAIL_POLICY, or leave `speculative_config` out so that the plug-in fills it in"
)


class Part(NamedTuple):
    """A request's part in a forward."""

    request: Request
    number: int  # in the step log
    tokens: int
    drafts: int  # of them


@dataclass(slots=True)
class Forward:
    """A scheduled forward whose output is not in yet."""

    begin_s: float
    drafted_s: float
    scheduled_s: float
    running: int
    waiting: int
    kv_tokens: int
    pairs: int
    prefill: int
    preempted: int
    parts: list[Part]


class LongtailScheduler(Scheduler):
    """vLLM's synchronous scheduler; requests, forwards and drafts pass by a `Session`."""

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(vllm_config, *args, **kwargs)
        check_version()
        wrap_once(EngineCore, "collective_rpc", _answer_rpc)
        wrap_once(EngineCore, "shutdown", _write_first)
        spec = vllm_config.speculative_config
        self.drafting = spec is not None and spec.model == proposer.PATH
        self._scheduled: dict[int, Forward] = {}  # by the identity of vLLM's SchedulerOutput
        self._ended: list[Request] = []
        self._preempted = 0
        self._longest_draft: int = self.num_spec_tokens
        self._last_s = 0.0
        self._undecided = (
            "replay and coupled sampling need vLLM's first model runner: VLLM_USE_V2_MODEL_RUNNER=0"
            if vllm_config.use_v2_model_runner
            else ""
        )
        self.session: Any = None
        self.begin_session(LiveSettings.of(vllm_config.additional_config.get("longtail", {})))

    def begin_session(self, settings: LiveSettings) -> None:
        """Another policy and another log from here on; nobody may be running.

        Raises ValueError for a policy that this engine cannot verify.
        """
        spec = self.vllm_config.speculative_config
        if settings.k and not self.drafting:
            raise ValueError(NOT_DRAFTING)
        if self.drafting and settings.k > spec.num_speculative_tokens:
            raise ValueError(
                f"longtail: drafts of {settings.k} tokens in an engine that was started for "
                f"{spec.num_speculative_tokens}"
            )
        if self.requests:
            raise ValueError("longtail: requests are running under the policy so far")
        self._settle()
        if self.session:
            self.session.close()
        self._last_s = 0.0
        self._probe = Probe()
        self.session = Session(
            settings,
            vocab_size=self.vllm_config.model_config.get_vocab_size(),
            meta=describe_engine(self.vllm_config, settings),
            warn=logger.warning,
        )
        told = {k: v for k, v in settings.to_dict().items() if v not in (None, False)}
        logger.info("longtail: %s", ", ".join(f"{key} {value}" for key, value in told.items()))

    # What trainers call: `llm.collective_rpc("longtail_start_step", args=(n,))`.

    def longtail_start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what finished so far becomes history."""
        self._settle()
        self.session.signal(int(rl_step))

    def longtail_stats(self) -> dict[str, Any]:
        """Where the run stands."""
        return self.session.stats()

    def longtail_flush(self) -> None:
        """Write the step log and the recorded rollouts down now."""
        self._settle()
        self.session.flush()

    # vLLM's interface

    def add_request(self, request: Request) -> None:
        """A request was submitted."""
        known = request.request_id in self.requests
        super().add_request(request)
        params = request.sampling_params
        if known or params is None or request.prompt_token_ids is None or request.resumable:
            return
        self._settle()
        asked = params.extra_args or {}
        if self._undecided and any(name in asked for name in DECIDED):
            self.session.policy.fault("argument", self._undecided)
        room = self.max_model_len - request.num_prompt_tokens
        self.session.arrive(
            request.request_id,
            request.prompt_token_ids,
            min(request.max_tokens, room),
            asked,
            {
                "temperature": params.temperature,
                "max_tokens": request.max_tokens,
                "top_p": params.top_p,
                "top_k": params.top_k,
            },
        )

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        """Drafts first, then vLLM's own scheduling."""
        began_s = self.session.now_s
        self._settle()
        self.session.poll()
        decoding = [r for r in self.running if not r.is_prefill_chunk]
        self._preempted = 0
        if not self.drafting:
            output, drafted_s = super().schedule(*args, **kwargs), began_s
        else:
            self._speculate(decoding)
            drafted_s = self.session.now_s
            # vLLM pads a request that needs one token with K made-up drafts, to keep the batch
            # uniform; they would be verified and counted.
            self.num_spec_tokens = 0
            try:
                output = super().schedule(*args, **kwargs)
            finally:
                self.num_spec_tokens = self._longest_draft
        if output.total_num_scheduled_tokens:
            self._note(output, began_s, drafted_s, {r.request_id for r in decoding})
        return output

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """What the worker's proposer says, unless it is ours, which has nothing to say."""
        if not self.drafting:
            super().update_draft_token_ids(draft_token_ids)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:
        """vLLM's own bookkeeping, then the policy's."""
        forward = self._scheduled.pop(id(scheduler_output), None)
        if forward is None:
            return super().update_from_output(scheduler_output, model_runner_output)
        came_s = self.session.now_s
        sampled = model_runner_output.sampled_token_ids
        index = model_runner_output.req_id_to_index
        # Counted before vLLM trims them at the end of the text.
        emitted = [
            len(sampled[index[part.request.request_id]]) if sampled else 0 for part in forward.parts
        ]
        had = [part.request.num_output_tokens for part in forward.parts]
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        updated_s = self.session.now_s
        accepted = self._account(forward, emitted, had)
        self._settle()
        self._log(forward, accepted, came_s, updated_s)
        if not self.requests:
            self.session.rest()
        return outputs

    def shutdown(self) -> None:
        """vLLM's own, and everything pending is written."""
        try:
            self._settle()
            self.session.close()
        finally:
            super().shutdown()

    def _free_request(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        self._ended.append(request)
        return super()._free_request(request, *args, **kwargs)

    def _preempt_request(self, *args: Any, **kwargs: Any) -> Any:
        self._preempted += 1
        return super()._preempt_request(*args, **kwargs)

    # The policy's part

    def _speculate(self, decoding: list[Request]) -> None:
        """Leave a draft with every decoding request that waits for its next token."""
        ready = [
            r
            for r in decoding
            if r.num_computed_tokens == r.num_tokens - 1 and self.session.knows(r.request_id)
        ]
        drafts = self.session.policy.propose(
            [r.request_id for r in ready],
            waiting=self.get_request_counts()[1],
            prefilling=len(self.running) - len(ready),
            kv_tokens=sum(r.num_tokens for r in self.running),
        )
        # vLLM's own way in, which also holds drafts against a request's grammar.
        super().update_draft_token_ids(DraftTokenIds([r.request_id for r in ready], drafts))

    def _note(
        self, output: SchedulerOutput, began_s: float, drafted_s: float, decoding: set[str]
    ) -> None:
        """Remember what was scheduled until its output is in."""
        drafts, parts = output.scheduled_spec_decode_tokens, []
        kv_tokens = pairs = prefill = 0
        for request_id, tokens in output.num_scheduled_tokens.items():
            request = self.requests[request_id]
            number = self.session.number(request_id)
            parts.append(Part(request, number, tokens, len(drafts.get(request_id, ()))))
            reach = request.num_computed_tokens  # this forward's tokens are counted already
            kv_tokens += reach
            pairs += tokens * (2 * reach - tokens + 1) // 2  # causal
            prefill += 0 if request_id in decoding else tokens
        running, waiting = self.get_request_counts()
        self._scheduled[id(output)] = Forward(
            began_s, drafted_s, self.session.now_s, running, waiting, kv_tokens, pairs,
            prefill, self._preempted, parts
        )  # fmt: skip

    def _account(self, forward: Forward, emitted: list[int], had: list[int]) -> list[int]:
        """Tell the session what each request gained; accepted draft tokens per request.

        A text can end within its draft: what vLLM accepted beyond the end is not counted, and an
        accepted end token takes no bonus.
        """
        ids, gains, drafted, gained_by, accepted = [], [], [], [], []
        for part, count, before in zip(forward.parts, emitted, had, strict=True):
            request = part.request
            new = request.output_token_ids[before:]
            good = min(count - 1, len(new)) if part.drafts and new else 0
            accepted.append(good)
            if new and self.session.knows(request.request_id):
                ids.append(request.request_id)
                gains.append(new)
                drafted.append(part.drafts)
                gained_by.append(good)
        if ids:
            self.session.gained(ids, gains, drafted, gained_by)
        return accepted

    def _settle(self) -> None:
        """Requests that are over leave the session."""
        ended, self._ended = self._ended, []
        for request in ended:
            if self.session.knows(request.request_id):
                reason: str | None = REASONS.get(str(request.get_finished_reason()), "abort")
                if reason == "abort" and request.sampling_params.stop:
                    # Stop strings are found in vLLM's front end, which then aborts the request;
                    # here that cannot be told from a client that went away.
                    reason = None
                self.session.leave(request.request_id, request.output_token_ids[:], reason)

    def _log(self, forward: Forward, accepted: list[int], came_s: float, updated_s: float) -> None:
        """One row of the step log: times are this forward's share of the engine's."""
        parts, end_s = forward.parts, self.session.now_s
        drafts = [part.drafts for part in parts]
        tokens = [part.tokens for part in parts]
        row = (
            forward.begin_s,
            end_s - max(forward.begin_s, self._last_s),
            forward.drafted_s - forward.begin_s + end_s - updated_s,
            forward.scheduled_s - forward.drafted_s,
            came_s - max(forward.scheduled_s, self._last_s),
            self._probe.seconds(end_s),
            forward.running,
            forward.waiting,
            sum(tokens),
            len(parts),
            sum(drafts),
            sum(accepted),
            forward.kv_tokens,
            forward.pairs,
            forward.prefill,
            forward.preempted,
            [part.number for part in parts],
            tokens,
            drafts,
            accepted,
        )
        self._last_s = self.session.now_s
        self.session.policy.ran(
            sum(tokens), len(parts), forward.kv_tokens, forward.pairs, forward.prefill,
            sum(drafts), sum(accepted),
        )  # fmt: skip
        self.session.forward(row)


class LongtailAsyncScheduler(LongtailScheduler, AsyncScheduler):
    """vLLM's asynchronous scheduler, logged and recorded; it cannot draft from the scheduler."""


def _answer_rpc(original: Callable[..., list]) -> Callable[..., list]:
    """Let `collective_rpc("longtail_…")` reach the scheduler, in every kind of deployment."""

    def collective_rpc(
        self: Any, method: Any, timeout: Any = None, args: tuple = (), kwargs: Any = None
    ) -> list:
        if isinstance(method, str) and method in RPC:
            return [getattr(self.scheduler, method)(*args, **(kwargs or {}))]
        return original(self, method, timeout, args, kwargs)

    return collective_rpc


def _write_first(original: Callable[..., None]) -> Callable[..., None]:
    """At its end vLLM waits for its workers before it turns to the scheduler, and this process is
    killed when that takes too long: what is pending is written first.
    """

    def shutdown(self: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(getattr(self, "scheduler", None), LongtailScheduler):
            self.scheduler.longtail_flush()
        original(self, *args, **kwargs)

    return shutdown
