"""Suffix drafts at every position of recorded rollouts, corpus by corpus."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..compiled import jit
from ..drafts import match_tree
from ..profile import Profile, blank_profile, starts_of
from .suffix_branch import pick_tree
from .suffix_draft import draft, follow
from .suffix_insert import add_text, drop_texts
from .suffix_label import write_labels
from .suffix_nodes import clear, new_root, new_tree, reserve
from .suffix_rule import HISTORY, OWN, SuffixRule, check_weight, newest, weigh
from .suffix_tree import append


def profile_suffix(
    rule: SuffixRule, lengths: Lengths, tokens: Tokens, threads: int = 1, labels: bool = False
) -> Profile:
    """What would be drafted at every position of every rollout; corpora on `threads` threads."""
    result = blank_profile(lengths.output_len)
    corpus = np.zeros_like(lengths.prompt) if rule.shared else lengths.prompt
    order = np.argsort(corpus, kind="stable")
    cuts = np.flatnonzero(np.diff(corpus[order])) + 1
    corpora = np.split(order.astype(np.int64), cuts)
    oldest = {int(step): rule.oldest(int(step)) for step in np.unique(lengths.rl_step)}
    oldest_of = np.array([oldest[step] for step in lengths.rl_step.tolist()], np.int64)

    worth = np.ones(len(lengths), np.int64)
    if rule.by_reward:
        for rl_step in np.unique(lengths.rl_step):
            rows = lengths.rl_step == rl_step
            worth[rows] = rule.worth(corpus[rows].tolist(), lengths.reward[rows].tolist())

    for rows in corpora if rule.scope & HISTORY else ():
        check_weight(_most_seen(rule, lengths.rl_step[rows], lengths.output_len[rows]), rule)

    def one(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept: tuple[np.ndarray, np.ndarray] = _profile_corpus(
            rows,
            lengths.rl_step,
            oldest_of,
            worth,
            tokens.prompt_tokens,
            tokens.prompt_offsets,
            tokens.prompt_of,
            tokens.output_tokens,
            result.offsets,
            rule.scope,
            rule.keep,
            rule.half_life,
            rule.depth,
            rule.limit,
            np.float32(rule.factor),
            np.float32(rule.min_prob),
            rule.paths,
            rule.shortest,
            rule.longest,
            rule.longest_first,
            rule.unit,
            labels,
            result.drafted,
            result.matched,
        )
        return kept

    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(one, corpora))
    if labels:
        result = replace(result, labels=_in_order(result, result.drafted, corpora, pieces, 0))
    if rule.paths > 1:
        result = replace(result, ranks=_in_order(result, result.matched, corpora, pieces, 1))
    return result


def _in_order(
    profile: Profile,
    counts: np.ndarray,
    corpora: list[np.ndarray],
    pieces: list[tuple[np.ndarray, np.ndarray]],
    which: int,
) -> np.ndarray:
    """What was kept corpus by corpus, in the trace's order."""
    sizes = np.add.reduceat(counts, profile.offsets[:-1], dtype=np.int64) if len(counts) else counts
    starts = starts_of(sizes)
    flat = np.empty(int(starts[-1]), np.uint8)
    for rows, kept in zip(corpora, pieces, strict=True):
        first = 0
        for row in rows.tolist():
            size = int(sizes[row])
            flat[starts[row] : starts[row] + size] = kept[which][first : first + size]
            first += size
    return flat


def _most_seen(rule: SuffixRule, rl_step: np.ndarray, output_len: np.ndarray) -> int:
    """What one corpus may weigh at most at a time: new rollouts come before the oldest go. And how
    much text there is, whose positions have to be counted.
    """
    ends = np.concatenate([[0], np.cumsum(output_len + 1, dtype=np.int64)])
    steps = np.unique(rl_step)
    known = ends[np.searchsorted(rl_step, steps)]
    gone = ends[np.searchsorted(rl_step, [rule.oldest(int(step)) for step in steps])]
    seen = known - np.concatenate([[0], gone[:-1]])
    return max(rule.heaviest * int(seen.max()), int(ends[-1]))


@jit()
def _profile_corpus(
    rows,
    rl_step,
    oldest,
    worth,
    prompt_tokens,
    prompt_offsets,
    prompt_of,
    output_tokens,
    offsets,
    scope,
    keep,
    half_life,
    depth,
    limit,
    factor,
    min_prob,
    paths,
    shortest,
    longest,
    longest_first,
    unit,
    keep_labels,
    drafted,
    matched,
):
    """Replay one corpus's rollouts, RL step by RL step: draft with what came before, then learn.

    Returns the labels and the ranks of its drafts, one after the other, where they are wanted.
    """
    room, total = 0, 0
    for row in rows:
        prompt = prompt_of[row]
        size = prompt_offsets[prompt + 1] - prompt_offsets[prompt] + offsets[row + 1] - offsets[row]
        room = max(room, size)
        total += offsets[row + 1] - offsets[row] + 1
    history, own = new_tree(1024), new_tree(1024)
    root = new_root(history)
    text = np.empty(total + 2 if scope & HISTORY else 2, np.int32)
    own_text = np.empty(room + 2, np.int32)
    ends, nowhere = np.empty_like(text), np.empty(0, np.int32)
    links = np.empty(0, np.int32)
    # Typed, so that what takes them is compiled once.
    base, mask, one = np.int64(0), np.int64(-1), np.int64(1)
    apart, within = np.bool_(False), np.bool_(True)
    text_end, left = np.int64(0), 0  # tokens of text, and of the history
    first_learnt, learnt = 0, 0  # rows[first_learnt:learnt] are in the history
    begins, sizes = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)  # of their texts
    weights, weighed = np.empty(len(rows), np.int64), np.int64(-1)
    tip, off = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int32)
    own_tip, own_off = np.zeros(depth + 1, np.int32), np.zeros(depth + 1, np.int32)
    tokens, own_tokens = np.empty((2, limit), np.int32), np.empty((2, limit), np.int32)
    counts, parents = np.empty((2, limit + 1), np.int32), np.empty(limit, np.int16)
    labels = np.empty(limit if keep_labels else 0, np.uint8)
    ranks = np.empty(limit, np.uint8)
    all_labels, label_count = np.empty(1024, np.uint8), 0
    all_ranks, rank_count = np.empty(1024, np.uint8), 0

    for index in range(len(rows)):
        row = rows[index]
        if scope & HISTORY and (index == 0 or rl_step[row] != rl_step[rows[index - 1]]):
            top = newest(rl_step[row], half_life)
            if top != weighed:  # all weights change
                while first_learnt < learnt and rl_step[rows[first_learnt]] < oldest[row]:
                    first_learnt += 1
                clear(history)
                root = new_root(history)
                text_end, left, learnt, weighed = np.int64(0), 0, first_learnt, top
            while learnt < index:
                output = output_tokens[offsets[rows[learnt]] : offsets[rows[learnt] + 1]]
                weight = weigh(rl_step[rows[learnt]], top, half_life) * worth[rows[learnt]]
                history, links = add_text(
                    history, links, root, text, ends, mask, text_end, output, depth, weight
                )
                begins[learnt], sizes[learnt], weights[learnt] = text_end, len(output), weight
                text_end += len(output) + 1  # the END that append() left
                left += len(output)
                learnt += 1
            first = first_learnt
            while first < learnt and (rl_step[rows[first]] < oldest[row] or left > keep > 0):
                left -= sizes[first]
                first += 1
            if first > first_learnt:
                gone = slice(first_learnt, first)
                drop_texts(history, ends, mask, begins[gone], sizes[gone], weights[gone])
                first_learnt = first

        begin, length = offsets[row], offsets[row + 1] - offsets[row]
        prompt = prompt_tokens[prompt_offsets[prompt_of[row]] : prompt_offsets[prompt_of[row] + 1]]
        own_tips, tips = one, one
        if scope & OWN:
            clear(own)
            own = reserve(own, 2 * (len(prompt) + length + depth))
            own_tip[0] = new_root(own)
        for i in range(len(prompt) + length - 1):
            token = prompt[i] if i < len(prompt) else output_tokens[begin + i - len(prompt)]
            if scope & OWN:
                own_tips = append(
                    own, own_text, nowhere, base, mask, i, own_tip, own_off, own_tips,
                    token, depth, one,
                )  # fmt: skip
            if scope & HISTORY and i > max(0, len(prompt) - depth):
                # The context is prompt and output, all but its first token.
                tips = follow(history, root, text, base, mask, tip, off, tips, token, depth)
            if i < len(prompt):
                continue
            g, good = i + 1 - len(prompt), 0
            if paths > 1:
                size = pick_tree(
                    scope, history, text, base, mask, tip, off, tips, own, own_text, base, mask,
                    own_tip, own_off, own_tips, depth, limit, factor, min_prob, paths,
                    tokens[0], parents, labels,
                )  # fmt: skip
                good = match_tree(
                    tokens[0], size, parents, output_tokens, begin + g, begin + length, ranks
                )
                all_ranks = _keep(all_ranks, rank_count, ranks, good)
                rank_count += good
            else:
                # Called from here and not through another function: that costs as much as a draft.
                picked, size, score = 0, 0, np.float32(0.0)
                if scope & HISTORY:
                    picked, size, score, reach = draft(
                        history, text, base, mask, tip, off, tips, apart, depth, limit, factor,
                        min_prob, shortest, longest, longest_first, tokens, counts,
                    )  # fmt: skip
                    if keep_labels:
                        write_labels(labels, 0, reach, size, counts, picked, unit)
                if scope & OWN:
                    own_picked, own_size, own_score, reach = draft(
                        own, own_text, base, mask, own_tip, own_off, own_tips, within, depth, limit,
                        factor, min_prob, shortest, longest, longest_first, own_tokens, counts,
                    )  # fmt: skip
                    if own_score >= score:
                        picked, size = own_picked, own_size
                        for k in range(size):
                            tokens[picked, k] = own_tokens[own_picked, k]
                        if keep_labels:
                            write_labels(labels, 1, reach, size, counts, own_picked, 1)
                while (
                    good < size
                    and g + good < length
                    and (tokens[picked, good] == output_tokens[begin + g + good])
                ):
                    good += 1
            if keep_labels:
                all_labels = _keep(all_labels, label_count, labels, size)
                label_count += size
            drafted[begin + g], matched[begin + g] = size, good
    return all_labels[:label_count], all_ranks[:rank_count]


@jit(inner=True)
def _keep(kept, count, new, size):
    """new[:size] behind the first `count` kept ones; the array, maybe grown."""
    if count + size > len(kept):
        grown = np.empty(2 * (count + size), np.uint8)
        for i in range(count):
            grown[i] = kept[i]
        kept = grown
    for i in range(size):
        kept[count + i] = new[i]
    return kept
