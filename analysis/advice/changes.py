"""What could be otherwise than recorded or told, one thing at a time, as a change of what is
simulated: another clock, other chances of acceptance, longer rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...policies.batch import NO_CAP
from ...policies.latency.calibrated import bind_content
from ...policies.profile import Profile
from ...policies.registry import ComponentError
from ...sim.step import Requests


@dataclass(frozen=True)
class Change:
    """Factors of 1 and no added seconds are no change."""

    fixed: float = 1.0  # what a forward takes however many tokens are in it
    token: float = 1.0  # what it takes more for each token
    host_s: float = 0.0  # added for each request of a forward, where drafts are looked up
    accept: float = 1.0  # chance that a draft token that would be accepted is
    skew: float = 1.0  # chances of acceptance that the budget is told, over those known
    longer: float = 1.0  # rollouts that were cut by length go on to so many times their length
    requests: float = 1.0  # of an RL step
    history: float = 1.0  # share of the earlier rollouts that is there

    def clock(self, latency: Any, drafter: Any) -> Any:
        """The latency model that holds in truth, for runs with this drafter."""
        if self.fixed != 1 or self.token != 1:
            latency = _scaled(latency, drafter, self.fixed, self.token)
        looked_up = drafter.longest_draft > 0 and drafter.needs_tokens
        if self.host_s and looked_up and hasattr(latency, "request"):
            latency = replace(latency, request=latency.request + self.host_s)
        return latency


AS_IT_IS = Change()


def _scaled(latency: Any, drafter: Any, fixed: float, token: float) -> Any:
    """The model with its fixed part and its tokens' part dearer by these factors.

    Raises ComponentError for a model of which nobody knows the parts.
    """
    if latency.name == "calibrated":
        content = dict(latency.content)
        content["forward"] = _scaled_fields(content["forward"], fixed, token)
        return bind_content(content, drafter)
    fields = {name: getattr(latency, name) for name in SCALED if hasattr(latency, name)}
    if not fields:
        raise ComponentError(f"latency '{latency.name}': which part is a token's is not known")
    if "flops" in fields:  # a roofline: what is read once per forward is what is fixed
        return replace(
            latency, base=latency.base * fixed, weight_bytes=latency.weight_bytes * fixed,
            flops=min(latency.flops / token, 1.0),
        )  # fmt: skip
    return replace(latency, **_scaled_fields(fields, fixed, token))


SCALED = ("base", "token", "prefill", "draft", "time", "flops")


def _scaled_fields(fields: Any, fixed: float, token: float) -> dict[str, Any]:
    scaled = dict(fields)
    for name in ("token", "prefill", "draft"):
        if name in scaled:
            scaled[name] *= token
    if "base" in scaled:
        scaled["base"] *= fixed
    if "time" in scaled:  # points: what the least forward takes is fixed
        least = min(scaled["time"])
        scaled["time"] = tuple(fixed * least + token * (t - least) for t in scaled["time"])
    return scaled


def thin(profile: Profile, accept: float) -> Profile:
    """The profile with every token that matches accepted with this chance only, independently; a
    draft ends with its first that is not. Of chains.
    """
    if accept == 1 or not profile.matched.any():
        return profile
    most = np.random.default_rng(0).geometric(1 - accept, len(profile.matched)) - 1
    return replace(profile, matched=np.minimum(profile.matched, most).astype(np.uint8))


def lengthen(
    requests: Requests, cut: np.ndarray, drafts: Profile, longer: float
) -> tuple[Requests, Profile]:
    """The requests where those that were `cut` (bool[N]) go on, up to `longer` (at most 2) times
    as long, drafting as in their second half; caps grow alike.
    """
    length = requests.output_len.astype(np.int64)
    half = length // 2
    more = np.where(cut, np.minimum((longer - 1) * length, 2 * (length - half)), 0).astype(np.int64)
    again = np.minimum(more, length - half)
    begins = drafts.offsets[:-1]
    ends = np.stack([begins + half, begins + length], axis=1).ravel()
    halves = replace(drafts, offsets=np.concatenate([[0], ends]))
    pieces = np.arange(len(length))[:, None] * 2 + np.array([0, 1, 1, 1])
    sizes = np.stack([half, length - half, again, more - again], axis=1)
    taken = halves.take(pieces.ravel(), sizes.ravel())
    grown = (length + more).astype(np.int32)
    cap = np.where(
        requests.cap == NO_CAP, NO_CAP, np.minimum(longer * requests.cap, NO_CAP)
    ).astype(np.int32)
    changed = replace(requests, output_len=grown, cap=np.where(cut, grown, cap))
    return changed, replace(taken, offsets=np.ascontiguousarray(taken.offsets[::4]))
