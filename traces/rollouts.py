"""What a trace looks like in memory: structures of numpy arrays, one entry per rollout.

Tokens lie one after the other in a flat int32 array; rollout i owns
`values[offsets[i]:offsets[i + 1]]`. `prompt` is an index into the trace's `prompt_ids`, which
number the prompts by first appearance in the file, and means the same prompt everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .schema import LENGTH

CHUNK_ROWS = 1024
CHUNK_TOKENS = 1 << 21


@dataclass(frozen=True)
class Lengths:
    """A whole trace, or some RL steps of it, without its tokens; n rollouts, ascending RL step."""

    rl_step: np.ndarray  # int32[n]
    prompt: np.ndarray  # int32[n], index into prompt_ids
    sample: np.ndarray  # int32[n]
    prompt_len: np.ndarray  # int32[n], tokens
    output_len: np.ndarray  # int32[n], tokens, end token included
    finish: np.ndarray  # int8[n], code in schema.FINISH_REASONS
    reward: np.ndarray  # float32[n], NaN where unknown
    prompt_ids: list[str]

    def __len__(self) -> int:
        return len(self.rl_step)

    @property
    def capped(self) -> np.ndarray:
        """bool[n]: the rollout was cut by its length limit and has no end token."""
        return self.finish == LENGTH

    def limit(self, told: int | list[int] | None) -> int | None:
        """The limit of output tokens that every request is taken to have; None: there is none.

        told: as recorded, or as somebody says. The same for all, and never below the longest
        output, even where several limits were recorded (who had which is not kept) or a text
        became longer or shorter than its limit when it was tokenised again: a limit of its own
        would tell, from the first token on, how long the rollout will be.
        """
        limits = told if isinstance(told, list) else [told] if told else []
        limits = [*limits, int(self.output_len[self.capped].max(initial=0))]
        return max(max(limits), int(self.output_len.max(initial=0))) if any(limits) else None

    def select(self, rows: np.ndarray | slice) -> Lengths:
        """The given rows (a mask, indices or a slice), in that order."""
        return Lengths(
            self.rl_step[rows],
            self.prompt[rows],
            self.sample[rows],
            self.prompt_len[rows],
            self.output_len[rows],
            self.finish[rows],
            self.reward[rows],
            self.prompt_ids,
        )


@dataclass(frozen=True)
class Rollouts:
    """One RL step: n rollouts in file order; the token arrays are None in a lengths-only trace."""

    rl_step: int
    prompt: np.ndarray  # int32[n], index into the trace's prompt_ids
    sample: np.ndarray  # int32[n]
    prompt_len: np.ndarray  # int32[n]
    output_len: np.ndarray  # int32[n]
    capped: np.ndarray  # bool[n]
    reward: np.ndarray  # float32[n], NaN where unknown
    prompt_tokens: np.ndarray | None = None  # int32, one prompt per rollout
    prompt_offsets: np.ndarray | None = None  # int64[n + 1]
    output_tokens: np.ndarray | None = None  # int32
    output_offsets: np.ndarray | None = None  # int64[n + 1]

    def __len__(self) -> int:
        return len(self.prompt)


@dataclass(frozen=True)
class Tokens:
    """The tokens of n rollouts, in the order of `Trace.lengths()`, each prompt text kept once.

    `prompt_of[i]` is the prompt text of rollout i: its tokens are
    `prompt_tokens[prompt_offsets[prompt_of[i]]:prompt_offsets[prompt_of[i] + 1]]`. Where every
    prompt_id has one text (the usual case) texts and prompts are numbered alike.
    """

    output_tokens: np.ndarray  # int32[sum of output_len]
    output_offsets: np.ndarray  # int64[n + 1]
    prompt_tokens: np.ndarray  # int32
    prompt_offsets: np.ndarray  # int64[texts + 1]
    prompt_of: np.ndarray  # int32[n]

    def __len__(self) -> int:
        return len(self.prompt_of)

    def select(self, rows: np.ndarray) -> Tokens:
        """The rollouts at these indices, in that order (copies)."""
        pieces = [self.output(i) for i in rows.tolist()]
        return Tokens(
            np.concatenate(pieces) if pieces else self.output_tokens[:0],
            offsets_of(np.array([len(piece) for piece in pieces], np.int64)),
            self.prompt_tokens,
            self.prompt_offsets,
            self.prompt_of[rows],
        )

    def output(self, i: int) -> np.ndarray:
        """Output tokens of rollout i (a view)."""
        return self.output_tokens[self.output_offsets[i] : self.output_offsets[i + 1]]

    def prompt(self, i: int) -> np.ndarray:
        """Prompt tokens of rollout i (a view)."""
        text = self.prompt_of[i]
        return self.prompt_tokens[self.prompt_offsets[text] : self.prompt_offsets[text + 1]]


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """int64[n + 1] offsets of n consecutive pieces of the given lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def chunks(rows: np.ndarray, tokens: np.ndarray) -> Iterator[np.ndarray]:
    """`rows` in consecutive pieces of at most CHUNK_ROWS and, beyond one row, CHUNK_TOKENS.

    `tokens[row]` is what a row weighs.
    """
    start = held = 0
    for i, weight in enumerate(tokens[rows].tolist()):
        if i > start and (i - start == CHUNK_ROWS or held + weight > CHUNK_TOKENS):
            yield rows[start:i]
            start, held = i, 0
        held += weight
    if start < len(rows):
        yield rows[start:]
