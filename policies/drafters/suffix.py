"""SuffixDecoding over the problem's earlier rollouts, the rollout's own text, or both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..compiled import jit
from ..profile import Profile, blank_profile
from ..registry import option
from .live import LiveDrafter
from .suffix_draft import draft, follow
from .suffix_history import SuffixHistory
from .suffix_live import HISTORY, OWN, LiveSuffix
from .suffix_nodes import clear, is_full, new_root, new_tree, reserve
from .suffix_tree import add_text, append, drop_texts


@dataclass(frozen=True)
class Suffix:
    """Longest recurring suffix, most frequent continuation: SuffixDecoding per problem.

    History at RL step s is what the same prompt's rollouts wrote in steps before s; own text is the
    rollout's prompt and output so far. With `scope=both` the draft with the higher score is taken,
    ties to own text. A draft costs no model forward.
    """

    name: ClassVar[str] = "suffix"
    source: ClassVar[str] = (
        "SuffixDecoding, arXiv 2411.04975; one tree per problem as in DAS, arXiv 2511.13841 §4"
    )
    needs_tokens: ClassVar[bool] = True
    acceptance: ClassVar[str] = "token-exact replay (one-hot drafts against recorded tokens)"

    scope: str = option(
        "both",
        "where to look: history of the problem, own text, both; history of all problems (global), "
        "and own text (all)",
        choices=("problem", "own", "both", "global", "all"),
        always=True,
    )
    window: int = option(0, "history window, 0 is all of it", low=0, unit="RL steps")
    keep: int = option(
        0, "history kept of a corpus, the latest rollouts; 0 is all", low=0, unit="tokens"
    )
    depth: int = option(
        24, "longest string counted, match and draft together", low=2, high=256, unit="tokens"
    )
    factor: float = option(1.0, "draft at most factor x match length", low=0.0)
    min_prob: float = option(
        0.1, "stop a draft when its probability falls below", low=0.0, high=1.0
    )
    max: int = option(16, "longest draft", low=0, high=128, unit="tokens")

    @property
    def longest_draft(self) -> int:
        """K, tokens."""
        return self.max

    @property
    def history_steps(self) -> int | None:
        """On how many earlier RL steps a draft depends; None: on all of them."""
        return 0 if self.scope == "own" else self.window or None

    @property
    def _scope(self) -> int:
        own, both = self.scope == "own", self.scope in ("both", "all")
        return OWN if own else HISTORY | OWN if both else HISTORY

    @property
    def _shared(self) -> bool:
        """Whether all problems are one corpus."""
        return self.scope in ("global", "all")

    def profile(self, lengths: Lengths, tokens: Tokens, threads: int = 1) -> Profile:
        """What would be drafted at every position of every rollout (see policies/profile.py)."""
        result = blank_profile(lengths.output_len)
        corpus = np.zeros_like(lengths.prompt) if self._shared else lengths.prompt
        order = np.argsort(corpus, kind="stable")
        cuts = np.flatnonzero(np.diff(corpus[order])) + 1
        problems = np.split(order.astype(np.int64), cuts)

        def one(rows: np.ndarray) -> None:
            _profile_problem(
                rows,
                lengths.rl_step,
                tokens.prompt_tokens,
                tokens.prompt_offsets,
                tokens.prompt_of,
                tokens.output_tokens,
                result.offsets,
                self._scope,
                self.window,
                self.keep,
                self.depth,
                self.max,
                np.float32(self.factor),
                np.float32(self.min_prob),
                result.drafted,
                result.matched,
            )

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, problems))
        return result

    def live(self) -> LiveDrafter:
        """The same drafts, one forward at a time."""
        history = SuffixHistory(self.depth, self.window, self.keep)
        return LiveSuffix(history, self._scope, self._shared, self.max, self.factor, self.min_prob)


@jit()
def _profile_problem(
    rows,
    rl_step,
    prompt_tokens,
    prompt_offsets,
    prompt_of,
    output_tokens,
    offsets,
    scope,
    window,
    keep,
    depth,
    limit,
    factor,
    min_prob,
    drafted,
    matched,
):
    """Replay one problem's rollouts, RL step by RL step: draft with what came before, then
    learn.
    """
    longest, total = 0, 0
    for row in rows:
        prompt = prompt_of[row]
        size = prompt_offsets[prompt + 1] - prompt_offsets[prompt] + offsets[row + 1] - offsets[row]
        longest = max(longest, size)
        total += offsets[row + 1] - offsets[row] + 1
    history, own = new_tree(1024), new_tree(1024)
    root = new_root(history)
    text = np.empty(total + 2 if scope & HISTORY else 2, np.int32)
    own_text = np.empty(longest + 2, np.int32)
    ends, nowhere = np.empty_like(text), np.empty(0, np.int32)
    text_end, left = 0, 0  # tokens of text, and of the history
    first_learnt, learnt = 0, 0  # rows[first_learnt:learnt] are in the history
    begins, sizes = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)  # of their texts
    ones = np.ones(len(rows), np.int64)
    tip, off = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int32)
    own_tip, own_off = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int32)
    tokens, probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)
    spare_tokens, spare_probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)

    for index in range(len(rows)):
        row = rows[index]
        if scope & HISTORY and (index == 0 or rl_step[row] != rl_step[rows[index - 1]]):
            while learnt < index:
                output = output_tokens[offsets[rows[learnt]] : offsets[rows[learnt] + 1]]
                history = add_text(history, root, text, ends, -1, text_end, output, depth, 1)
                begins[learnt], sizes[learnt] = text_end, len(output)
                text_end += len(output) + 1  # the END that append() left
                left += len(output)
                learnt += 1
            first = first_learnt
            while first < learnt and (
                (window > 0 and rl_step[rows[first]] < rl_step[row] - window) or left > keep > 0
            ):
                left -= sizes[first]
                first += 1
            if first > first_learnt:
                gone = slice(first_learnt, first)
                drop_texts(history, ends, -1, begins[gone], sizes[gone], ones[gone])
                first_learnt = first

        begin, length = offsets[row], offsets[row + 1] - offsets[row]
        prompt = prompt_tokens[prompt_offsets[prompt_of[row]] : prompt_offsets[prompt_of[row] + 1]]
        own_tips, tips = 1, 1
        if scope & OWN:
            clear(own)
            own_tip[0] = new_root(own)
        for i in range(len(prompt) + length - 1):
            token = prompt[i] if i < len(prompt) else output_tokens[begin + i - len(prompt)]
            if scope & OWN:
                if is_full(own, 2 * depth):
                    own = reserve(own, 2 * depth)
                own_tips = append(
                    own, 0, own_text, nowhere, 0, -1, i, own_tip, own_off, own_tips, token, depth, 1
                )
            if scope & HISTORY and i > max(0, len(prompt) - depth):
                # The context is prompt and output, all but its first token.
                tips = follow(history, root, text, 0, -1, tip, off, tips, token, depth)
            if i < len(prompt):
                continue
            picked, size, score = 0, 0, np.float32(0.0)
            if scope & HISTORY:
                picked, size, score = draft(
                    history, text, 0, -1, tip, off, tips, False, depth, limit, factor,
                    min_prob, tokens, probs,
                )  # fmt: skip
            if scope & OWN:
                own_picked, own_size, own_score = draft(
                    own, own_text, 0, -1, own_tip, own_off, own_tips, True, depth, limit, factor,
                    min_prob, spare_tokens, spare_probs,
                )  # fmt: skip
                if own_score >= score:
                    picked, size = own_picked, own_size
                    for k in range(size):
                        tokens[picked, k] = spare_tokens[own_picked, k]
            g, good = i + 1 - len(prompt), 0
            while (
                good < size
                and g + good < length
                and (tokens[picked, good] == output_tokens[begin + g + good])
            ):
                good += 1
            drafted[begin + g], matched[begin + g] = size, good
