"""ROLL: `rollout_dump_dir`, one JSONL file per step with one line of columns."""

from __future__ import annotations

from .format import PACKED, STRIPPED_TEXT, Format, Raw, Reading, Rows
from .messages import text_of


def _unfold(raw: Raw, reading: Reading) -> Rows:
    columns = {name: value for name, value in raw.values.items() if isinstance(value, list)}
    if "responses" not in columns:
        raise raw.error("responses is no list", "give ROLL's dump as it was written")
    n = len(columns["responses"])
    for name in ("prompt", "messages", "id", "scores", "global_step"):
        if name in columns and len(columns[name]) != n:
            raise raw.error(f"{len(columns[name])} {name} for {n} responses")
    whole = {name: column for name, column in columns.items() if len(column) == n}
    for i in range(n):
        row = {name: column[i] for name, column in whole.items()}
        prompt = row.get("messages") if row.get("prompt") is None else row["prompt"]
        yield row | {"prompt": text_of(raw, reading, prompt, "prompt")}


ROLL = Format(
    name="roll",
    about="ROLL's rollout_dump_dir: rollout_dump_data.step_<n>.jsonl, one line of columns.",
    source="alibaba/ROLL@8eb27cc roll/pipeline/rlvr/utils.py, dump_rollout_to_specific_path",
    looks='rollout_dump_data.step_<n>.jsonl of {"global_step": [..], "prompt": [..], '
    '"responses": [..], "scores": [..]}',
    kind="jsonl",
    marks=(frozenset({"responses", "scores", "prompt"}),),
    path=r"(?:^|/)rollout_dump_data\.step_(?P<step>\d+)\.jsonl" + PACKED,
    fields={
        "prompt": "prompt",
        "output": "responses",
        "prompt_id": "id",
        "rl_step": "global_step",
        "reward": "scores",
    },
    unfold=_unfold,
    wide_lines=True,
    unknown=STRIPPED_TEXT,
)
