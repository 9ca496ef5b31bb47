"""An appendable forest of depth-limited suffix tries over integer tokens, with occurrence counts.

A node is a string s that occurs in the trie's texts; `count` is how often, `head` its most frequent
continuation. The trie is lazy: a string that occurred once is a leaf that points into the text, and
only its second occurrence gives it a child. So a token costs as many steps as there are suffixes
ending in it that were seen before, not `depth` of them, and a draft that has become unique is read
off the text.

Equal counts: the continuation whose latest occurrence is the latest comes first, except at count
one, where the first seen does: a rule that can be told from the texts alone. It is nearly the
order of arctic-inference's sibling lists, which also depends on how its tree grew; drafts differ
only there.

Everything is a plain array, so one call walks a whole batch without touching Python. Several tries
share one forest: each has a root node and a region of `text` that begins at `base`. Positions
stored in nodes are relative to that base.
"""

from typing import NamedTuple

import numpy as np

from ..compiled import jit

COUNT, HEAD, NEXT, TOKEN = range(4)
END = -1  # in the text: nothing follows here
ROOT_COUNT = 1 << 30  # never a leaf


class Forest(NamedTuple):
    """Tries in arrays. `size` = [nodes in use]; a node's id is its row."""

    node: np.ndarray  # int32[N, 4]: count, head child (-1: none), next text position, last token
    slot: np.ndarray  # int64[N]: where the node's entry stands in `table`
    table: np.ndarray  # int64[2 M]: (parent << 32 | token, node) in open addressing; -1: free
    size: np.ndarray  # int64[1]


@jit()
def new_forest(nodes):
    """An empty forest with room for `nodes` nodes before it has to grow."""
    capacity = 64
    while capacity < nodes:
        capacity *= 2
    return Forest(
        np.empty((capacity, 4), np.int32),
        np.empty(capacity, np.int64),
        np.full(4 * capacity, -1, np.int64),
        np.zeros(1, np.int64),
    )


@jit()
def clear(forest):
    """Forget every trie, in time proportional to what is forgotten."""
    for i in range(forest.size[0]):
        if forest.slot[i] >= 0:
            forest.table[forest.slot[i]] = -1
    forest.size[0] = 0


@jit()
def reserve(forest, nodes):
    """The forest, grown if needed, so that `nodes` more nodes fit."""
    used = forest.size[0]
    if used + nodes <= forest.node.shape[0]:
        return forest
    grown = new_forest(max(2 * forest.node.shape[0], used + nodes))
    grown.size[0] = used
    for i in range(used):
        for field in range(4):
            grown.node[i, field] = forest.node[i, field]
        if forest.slot[i] < 0:
            grown.slot[i] = -1
        else:
            _enter(grown, forest.table[forest.slot[i]], i)
    return grown


@jit()
def new_root(forest):
    """A new, empty trie; its root's id."""
    root = forest.size[0]
    forest.size[0] = root + 1
    forest.node[root, COUNT] = ROOT_COUNT
    forest.node[root, HEAD] = -1
    forest.node[root, NEXT] = 0
    forest.node[root, TOKEN] = END
    forest.slot[root] = -1
    return root


@jit(inner=True)
def _find(forest, key):
    """Table index of the key's entry, or of the free place where it belongs."""
    mask = len(forest.table) // 2 - 1
    mixed = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    at = np.int64(mixed) & mask
    while forest.table[2 * at] != -1 and forest.table[2 * at] != key:
        at = (at + 1) & mask
    return 2 * at


@jit(inner=True)
def _enter(forest, key, node):
    at = _find(forest, key)
    forest.table[at] = key
    forest.table[at + 1] = node
    forest.slot[node] = at


@jit()
def _child(forest, parent, token):
    """The child of `parent` by `token`, or -1."""
    head = forest.node[parent, HEAD]
    if head < 0 or forest.node[head, TOKEN] == token:
        return head
    at = _find(forest, (np.int64(parent) << 32) | np.int64(token))
    if forest.table[at] < 0:
        return np.int32(-1)
    return np.int32(forest.table[at + 1])


@jit(inner=True)
def _add(forest, parent, token, position):
    """A leaf: the string of `parent` and `token`, which occurred once and goes on at `position`."""
    new = forest.size[0]
    forest.size[0] = new + 1
    forest.node[new, COUNT] = 1
    forest.node[new, HEAD] = -1
    forest.node[new, NEXT] = position
    forest.node[new, TOKEN] = token
    _enter(forest, (np.int64(parent) << 32) | np.int64(token), new)
    if forest.node[parent, HEAD] < 0:
        forest.node[parent, HEAD] = new
    return np.int32(new)


@jit()
def append(forest, root, text, base, length, active, ends, token, depth):
    """Append one token to the text of `length` tokens at `base` and count every suffix it ends.

    active: int32[>= depth + 1]; entry j < `ends` is the node of the text's last j tokens (entry 0:
    the root; begin a text with ends = 1). Returns the new `ends`. Room for 2 * depth nodes must be
    reserved, and for two more tokens of text.
    """
    text[base + length] = token
    text[base + length + 1] = END
    node = forest.node
    if ends > depth:
        ends = depth
    kept = 1
    carry = np.int32(root)
    for j in range(ends):
        parent = carry
        carry = active[j + 1]
        if node[parent, COUNT] == 1:
            break  # only this occurrence so far, and so of every longer suffix
        child = _child(forest, parent, token)
        if child < 0:
            child = _add(forest, parent, token, length + 1)
        else:
            count = node[child, COUNT] + 1
            node[child, COUNT] = count
            after = node[child, NEXT]
            # The second occurrence turns a leaf into an inner node: its first occurrence becomes a
            # child, unless it is this text's last token, whose continuation is counted in its turn.
            if count == 2 and j + 1 < depth and after < length and text[base + after] != END:
                _add(forest, child, text[base + after], after + 1)
            if count >= node[node[parent, HEAD], COUNT]:
                node[parent, HEAD] = child
        active[j + 1] = child
        kept = j + 2
    active[0] = root
    return kept


@jit()
def follow(forest, root, text, base, match, at, matched, token, depth):
    """Move a context on by one token: which of its suffixes occur in the trie.

    match: int32[>= depth], at: int64[>= depth]; entry j < `matched` is the node of the context's
    last j tokens and, if that is a leaf, the text position that follows. Returns the new
    `matched`. Suffixes of up to depth - 1 tokens are followed: a longer one leaves no room for a
    draft.
    """
    node = forest.node
    if matched > depth - 1:
        matched = depth - 1
    kept = 1
    carry, carry_at = np.int32(root), np.int64(0)
    for j in range(matched):
        parent, position = carry, carry_at
        carry, carry_at = match[j + 1], at[j + 1]
        if node[parent, COUNT] == 1:
            if text[base + position] != token:
                break
            match[j + 1] = parent
            at[j + 1] = position + 1
        else:
            child = _child(forest, parent, token)
            if child < 0:
                break
            match[j + 1] = child
            at[j + 1] = node[child, NEXT]
        kept = j + 2
    match[0] = root
    at[0] = 0
    return kept


@jit()
def draft(forest, text, base, match, at, matched, depth, limit, factor, min_prob, tokens, probs):
    """The draft that SuffixDecoding's published rule picks (arXiv 2411.04975 §3; score = sum of
    probs).

    For every matching suffix, longest first, walk the most frequent continuations, at most
    factor * match length and `limit` tokens, until the path's probability falls under `min_prob`;
    keep the path with the highest score, ties to the longer match. tokens: int32[2, >= limit] and
    probs: float32[2, >= limit] are written; returns (row of the draft in them, its length, its
    score). `at` of length 0 means that leaves are no match (a text followed in itself). Single
    precision throughout, as in arctic-inference.
    """
    node = forest.node
    best, best_length, row = np.float32(0.0), 0, 0
    seen_count, seen_room = np.int32(-1), 0
    for j in range(min(matched - 1, depth - 1), 0, -1):
        room = min(limit, depth - j)
        wanted = np.float32(j) * factor
        if wanted + 1e-6 < room:
            room = int(wanted + 1e-6)
        count = node[match[j], COUNT]
        # No walk can score more than one per token; the same occurrences give the same walk.
        if np.float32(room) <= best or (count == seen_count and room <= seen_room):
            continue
        seen_count, seen_room = count, room
        if count == 1 and len(at) == 0:
            continue
        position = at[j] if count == 1 else np.int64(-1)
        current = match[j]
        prob, score, length, spare = np.float32(1.0), np.float32(0.0), 0, 1 - row
        while length < room:
            if position >= 0:
                token = text[base + position]
                if token == END:
                    break
                position += 1
            else:
                child = node[current, HEAD]
                if child < 0:
                    break
                count, total = node[child, COUNT], node[current, COUNT]
                if count != total:
                    prob = prob * (np.float32(count) / np.float32(total))
                    if prob < min_prob:
                        break
                token = node[child, TOKEN]
                current = child
                if count == 1:
                    position = np.int64(node[child, NEXT])
            tokens[spare, length] = token
            probs[spare, length] = prob
            score += prob
            length += 1
        if score > best:
            best, best_length, row = score, length, spare
    return row, best_length, best
