"""TRL: `log_completions=True`, one Parquet file per logging step.

Rewards are columns named after the reward functions; where there is one such column it is the
reward, of several the user names one (or a sum, `--map reward=a+b`).
"""

from __future__ import annotations

from .format import STRIPPED_TEXT, Format, Raw, Reading, Rows
from .messages import text_of

OWN = frozenset({"step", "prompt", "completion", "advantage", "reward"})
SEVERAL_REWARDS = (
    "several columns could be the reward of {n} rollouts, none is kept; choose with --map reward="
)


def _is_reward(name: str, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and name not in OWN and name.isprintable()


def _unfold(raw: Raw, reading: Reading) -> Rows:
    row = dict(raw.values)
    row["prompt"] = text_of(raw, reading, row.get("prompt"), "prompt")
    row["completion"] = text_of(raw, reading, row.get("completion"), "completion")
    numbers = reading.kept.setdefault("numbers", {})  # names, in the order of their columns
    numbers.update((name, None) for name, value in row.items() if _is_reward(name, value))
    if "reward" not in row:
        row["reward"] = row.get(*numbers) if len(numbers) == 1 else None
        if len(numbers) > 1:
            reading.told[SEVERAL_REWARDS + "+".join(list(numbers)[:4])] += 1
    yield row


TRL = Format(
    name="trl",
    about="TRL's log_completions: completions/completions_<step>.parquet.",
    source="huggingface/trl@f2cd577 trl/trainer/grpo_trainer.py, log",
    looks="completions_<step>.parquet with step, prompt, completion, a column per reward "
    "function, advantage",
    kind="parquet",
    marks=(frozenset({"step", "prompt", "completion"}),),
    path=r"(?:^|/)completions_(?P<step>\d+)\.parquet$",
    fields={"prompt": "prompt", "output": "completion", "rl_step": "step", "reward": "reward"},
    unfold=_unfold,
    unknown=STRIPPED_TEXT,
)
