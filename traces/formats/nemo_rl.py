"""NeMo-RL: `train_data_step<n>.jsonl` in the log folder, one sample per line.

Every value comes from a microbatch of one, so that most are lists of one. Sequences are padded:
`input_lengths` is their true length.
"""

from __future__ import annotations

from .format import PACKED, Format, Raw, Reading, Rows, first, same
from .masked import prompt_and_output

NOTHING_WRITTEN = "{n} samples hold no token that the model wrote and are left out"


def _unfold(raw: Raw, reading: Reading) -> Rows:
    values = {name: first(value) for name, value in raw.values.items()}
    ids, mask, length = (values[name] for name in ("token_ids", "token_loss_mask", "input_lengths"))
    if not isinstance(length, int) or not isinstance(ids, list) or not 0 < length <= len(ids):
        raise raw.error("input_lengths is not the length of token_ids or less")
    if not isinstance(mask, list) or len(mask) != len(ids):
        raise raw.error("token_loss_mask and token_ids differ in length")
    tokens = prompt_and_output(raw, reading, ids[:length], mask[:length])
    if tokens is None:
        reading.told[NOTHING_WRITTEN] += 1
        return
    reward = values.get("filtered_rewards", values.get("rewards"))
    yield {**values, **tokens, "reward": reward, "step": raw.step}


NEMO_RL = Format(
    name="nemo-rl",
    about="NeMo-RL's train_data_step<n>.jsonl: token_ids, token_loss_mask, input_lengths.",
    source="NVIDIA-NeMo/RL@7ea279a nemo_rl/algorithms/grpo.py; nemo_rl/utils/logger.py, "
    "log_batched_dict_as_jsonl",
    looks='train_data_step<n>.jsonl of {"token_ids": [[..]], "token_loss_mask": [[0, .., 1]], '
    '"input_lengths": [900], "rewards": [1.0], "idx": 0}',
    kind="jsonl",
    marks=(frozenset({"token_ids", "token_loss_mask", "input_lengths"}),),
    path=r"(?:^|/)train_data_step(?P<step>\d+)\.jsonl" + PACKED,
    fields=same("prompt_tokens", "output_tokens", "reward") | {"rl_step": "step"},
    unfold=_unfold,
    unknown=("finish reasons (told by the end token)", "prompt ids", "policy versions", "times"),
)
