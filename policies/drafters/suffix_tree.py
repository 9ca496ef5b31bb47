"""A suffix tree over many growing texts, limited in depth, that counts.

Texts grow token by token here; suffix_insert.py puts whole ones into the tree, and takes them out.

A node stands for the strings along the edge that leads to it: all of them occurred `COUNT` times
(times the weight of the text that each occurrence is in), and the edge's label is `LEN` tokens of
text from `START` on. A leaf's label ends where its text does, or at the depth limit. So a token
costs as many steps as there are suffixes ending in it that were seen before, and only where two
occurrences part does a string get a node of its own.

The strings that end a text which is still growing lie anywhere on an edge: its *tips*. An edge's
`COUNT` counts them, though they have not got to its end; whoever reads counts of a tree with a
growing text takes them off again (`_tips_at`). `finish` gives each of them a node.

Of equally frequent continuations the one that occurred last comes first, except at count one, where
the one seen first does. That can be told from the texts alone, and is nearly the order of
arctic-inference's sibling lists, which also depends on how its tree grew.

Everything is a plain array, so that one call serves a whole batch without touching Python. Many
trees share them, a root each. Positions of text are relative to `base` and taken modulo a power of
two (`mask` + 1), so a ring buffer does for texts that come and go in order; `mask` is -1 where
there is none. Positions wrap around at 2**32: only their differences count.

Source: Ukkonen 1995 for open leaves; SuffixDecoding, arXiv 2411.04975, for what is counted.
"""

import numpy as np

from ..compiled import jit
from .suffix_nodes import (
    COUNT,
    END,
    HEAD,
    LEFT,
    LEN,
    NEXT,
    NONE,
    PARENT,
    PREV,
    START,
    TOKEN,
    enter,
    find_child,
    free_node,
    lead,
    link,
    new_node,
    slot,
    unsettled,
)


@jit(inner=True)
def add_leaf(tree, parent, token, position, length, weight):
    """A string that occurred once: its edge begins with `token` at `position`."""
    node = tree.node
    new = new_node(tree)
    node[new, COUNT] = weight
    node[new, START] = position
    node[new, LEN] = length
    node[new, PARENT] = parent
    node[new, HEAD] = NONE
    node[new, TOKEN] = token
    head = node[parent, HEAD]
    first = head >= 0 and (
        weight > node[head, COUNT] or (weight == node[head, COUNT] and weight != 1)
    )
    link(node, parent, new, first)
    enter(tree, new)
    return new


@jit(inner=True)
def cut(tree, v, k, position, label):
    """A node after the first k tokens of v's edge, which occurred at `position`; v keeps the rest,
    which begins with `label`.
    """
    node = tree.node
    upper = new_node(tree)
    parent, before, after = node[v, PARENT], node[v, PREV], node[v, NEXT]
    node[upper, COUNT] = node[v, COUNT]
    node[upper, START] = position
    node[upper, LEN] = k
    node[upper, PARENT] = parent
    node[upper, HEAD] = v
    node[upper, NEXT] = after
    node[upper, PREV] = before
    node[upper, TOKEN] = node[v, TOKEN]
    tree.table[slot(tree, v)] = upper
    if before == NONE:
        node[parent, HEAD] = unsettled(upper) if node[parent, HEAD] < NONE else upper
    else:
        node[before, NEXT] = upper
    if after != NONE:
        node[after, PREV] = upper
    node[v, START] += k
    node[v, LEN] -= k
    node[v, PARENT] = upper
    node[v, TOKEN] = label
    node[v, NEXT] = NONE
    node[v, PREV] = NONE
    enter(tree, v)
    return upper


@jit(inner=True)
def _split(tree, v, k, position, label, tip, off, tips, weight):
    """cut() an edge that tips are on: they are moved along, and those that stop at the new node or
    before have not entered what v keeps.
    """
    node = tree.node
    upper = cut(tree, v, k, position, label)
    for j in range(1, tips):
        if tip[j] == v:
            if off[j] <= k:
                tip[j] = upper
                node[v, COUNT] -= weight
            else:
                off[j] -= k
    return upper


@jit()
def append(tree, text, ends, base, mask, position, tip, off, tips, token, depth, weight):
    """Append `token` at `position` to a text, and count every suffix that it ends.

    tip, off: int32[>= depth + 1]; entry j < `tips` is where the last j tokens end: so many tokens
    into the edge of a node (entry 0: the root and 0; begin a text with tips = 1). Longer suffixes
    occurred nowhere else. ends: int32[len(text)], the node that the string from each position on
    ends in, for drop_texts(); of length 0 where nothing will be dropped. Returns the new `tips`.
    Tokens are 0 or more. There must be room for two more tokens of text; and before n tokens are
    appended to a text, 2 * (n + depth) nodes are to be reserved, which lasts until it is finished.
    """
    text[(base + position) & mask] = token
    text[(base + position + 1) & mask] = END
    node = tree.node
    tips = min(tips, depth)
    j = tips - 1
    # The longest first: where a suffix goes on as never before, it gets a leaf, and ends no more.
    while j >= 0:
        v, k = tip[j], off[j]
        if k == node[v, LEN]:
            if j:
                node[v, START] = position - k  # the edge's latest whole occurrence
            if find_child(tree, v, token) != NONE:
                break
        else:
            label = text[(base + node[v, START] + k) & mask]
            if label == token:
                break
            if label == END:  # the leaf's text ended here
                node[v, LEN] = k
                node[v, START] = position - k
            else:
                v = _split(tree, v, k, position - k, label, tip, off, tips, weight)
        leaf = add_leaf(tree, v, token, position, depth - j, weight)
        if len(ends):
            ends[(base + position - j) & mask] = leaf
        j -= 1
    kept = j + 2
    while j >= 0:
        v, k = tip[j], off[j]
        if k == node[v, LEN]:
            if j:
                node[v, START] = position - k
            child = find_child(tree, v, token)
            count = node[child, COUNT] + weight
            node[child, COUNT] = count
            head = node[v, HEAD]
            if child != head and head >= 0 and count >= node[head, COUNT]:
                lead(node, v, child)
            v, k = child, 0
        tip[j + 1] = v
        off[j + 1] = k + 1
        if j + 1 == depth:
            node[v, START] = position - k
            if len(ends):
                ends[(base + position - j) & mask] = v
        j -= 1
    return kept


@jit(inner=True)
def finish(tree, text, ends, base, mask, end, tip, off, tips, depth, weight):
    """The text ends at position `end`: its last suffixes, its tips, get nodes."""
    node = tree.node
    for j in range(1, min(tips, depth)):
        v, k = tip[j], off[j]
        if k < node[v, LEN]:
            label = text[(base + node[v, START] + k) & mask]
            if label == END:
                node[v, LEN] = k
            else:
                v = _split(tree, v, k, end - k, label, tip, off, tips, weight)
        node[v, START] = end - k
        if len(ends):
            ends[(base + end - j) & mask] = v


@jit()
def free_tree(tree, root):
    """Forget one tree, in time proportional to it."""
    node = tree.node
    v = np.int32(root)
    while True:
        while node[v, HEAD] != NONE:
            head = node[v, HEAD]
            v = head if head >= 0 else unsettled(head)
        if v == root:
            break
        after, parent = node[v, NEXT], node[v, PARENT]
        tree.table[slot(tree, v)] = LEFT
        free_node(tree, v)
        node[parent, HEAD] = after
        v = parent
    free_node(tree, np.int32(root))
