"""AReaL: `rollout.dump_to_file=true`, one JSONL file per task in a folder per policy version.

Training is asynchronous, so that there are no RL steps; the version under which a rollout ended
stands in for one. Text keeps its special tokens.
"""

from __future__ import annotations

from ..gaps import SEVERAL_VERSIONS
from .format import PACKED, Format, Raw, Reading, Rows


def _unfold(raw: Raw, reading: Reading) -> Rows:
    prompt_len, seqlen = raw.get("prompt_len", int), raw.get("seqlen", int)
    if seqlen is not None and prompt_len is not None:
        yield {**raw.values, "completion_len": seqlen - prompt_len}
    else:
        yield dict(raw.values)
    reading.told[SEVERAL_VERSIONS] += raw.values.get("head_version") != raw.values.get(
        "tail_version"
    )


AREAL = Format(
    name="areal",
    about="AReaL's dump_to_file: rollout/<version>/<task>.jsonl with prompt, completion, seqlen.",
    source="inclusionAI/AReaL@4aef98d areal/infra/workflow_executor.py, _dump_trajectory",
    looks='rollout/<version>/<task>.jsonl of {"task_id": 3, "prompt": text, "completion": text, '
    '"seqlen": 900, "prompt_len": 200, "head_version": 4, "tail_version": 4, "reward": 1.0}',
    kind="jsonl",
    marks=(frozenset({"task_id", "prompt", "completion", "seqlen", "prompt_len"}),),
    path=r"/(?P<step>\d+)/[^/]+\.jsonl" + PACKED,
    skip=r"/eval-rollout/",
    fields={
        "prompt": "prompt",
        "output": "completion",
        "prompt_len": "prompt_len",
        "output_len": "completion_len",
        "rl_step": "tail_version",
        "policy_version": "head_version",
        "reward": "reward",
    },
    unfold=_unfold,
    ends_shown=True,
    unknown=("token ids", "finish reasons", "RL steps (tail_version stands in)", "times"),
)
