"""Where a text stands in a suffix tree (suffix_tree.py), and what SuffixDecoding drafts there."""

import numpy as np

from ..compiled import jit
from .suffix_nodes import COUNT, END, HEAD, LEN, NONE, START, TOKEN, find_child, settle


@jit(inner=True)
def follow(tree, root, text, base, mask, tip, off, tips, token, depth):
    """Move a context on by one token: where in a tree its suffixes end, as in append().

    Suffixes of up to depth - 1 tokens are followed: a longer one leaves no room for a draft.
    Returns the new `tips`.
    """
    node = tree.node
    tips = min(tips, depth - 1)
    kept = 1
    v, k = np.int32(root), np.int32(0)
    for j in range(tips):
        after, after_off = tip[j + 1], off[j + 1]
        if k == node[v, LEN]:
            v, k = find_child(tree, v, token), np.int32(0)
            if v == NONE:
                break
        elif text[(base + node[v, START] + k) & mask] != token:
            break
        tip[j + 1] = v
        off[j + 1] = k + 1
        kept = j + 2
        v, k = after, after_off
    return kept


@jit(inner=True)
def tips_at(tip, off, tips, v, k):
    """How many tips stop k tokens into v's edge."""
    count = 0
    for j in range(1, tips):
        if tip[j] == v and off[j] == k:
            count += 1
    return count


@jit(inner=True)
def tips_before(tip, off, tips, v, k):
    """How many tips stop before."""
    count = 0
    for j in range(1, tips):
        if tip[j] == v and off[j] < k:
            count += 1
    return count


@jit(inner=True)
def draft(
    tree, text, base, mask, tip, off, tips, live, depth, limit, factor, min_prob, shortest, longest,
    longest_first, tokens, counts,
):  # fmt: skip
    """The draft that SuffixDecoding's published rule picks (arXiv 2411.04975 §3; score = sum of the
    path's probabilities).

    For every matching suffix, longest first, walk the most frequent continuations, at most
    factor * match length and `limit` tokens, until the path's probability falls under `min_prob`;
    keep the path with the highest score, ties to the longer match (longest_first: the path of the
    longest match that has one). Only matches of `shortest` to `longest` tokens are looked at.

    tokens: int32[2, >= limit] and counts: int32[2, >= limit + 1] (how often the match and the first
    i tokens occurred) are written; returns (row of the draft in them, its length, its score, tokens
    of its match). live: the tips are of a text in this tree, which goes on nowhere yet. Single
    precision throughout, as in arctic-inference.
    """
    node = tree.node
    best, best_length, row, match = np.float32(0.0), 0, 0, 0
    seen_count, seen_room = np.int32(-1), 0
    for j in range(min(min(tips - 1, depth - 1), longest), shortest - 1, -1):
        room = min(limit, depth - j)
        wanted = np.float32(j) * factor
        if wanted + 1e-6 < room:
            room = int(wanted + 1e-6)
        # No walk can score more than one per token.
        if np.float32(room) <= best:
            continue
        v, k = tip[j], off[j]
        count = node[v, COUNT]
        if live:
            count -= tips_before(tip, off, tips, v, k)
        if count == seen_count and room <= seen_room:
            continue  # the same occurrences, so the same walk
        seen_count, seen_room = count, room
        prob, score, length, spare = np.float32(1.0), np.float32(0.0), 0, 1 - row
        counts[spare, 0] = count
        last = node[v, LEN]
        while length < room:
            if k < last:
                token = text[(base + node[v, START] + k) & mask]
                if token == END:
                    break
                then = count - tips_at(tip, off, tips, v, k) if live else count
                k += 1
            else:
                head = node[v, HEAD]
                if head == NONE:
                    break
                v = head if head >= 0 else settle(tree, v)
                then, last, k = node[v, COUNT], node[v, LEN], np.int32(1)
                token = node[v, TOKEN]
            if then != count:
                prob = prob * (np.float32(then) / np.float32(count))
                if prob < min_prob:
                    break
                count = then
            tokens[spare, length] = token
            score += prob
            length += 1
            counts[spare, length] = count
        if score > best:
            best, best_length, row, match = score, length, spare, j
            if longest_first:
                break
    return row, best_length, best, match
