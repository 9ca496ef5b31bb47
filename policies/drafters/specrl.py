"""SPEC-RL's drafter: the previous response as one long draft, verified once, with the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..profile import Profile, blank_profile
from ..registry import ComponentError, option
from .live import LiveDrafter
from .table_profile import rollout_keys, uniform

# Tokens that had still to be generated, with and without, in millions: Qwen3-1.7B, GRPO,
# DeepMath-6K (arXiv 2509.23232, Table 3), by the logarithm of the lenience.
GENERATED = {0.0: 419.0, 0.5: 182.7}
PLAIN = 554.8


@dataclass(frozen=True)
class SpecRl:
    """The same sample's last response to the prompt, reused up to the first rejection.

    It is verified in one forward, with the prompt, and costs what a prompt of that length costs;
    then decoding goes on without drafts. A token is accepted with chance lenience * p_now / p_then,
    so that with a lenience above 1, and after a rejection even with 1, other responses are written
    than without: this is not lossless. Traces hold no probabilities, so acceptance is drawn: every
    token is accepted with the same chance, such that the share of the output that the paper reports
    as reused with this lenience, or `reuse`, is that of what can be reused in an RL step: of every
    response as much as both have, it and its draft. Lengths stay as recorded.
    """

    name: ClassVar[str] = "specrl"
    source: ClassVar[str] = "SPEC-RL, arXiv 2509.23232, Table 3 (share reused by lenience)"
    acceptance: ClassVar[str] = (
        "drawn, so that the paper's share of the tokens is reused; not lossless: the responses "
        "would be others, their lengths are kept as recorded"
    )
    needs_tokens: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    trees: ClassVar[bool] = False
    in_engine: ClassVar[bool] = False
    history_steps: ClassVar[int | None] = None
    longest_draft: ClassVar[int] = 0  # none that the engine's own verification sees

    lenience: float = option(
        1.6487, "1 is none; the paper has a share for 1 to e^0.5, its default for GRPO", low=1.0
    )
    reuse: float = option(-1.0, "share of what can be reused; -1: by lenience", low=-1.0, high=1.0)
    delay: int = option(1, "which response before: 1 is the last", low=1)
    seed: int = option(0, "of what is drawn", low=0)

    def __post_init__(self) -> None:
        if -1 < self.reuse < 0:
            raise ValueError("reuse is a share from 0 to 1, or -1")
        if self.reuse < 0 and not np.log(self.lenience) <= max(GENERATED) + 1e-4:
            raise ValueError("the paper has no share for a lenience above e^0.5; give reuse")

    @property
    def share(self) -> float:
        """Of the output that is reused."""
        if self.reuse >= 0:
            return self.reuse
        known = sorted(GENERATED)
        reused = [1 - GENERATED[x] / PLAIN for x in known]
        return float(np.interp(np.log(self.lenience), known, reused))

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of results with it."""
        return ("specrl is not lossless, and the lengths it would write are not known",)

    def prior(self) -> np.ndarray:
        """No token has a label."""
        return np.zeros(256)

    def profile(
        self, lengths: Lengths, tokens: Tokens | None, threads: int = 1, labels: bool = False
    ) -> Profile:
        """No drafts but the heads."""
        blank = blank_profile(lengths.output_len)
        heads = np.zeros((len(lengths), 2), np.int32)
        heads[:, 0] = previous(lengths, self.delay)
        for rl_step in np.unique(lengths.rl_step):
            rows = np.flatnonzero(lengths.rl_step == rl_step)
            most = np.minimum(heads[rows, 0], lengths.output_len[rows])
            draws = np.array(
                [uniform(key, np.int64(0)) for key in rollout_keys(lengths.select(rows), self.seed)]
            )
            chance = chance_for(self.share * float(most.sum()), most)
            heads[rows, 1] = np.minimum(accepted(draws, chance), most)
        return Profile(blank.drafted, blank.matched, blank.offsets, heads=heads)

    def live(self) -> LiveDrafter:
        """There is none: it is no draft that an engine verifies. Raises ComponentError."""
        raise ComponentError(
            "specrl verifies a whole response with the prompt, which the engine does not do; "
            "simulate it"
        )


def previous(lengths: Lengths, delay: int) -> np.ndarray:
    """int32[n]: length of the response that the same sample of the same prompt had `delay` times
    before, 0 where there is none.
    """
    known: dict[tuple[int, int], list[int]] = {}
    found = np.zeros(len(lengths), np.int32)
    rows = zip(lengths.prompt.tolist(), lengths.sample.tolist(), strict=True)
    for i, (key, length) in enumerate(zip(rows, lengths.output_len.tolist(), strict=True)):
        before = known.setdefault(key, [])
        if len(before) >= delay:
            found[i] = before[-delay]
        before.append(length)
    return found


def accepted(draws: np.ndarray, chance: float) -> np.ndarray:
    """int64[n]: tokens accepted one after the other, each with this chance, before the first
    rejection; draws: uniform numbers in [0, 1).
    """
    if chance >= 1:
        return np.full(len(draws), np.iinfo(np.int32).max, np.int64)
    if chance <= 0:
        return np.zeros(len(draws), np.int64)
    most = np.iinfo(np.int32).max
    counts: np.ndarray = np.minimum(np.log1p(-draws) / np.log(chance), most).astype(np.int64)
    return counts


def chance_for(tokens: float, most: np.ndarray) -> float:
    """With which chance per token `tokens` are accepted in all, on average, where a draft has no
    more than most[i]; 1 if that is not enough.
    """
    if tokens >= most.sum():
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        chance = (low + high) / 2
        if chance == 1:
            return chance
        # The mean of a geometric number that is cut off.
        mean = np.sum(chance * -np.expm1(most * np.log(chance)) / (1 - chance))
        low, high = (chance, high) if mean < tokens else (low, chance)
    return (low + high) / 2
