"""Whole texts into a suffix tree (suffix_tree.py), and out of it again.

The tree is the one that append() and finish() make of these texts, in a third of the steps: where a
suffix leaves the tree, the search for the next one goes on, by a link from the node at which a
string ends to that of the string without its first token. How often everything occurred is added up
once per text, from the nodes at which its suffixes end upwards, and taken off in the same way.

Source: McCreight 1976 for the links.
"""

import numpy as np

from ..compiled import jit
from .suffix_nodes import (
    ALIVE,
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
    TOUCHED,
    ahead,
    find_child,
    free_node,
    lead,
    reserve,
    slot,
    unsettled,
)
from .suffix_tree import add_leaf, cut


@jit()
def add_text(tree, links, root, text, ends, mask, position, tokens, depth, weight):
    """Put a whole text that begins at `position` into the tree of `root`; tree and links, maybe
    grown.

    links: int32[*], for trees that only this adds to; of length 0 at first. ends: int32[len(text)],
    the node at which the string from each position on ends, is written for drop_texts(). Tokens are
    0 or more, and there must be room for one more than they are.
    """
    count = len(tokens)
    tree = reserve(tree, 2 * count)
    if len(links) < len(tree.node):
        grown = np.empty(len(tree.node), np.int32)
        for i in range(len(links)):
            grown[i] = links[i]
        links = grown
    for i in range(count):
        text[(position + i) & mask] = tokens[i]
    text[(position + count) & mask] = END
    _insert(tree, links, root, text, ends, mask, position, tokens, depth)
    _count(tree, ends, mask, position, count, depth, weight)
    return tree, links


@jit(inner=True)
def _insert(tree, links, root, text, ends, mask, position, tokens, depth):
    """A node for every suffix to end at; what is new counts nothing yet."""
    node = tree.node
    # A suffix's search begins at node `top`, whose string is its first `above` tokens; its first
    # `known` tokens are in the tree, and `waiting` is to be linked to the node at which they end.
    top, above, known, waiting = np.int32(root), 0, 0, np.int32(NONE)
    for i in range(len(tokens)):
        longest = min(depth, len(tokens) - i)
        v, d = top, above
        while True:
            if waiting != NONE and d == known:
                links[waiting] = v
                waiting = np.int32(NONE)
            if d == longest:
                end = v
                break
            child = find_child(tree, v, tokens[i + d])
            if child == NONE:
                end = add_leaf(tree, v, tokens[i + d], position + i + d, longest - d, 0)
                links[end] = NONE
                break
            length, start = node[child, LEN], node[child, START]
            k, most = max(1, min(length, known - d)), min(length, longest - d)
            while k < most and text[(start + k) & mask] == tokens[i + d + k]:
                k += 1
            if k < length:
                child = cut(tree, child, k, start, text[(start + k) & mask])
                links[child] = NONE
            v, d = child, d + k
        ends[(position + i) & mask] = end
        # Its first d tokens were in the tree, so d - 1 of the next one are. (Nothing is linked at
        # the limit of depth, where nothing goes on.)
        known = max(d - 1, 0)
        if d < depth and d > 0:
            if links[v] != NONE:
                top, above = links[v], known
                continue
            waiting = v
        above = max(d - node[v, LEN] - 1, 0)
        parent = node[v, PARENT]
        top = np.int32(root) if d == node[v, LEN] else links[parent]
    if waiting != NONE:
        links[waiting] = root


@jit(inner=True)
def _count(tree, ends, mask, position, count, depth, weight):
    """Count a text's occurrences where they end, and in all that is above."""
    node = tree.node
    touched, starts = np.empty((2, min(tree.state[ALIVE], count * depth + 1)), np.int32)
    size = _gather(node, ends, mask, position, count, weight, depth, touched, starts, 0)
    for i in range(size - 1, -1, -1):
        v = touched[i]
        more, parent = node[v, START], node[v, PARENT]
        node[v, START] = starts[i]
        node[v, LEN] &= TOUCHED - 1
        if parent == NONE:
            continue  # a root
        node[parent, START] += more
        node[v, COUNT] += more
        # The head may have yet to be counted, and then compares itself.
        head = node[parent, HEAD]
        if head >= 0 and head != v and ahead(node, v, head):
            lead(node, parent, v)


@jit(inner=True)
def _gather(node, ends, mask, position, count, weight, depth, touched, starts, size):
    """Sum up a text's occurrences in START where they end: the nodes that this touches, and all
    above them, are put behind the `size` ones touched before, parents first.

    starts: what belongs into their START: what was there, or with `depth` where the text has their
    edge last. Returns how many nodes are touched now.
    """
    for i in range(count - 1, -1, -1):  # from behind, where edges are last
        v = ends[(position + i) & mask]
        u, first, last, at = v, size, size - 1, position + i + min(depth, count - i)
        while u != NONE and node[u, LEN] < TOUCHED:
            last += 1
            at -= node[u, LEN]
            touched[last], starts[last] = u, at if depth else node[u, START]
            node[u, START] = 0
            node[u, LEN] |= TOUCHED
            u = node[u, PARENT]
        size = last + 1
        while first < last:
            touched[first], touched[last] = touched[last], touched[first]
            starts[first], starts[last] = starts[last], starts[first]
            first, last = first + 1, last - 1
        node[v, START] += weight
    return size


@jit()
def drop_texts(tree, ends, mask, begins, lengths, weights):
    """Take texts out of their trees: no older ones may be left in them. Costs what they are long,
    whatever stays.
    """
    node = tree.node
    touched, starts = np.empty((2, tree.state[ALIVE]), np.int32)
    size = 0
    for i in range(len(begins)):
        size = _gather(
            node, ends, mask, begins[i], lengths[i], weights[i], 0, touched, starts, size
        )
    for i in range(size - 1, -1, -1):
        v = touched[i]
        lost, parent = node[v, START], node[v, PARENT]
        node[v, START] = starts[i]
        node[v, LEN] &= TOUCHED - 1
        if parent == NONE:
            continue  # a root
        node[parent, START] += lost
        node[v, COUNT] -= lost
        before, after, head = node[v, PREV], node[v, NEXT], node[parent, HEAD]
        if node[v, COUNT] == 0:
            tree.table[slot(tree, v)] = LEFT
            if before != NONE:
                node[before, NEXT] = after
            else:
                node[parent, HEAD] = NONE if after == NONE else unsettled(after)
            if after != NONE:
                node[after, PREV] = before
            free_node(tree, v)
        elif before == NONE and head >= 0 and after != NONE:
            node[parent, HEAD] = unsettled(head)
