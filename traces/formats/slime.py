"""slime: `--save-debug-rollout-data` (or `--dump-details`), one .pt file per rollout step.

The richest dump: token ids, status, weight versions. A sample's tokens are its prompt's and then
`response_length` of the response. `group_index` counts groups, not problems, so that equal prompts
are one prompt here, in all RL steps.
"""

from __future__ import annotations

from typing import Any

from ..gaps import SEVERAL_VERSIONS
from .format import Format, Raw, Reading, Rows, same
from .masked import prompt_and_output, whole_but_between

STATUS = {
    "completed": "stop",
    "truncated": "length",
    "aborted": "abort",
    "failed": "abort",
    "pending": "abort",
}
EMPTY = "{n} samples have no response and are left out"
SPECULATED = "speculation was on while recording: {n} tokens drafted (totals only, not replayed)"
SEVERAL_REWARDS = "{n} rewards are objects and are not kept; choose with --map reward=reward.NAME"


def _unfold(raw: Raw, reading: Reading) -> Rows:
    tokens, length = raw.get("tokens", list), raw.get("response_length", int)
    if tokens is None or length is None:
        raise raw.error("a sample without tokens or response_length")
    if not 0 <= length < max(len(tokens), 1):
        raise raw.error(f"response_length {length} of {len(tokens)} tokens leaves no prompt")
    if not length:
        reading.told[EMPTY] += 1
        return
    mask = raw.get("loss_mask", list) or [1] * length
    if len(mask) != length:
        raise raw.error(f"{len(mask)} values in loss_mask for response_length {length}")
    whole = [False] * (len(tokens) - length) + whole_but_between(raw, mask)
    status = raw.get("status", str)
    if status is not None and status not in STATUS:
        raise raw.error(f"unknown status {status[:40]!r}", f"one of {', '.join(STATUS)}")
    reading.told[SPECULATED] += max(raw.get("spec_info.spec_draft_token_num", int) or 0, 0)
    yield {
        **raw.plain(),
        **(prompt_and_output(raw, reading, tokens, whole) or {}),
        **_reward(raw, reading),
        "finish_reason": None if status is None else STATUS[status],
        "policy_version": _version(raw, reading),
        "step": raw.step if raw.values.get("step") is None else raw.values["step"],
    }


def _reward(raw: Raw, reading: Reading) -> dict[str, Any]:
    reward = raw.get("reward", (int, float, dict))
    if not isinstance(reward, dict):
        return {"reward": reward}
    reading.told[SEVERAL_REWARDS] += 1
    named = {f"reward.{name}": value for name, value in reward.items() if isinstance(name, str)}
    return {"reward": None, **named}


def _version(raw: Raw, reading: Reading) -> str | int | None:
    """The first weight version, where it is a number."""
    versions = [v for v in raw.get("weight_versions", list) or () if isinstance(v, str | int)]
    reading.told[SEVERAL_VERSIONS] += len(set(versions)) > 1
    if not versions or (isinstance(versions[0], str) and not versions[0].isdecimal()):
        return None
    return versions[0]


SLIME = Format(
    name="slime",
    about="slime's --save-debug-rollout-data: <rollout_id>.pt, loaded without running its pickle.",
    source="THUDM/slime@624b824 slime/observability/rollout_data_utils.py, slime/utils/types.py",
    looks='<rollout_id>.pt of {"rollout_id": 7, "samples": [{"tokens": [..], '
    '"response_length": 700, "status": "completed", "reward": 1.0}]}',
    kind="pt",
    marks=(frozenset({"tokens", "response_length"}),),
    path=r"(?:^|/)[^/\d]*(?P<step>\d+)\.pt$",
    skip=r"/[^/]*eval_[^/]*\.pt$",
    fields={
        **same("prompt_tokens", "output_tokens", "finish_reason", "policy_version", "reward"),
        "rl_step": "step",
    },
    unfold=_unfold,
    unknown=("times", "drafts per forward (spec_info has totals)", "prompt ids across RL steps"),
)
