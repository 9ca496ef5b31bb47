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
from .suffix_forest import append, clear, draft, follow, new_forest, new_root, reserve
from .suffix_live import LiveSuffix

PROBLEM, OWN = 1, 2


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

    scope: str = option("both", "where to look", choices=("problem", "own", "both"), always=True)
    window: int = option(0, "history window, 0 is all of it", low=0, unit="RL steps")
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
        return {"problem": PROBLEM, "own": OWN, "both": PROBLEM | OWN}[self.scope]

    def profile(self, lengths: Lengths, tokens: Tokens, threads: int = 1) -> Profile:
        """What would be drafted at every position of every rollout (see policies/profile.py)."""
        result = blank_profile(lengths.output_len)
        order = np.argsort(lengths.prompt, kind="stable")
        cuts = np.flatnonzero(np.diff(lengths.prompt[order])) + 1
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
        return LiveSuffix(
            self._scope, self.window, self.depth, self.max, self.factor, self.min_prob
        )


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
    history, own = new_forest(1024), new_forest(1024)
    root = new_root(history)
    text = np.empty(total + 2 if scope & 1 else 2, np.int32)
    own_text = np.empty(longest + 2, np.int32)
    text_end, first_learnt, learnt = 0, 0, 0  # rows[first_learnt:learnt] are in the history
    active = np.zeros(depth + 1, np.int32)
    own_active = np.zeros(depth + 1, np.int32)
    match, at = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int64)
    nowhere = np.empty(0, np.int64)
    tokens, probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)
    spare_tokens, spare_probs = np.empty((2, limit), np.int32), np.empty((2, limit), np.float32)

    for index in range(len(rows)):
        row = rows[index]
        if scope & 1 and (index == 0 or rl_step[row] != rl_step[rows[index - 1]]):
            first = first_learnt
            if window > 0:
                while rl_step[rows[first]] < rl_step[row] - window:
                    first += 1
            if first > first_learnt:  # the window slid: begin again with what is still in it
                clear(history)
                root = new_root(history)
                text_end, first_learnt, learnt = 0, first, first
            while learnt < index:
                begin, end = offsets[rows[learnt]], offsets[rows[learnt] + 1]
                ends = 1
                active[0] = root
                for i in range(end - begin):
                    history = reserve(history, 2 * depth)
                    ends = append(
                        history,
                        root,
                        text,
                        0,
                        text_end,
                        active,
                        ends,
                        output_tokens[begin + i],
                        depth,
                    )
                    text_end += 1
                text_end += 1  # the END that append() left
                learnt += 1

        begin, length = offsets[row], offsets[row + 1] - offsets[row]
        own_length, own_ends, matches = 0, 1, 1
        if scope & 2:
            clear(own)
            new_root(own)
            prompt = prompt_of[row]
            for i in range(prompt_offsets[prompt], prompt_offsets[prompt + 1]):
                own = reserve(own, 2 * depth)
                own_ends = append(
                    own, 0, own_text, 0, own_length, own_active, own_ends, prompt_tokens[i], depth
                )
                own_length += 1
        match[0], at[0] = root, 0
        if scope & 1:  # the context is prompt and output, all but its first token
            prompt = prompt_of[row]
            last = prompt_offsets[prompt + 1]
            for i in range(max(prompt_offsets[prompt] + 1, last - depth + 1), last):
                matches = follow(
                    history, root, text, 0, match, at, matches, prompt_tokens[i], depth
                )
        for g in range(1, length):
            token = output_tokens[begin + g - 1]
            picked, size, score = 0, 0, np.float32(0.0)
            if scope & 1:
                matches = follow(history, root, text, 0, match, at, matches, token, depth)
                picked, size, score = draft(
                    history,
                    text,
                    0,
                    match,
                    at,
                    matches,
                    depth,
                    limit,
                    factor,
                    min_prob,
                    tokens,
                    probs,
                )
            if scope & 2:
                own = reserve(own, 2 * depth)
                own_ends = append(
                    own, 0, own_text, 0, own_length, own_active, own_ends, token, depth
                )
                own_length += 1
                own_picked, own_size, own_score = draft(
                    own,
                    own_text,
                    0,
                    own_active,
                    nowhere,
                    own_ends,
                    depth,
                    limit,
                    factor,
                    min_prob,
                    spare_tokens,
                    spare_probs,
                )
                if own_score >= score:
                    picked, size = own_picked, own_size
                    for i in range(size):
                        tokens[picked, i] = spare_tokens[own_picked, i]
            good = 0
            while (
                good < size
                and g + good < length
                and (tokens[picked, good] == output_tokens[begin + g + good])
            ):
                good += 1
            drafted[begin + g], matched[begin + g] = size, good
