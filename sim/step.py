"""One RL step: all its requests start at once, and it ends when the last one has finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import simpy

from ..policies.profile import Profile
from ..policies.view import StepView
from .drafting import Drafting
from .limits import Limits
from .replica import Replica


class ConservationError(Exception):
    """A result that cannot be: tokens, requests or drafts were lost or invented."""


@dataclass(frozen=True)
class Requests:
    """What the modelled world knows of an RL step, the recorded lengths included; N requests."""

    rl_step: int
    prompt: np.ndarray  # int32[N]
    prompt_len: np.ndarray  # int32[N] tokens
    output_len: np.ndarray  # int32[N] tokens, end token included
    cap: np.ndarray  # int32[N] output tokens


@dataclass(frozen=True)
class StepResult:
    """How an RL step went. Arrays follow the trace's order; seconds count from the step's begin."""

    rl_step: int
    makespan_s: float
    tail_s: float  # from the moment 90 % of the requests are done
    forwards: int
    requests: int
    finished: int
    output_tokens: int
    processed_tokens: int  # prefill, recomputed and rejected ones included
    draft_tokens: int
    accepted_tokens: int
    preemptions: int
    reused_tokens: int  # accepted together with a prompt (specrl)
    outside: int  # forwards that the latency model was not measured for
    finish_s: np.ndarray = field(repr=False)  # float64[N]
    request_forwards: np.ndarray = field(repr=False)  # int32[N]: forwards that gave it tokens
    drafted: np.ndarray = field(repr=False)  # int32[N]
    accepted: np.ndarray = field(repr=False)  # int32[N]
    positions: np.ndarray = field(repr=False)  # int64[B, 3], all zero without a log
    log: pd.DataFrame | None = field(repr=False, default=None)  # one row per forward and replica

    @property
    def acceptance_length(self) -> float:
        """Tokens gained per request and decode forward, the bonus token included."""
        decodes = int(self.request_forwards.sum()) - self.requests
        decoded = self.output_tokens - self.requests - self.reused_tokens
        return decoded / decodes if decodes > 0 else 1.0


def simulate_step(
    requests: Requests,
    profile: Profile | Callable[[int, np.ndarray], Drafting],
    *,
    budget: Any,
    latency: Any,
    told: Any,
    placement: Any,
    limits: Limits,
    view: StepView,
    log: bool = False,
) -> StepResult:
    """Run one RL step in a SimPy world of `limits.replicas` replicas.

    profile: of all requests, or what makes the drafts of each replica's (its number, its requests).
    told: the latency model that the budget is told.

    Raises CapacityError if a rollout cannot fit, ConservationError if the result does not add up.
    """
    heads = profile.heads[:, 0] if isinstance(profile, Profile) and len(profile.heads) else 0
    limits.check(requests.rl_step, requests.prompt_len, requests.output_len, heads)
    env = simpy.Environment()
    served = placement.assign(view, limits.replicas)
    replicas = []
    served = [rows for rows in served if len(rows)]  # a replica without requests has no part in it
    for number, rows in enumerate(served):
        whole = len(rows) == len(requests.prompt) and (np.diff(rows) == 1).all()
        mine = view if whole else view.take(rows)
        drafts: Profile | Drafting
        if isinstance(profile, Profile):
            drafts = profile if whole else profile.take(rows, requests.output_len[rows])
        else:
            drafts = profile(number, rows)
        replica = Replica(
            view=mine,
            output_len=requests.output_len[rows],
            profile=drafts,
            budget=budget,
            latency=latency,
            told=told,
            limits=limits,
            log=log,
        )
        env.process(replica.live(env))
        replicas.append(replica)
    env.run()
    return _result(requests, served, replicas, log)


def _result(
    requests: Requests,
    served: list[np.ndarray],
    replicas: list[Replica],
    log: bool,
) -> StepResult:
    count = len(requests.prompt)
    finish_s = np.full(count, np.nan)
    forwards, drafted, accepted, generated = (np.zeros(count, np.int32) for _ in range(4))
    for rows, replica in zip(served, replicas, strict=True):
        finish_s[rows] = replica.state.finish_s
        forwards[rows] = replica.batch.forwards
        drafted[rows] = replica.batch.drafted
        accepted[rows] = replica.batch.accepted
        generated[rows] = replica.batch.generated
    seen = np.bincount(np.concatenate(served), minlength=count)
    if (seen != 1).any():
        raise ConservationError(
            f"RL step {requests.rl_step}: the placement lost or doubled a request"
        )
    if np.isnan(finish_s).any() or (generated != requests.output_len).any():
        raise ConservationError(
            f"RL step {requests.rl_step}: {int(np.isnan(finish_s).sum())} of {count} requests "
            f"did not finish; {int(generated.sum())} of {int(requests.output_len.sum())} tokens "
            "came out"
        )
    if any(r.drafted != (r.batch.drafted.sum(), r.batch.accepted.sum()) for r in replicas):
        raise ConservationError(
            f"RL step {requests.rl_step}: drafts of forwards and requests differ"
        )
    if (accepted > drafted).any() or (accepted < 0).any():
        raise ConservationError(f"RL step {requests.rl_step}: more accepted than drafted")
    order = np.sort(finish_s)
    makespan_s = float(order[-1]) if count else 0.0
    done_s = float(order[int(np.ceil(0.9 * count)) - 1]) if count else 0.0
    width = max(len(replica.positions) for replica in replicas)
    positions = np.zeros((width, 3), np.int64)
    for replica in replicas:
        positions[: len(replica.positions)] += replica.positions
    frames = [pd.DataFrame({"replica": i, **r.log}) for i, r in enumerate(replicas)] if log else []
    return StepResult(
        rl_step=requests.rl_step,
        makespan_s=makespan_s,
        tail_s=makespan_s - done_s,
        forwards=sum(r.forwards for r in replicas),
        requests=count,
        finished=int((~np.isnan(finish_s)).sum()),
        output_tokens=int(generated.sum()),
        processed_tokens=sum(r.tokens for r in replicas),
        draft_tokens=int(drafted.sum()),
        accepted_tokens=int(accepted.sum()),
        preemptions=sum(r.preemptions for r in replicas),
        reused_tokens=sum(r.reused for r in replicas),
        outside=sum(r.outside for r in replicas),
        finish_s=finish_s,
        request_forwards=forwards,
        drafted=drafted,
        accepted=accepted,
        positions=positions,
        log=pd.concat(frames, ignore_index=True) if log else None,
    )
