"""Several likely continuations at once: a draft that branches, from a suffix tree."""

import numpy as np

from ..compiled import jit
from .suffix_draft import tips_at, tips_before
from .suffix_label import label_path
from .suffix_nodes import COUNT, END, HEAD, LEN, NEXT, NONE, START, TOKEN, settle
from .suffix_rule import HISTORY, OWN

# columns of a candidate: the node of the suffix tree and how far into its edge, the draft's node
# before it, its token, its occurrences, and its place below the match
NODE, EDGE, PARENT, WORD, COUNTED, LEVEL = range(6)


@jit(inner=True)
def _ahead(probs, what, a, b):
    """Whether candidate a is drafted before candidate b."""
    if probs[a] != probs[b]:
        return probs[a] > probs[b]
    if what[a, PARENT] != what[b, PARENT]:
        return what[a, PARENT] < what[b, PARENT]
    return what[a, WORD] < what[b, WORD]


@jit(inner=True)
def _offer(probs, what, count, room, prob, v, k, parent, token, count_of, level):
    """Keep a candidate if it is among the best `room`; how many are kept now."""
    at = count
    probs[at], what[at, NODE], what[at, EDGE], what[at, PARENT] = prob, v, k, parent
    what[at, WORD], what[at, COUNTED], what[at, LEVEL] = token, count_of, level
    if count < room:
        return count + 1
    worst = 0
    for i in range(1, count + 1):
        if _ahead(probs, what, worst, i):
            worst = i
    _drop(probs, what, worst, count + 1)
    return count


@jit(inner=True)
def _drop(probs, what, which, count):
    last = count - 1
    probs[which] = probs[last]
    for field in range(what.shape[1]):
        what[which, field] = what[last, field]


@jit(inner=True)
def _best(probs, what, count):
    best = 0
    for i in range(1, count):
        if _ahead(probs, what, i, best):
            best = i
    return best


@jit(inner=True)
def draft_tree(
    tree, text, base, mask, tip, off, tips, live, depth, limit, factor, min_prob, paths,
    tokens, parents, path,
):  # fmt: skip
    """As draft(), with up to `paths` paths: of all continuations of a match the likeliest next one
    is taken, again and again, until `limit` tokens are.

    Of a match's continuations one follows the path that it is on, the most frequent one; each of
    the others begins a path of its own. Equally likely ones: first what begins a path, then by the
    node before, then by token. tokens, parents: int32[2, >= limit] and path: float32[2, >= limit],
    how likely each node is by the counts, are written; returns (row of the draft in them, its size,
    its score, tokens of its match). Source: arctic-inference suffix_tree.cc, _speculate_tree;
    Seer, arXiv 2511.14617 §4.4 (multi-path drafting).
    """
    node = tree.node
    best, best_size, row, match = np.float32(0.0), 0, 0, 0
    seen_count, seen_room, seen_levels = np.int32(-1), 0, 0
    # What goes on where it is, and what begins a new path.
    on_probs, on = np.empty(limit + 2, np.float32), np.empty((limit + 2, 6), np.int32)
    off_probs, aside = np.empty(limit + 2, np.float32), np.empty((limit + 2, 6), np.int32)
    for j in range(min(tips - 1, depth - 1), 0, -1):
        room = limit
        wanted = np.float32(j) * factor
        if wanted + 1e-6 < room:
            room = int(wanted + 1e-6)
        if np.float32(room) <= best:
            continue
        v, k = tip[j], off[j]
        count = node[v, COUNT]
        if live:
            count -= tips_before(tip, off, tips, v, k)
        levels = min(room, depth - j)
        if count == seen_count and room <= seen_room and levels <= seen_levels:
            continue  # the same occurrences, so the same tree
        seen_count, seen_room, seen_levels = count, room, levels
        spare, size, score, begun = 1 - row, 0, np.float32(0.0), 1
        ons, asides = 0, 0
        at_v, at_k, at_count, prob, parent, level = v, k, count, np.float32(1.0), -1, 0
        while True:
            # What may follow the node that was drafted last (at first: the match).
            if j + level < depth:
                if at_k < node[at_v, LEN]:
                    token = text[(base + node[at_v, START] + at_k) & mask]
                    if token != END:
                        then = at_count
                        if live:
                            then -= tips_at(tip, off, tips, at_v, at_k)
                        then_prob = prob
                        if then != at_count:
                            then_prob = prob * (np.float32(then) / np.float32(at_count))
                        if then_prob >= min_prob and then > 0:
                            ons = _offer(
                                on_probs, on, ons, limit, then_prob, at_v, at_k + 1, parent, token,
                                then, level,
                            )  # fmt: skip
                else:
                    head = node[at_v, HEAD]
                    if head != NONE and head < 0:
                        head = settle(tree, at_v)
                    child = head
                    while child != NONE:
                        then = node[child, COUNT]
                        then_prob = prob
                        if then != at_count:
                            then_prob = prob * (np.float32(then) / np.float32(at_count))
                        if then_prob >= min_prob:
                            token = node[child, TOKEN]
                            if child == head:
                                ons = _offer(
                                    on_probs, on, ons, limit, then_prob, child, 1, parent, token,
                                    then, level,
                                )  # fmt: skip
                            elif paths > 1:
                                asides = _offer(
                                    off_probs, aside, asides, min(paths - 1, limit), then_prob,
                                    child, 1, parent, token, then, level,
                                )  # fmt: skip
                        child = node[child, NEXT]
            if begun == paths:
                asides = 0
            if size == room or ons + asides == 0:
                break
            a, b = _best(on_probs, on, ons), _best(off_probs, aside, asides)
            if ons > 0 and (asides == 0 or on_probs[a] > off_probs[b]):
                probs, what, which = on_probs, on, a
                ons -= 1
                left = ons
            else:
                probs, what, which = off_probs, aside, b
                asides -= 1
                left = asides
                begun += 1
            at_v, at_k, at_count = what[which, NODE], what[which, EDGE], what[which, COUNTED]
            prob, level = probs[which], what[which, LEVEL] + 1
            tokens[spare, size], parents[spare, size] = what[which, WORD], what[which, PARENT]
            path[spare, size] = prob
            _drop(probs, what, which, left + 1)
            parent = size
            score += prob
            size += 1
        if score > best:
            best, best_size, row, match = score, size, spare, j
    return row, best_size, best, match


@jit(inner=True)
def pick_tree(
    scope, past, past_text, past_base, past_mask, match, match_off, matches,
    tree, text, base, mask, tip, off, tips, depth, limit, factor, min_prob, paths,
    tokens, parents, labels,
):  # fmt: skip
    """The tree with the higher score of the two places that `scope` names, ties to own text.

    past …: the history's trees (matches = 1: nothing of it is at hand) and where the text stands in
    them; tree …: of the text itself. tokens: int32[>= limit], parents: int16[>= limit] and labels:
    uint8[>= limit], or of length 0, are written; returns how many.
    """
    two_tokens, two_parents = np.empty((2, limit), np.int32), np.empty((2, limit), np.int32)
    path = np.empty((2, limit), np.float32)
    length, score = 0, np.float32(0.0)
    if scope & HISTORY and matches > 1:
        row, length, score, reach = draft_tree(
            past, past_text, past_base, past_mask, match, match_off, matches, np.bool_(False),
            depth, limit, factor, min_prob, paths, two_tokens, two_parents, path,
        )  # fmt: skip
        _copy(two_tokens, two_parents, path, row, length, 0, reach, tokens, parents, labels)
    if scope & OWN:
        row, own_length, own_score, reach = draft_tree(
            tree, text, base, mask, tip, off, tips, np.bool_(True), depth, limit, factor, min_prob,
            paths, two_tokens, two_parents, path,
        )  # fmt: skip
        if own_score >= score:
            length = own_length
            _copy(two_tokens, two_parents, path, row, length, 1, reach, tokens, parents, labels)
    return length


@jit(inner=True)
def _copy(two_tokens, two_parents, path, row, length, own, reach, tokens, parents, labels):
    for i in range(length):
        tokens[i], parents[i] = two_tokens[row, i], two_parents[row, i]
        if len(labels) > 0:
            labels[i] = label_path(own, reach, path[row, i])
