"""What a dump does not tell: sentences counted during an import, said once at its end.

A sentence is the key of a counter; `{n}` in it stands for how often it was counted.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT_ONLY = (
    "{n} outputs are text without token ids: the ids are those of the tokenizer given, which may "
    "split text otherwise than the engine did"
)
END_APPENDED = "the end token, which the dump leaves out, was appended to {n} outputs"
NO_END_TOKEN = (
    "the end token is not known (give --end-token ID): outputs are kept as they stand and how they "
    "ended is only known where the dump says so"
)
END_UNKNOWN = (
    "{n} outputs do not say how they ended; which were cut by length is not known without "
    "--cap TOKENS"
)
TAKEN_AS_CUT = "{n} outputs do not end in the end token and are taken as cut by length"
NO_STEP = "no RL step is recorded: all {n} rollouts are RL step 0"
NO_PROMPT_ID = (
    "no prompt ids are recorded: equal prompts are one prompt, samples numbered as they come"
)
OWN_PROMPT = "{n} requests have no prompt id: each is a prompt of its own, in a group of one"
NOT_WRITTEN = (
    "{n} tokens that tools or users put between the model's turns are left out of outputs: the "
    "turns of a rollout are joined, without the time between them"
)
CHAT = (
    "{n} prompts are chat messages: their contents are joined by line breaks, without the chat "
    "template, so prompts are some tokens short"
)
SEVERAL_VERSIONS = "{n} rollouts were written by several policy versions; the first is kept"


def sentences(told: Mapping[str, int]) -> list[str]:
    """The sentences with their counts filled in, in the order in which they first came up."""
    return [text.replace("{n}", f"{n:,}") for text, n in told.items() if n]
