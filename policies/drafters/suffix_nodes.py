"""Nodes of suffix trees (suffix_tree.py) in plain arrays: how they are found, listed and reused.

A node is a row. Its children form a list, the most frequent one first (its HEAD), and are found by
the first token of their edges in one table of all nodes.
"""

from typing import NamedTuple

import numpy as np

from ..compiled import jit

COUNT, START, LEN, PARENT, HEAD, NEXT, PREV, TOKEN = range(8)
FIELDS = 8
USED, FREE, ALIVE, TAKEN = range(4)
END = -1  # in the text: nothing follows here
NONE = -1  # no node
LEFT = -2  # in the table: an entry was here
GONE = -3  # in PREV: an unused row
TOUCHED = 1 << 16  # a mark on LEN while texts are taken out


class Tree(NamedTuple):
    """Trees in arrays; a node's id is its row."""

    node: np.ndarray  # int32[N, FIELDS]; HEAD: the most frequent child, first of a list by NEXT
    table: np.ndarray  # int32[M]: nodes by parent and token, open addressing; NONE: free, LEFT
    state: np.ndarray  # int64[4]: rows ever used, first of the free ones (by NEXT), nodes alive,
    # entries of the table that are not NONE


@jit()
def new_tree(nodes):
    """No tree yet, with room for `nodes` nodes before it has to grow."""
    capacity = max(64, nodes)
    return Tree(
        np.empty((capacity, FIELDS), np.int32),
        np.full(_table_size(capacity), NONE, np.int32),
        np.array([0, NONE, 0, 0], np.int64),
    )


@jit()
def reserve(tree, nodes):
    """The tree, grown if needed, so that `nodes` more nodes fit."""
    alive, capacity, size = tree.state[ALIVE], len(tree.node), len(tree.table)
    full = alive + nodes > capacity
    if not full and tree.state[TAKEN] + nodes <= size - (size >> 2):
        return tree
    if not full:  # too many entries were left
        fill_table(tree)
        return tree
    return _moved(tree, new_tree(max(2 * capacity, alive + nodes)))


def with_room(tree: Tree, nodes: int) -> Tree:
    """reserve(), for Python: where nothing is to be done, that call costs more than a forward; and
    what numpy allocates lies in large pages, in which nodes are found faster.
    """
    alive, taken = tree.state[[ALIVE, TAKEN]].tolist()
    capacity, size = len(tree.node), len(tree.table)
    if alive + nodes > capacity:
        rows = max(2 * capacity, alive + nodes)  # those not used yet take no memory
        node, table = np.empty((rows, FIELDS), np.int32), np.empty(_table_size(rows), np.int32)
        grown: Tree = _moved(tree, Tree(node, table, np.empty_like(tree.state)))
        return grown
    if taken + nodes > size - (size >> 2):
        emptied: Tree = reserve(tree, nodes)
        return emptied
    return tree


@jit()
def _moved(tree, grown):
    """The tree, in larger arrays."""
    for i in range(tree.state[USED]):  # (numba takes seconds to compile the copy of a slice)
        for field in range(FIELDS):
            grown.node[i, field] = tree.node[i, field]
    for i in range(len(tree.state)):
        grown.state[i] = tree.state[i]
    fill_table(grown)
    return grown


@jit()
def _table_size(rows):
    """Of the table for so many rows."""
    return rows + (rows >> 1) + (rows >> 3)


@jit(inner=True)
def fill_table(tree):
    """Make the table anew from the nodes."""
    tree.table[:] = NONE
    tree.state[TAKEN] = 0
    for i in range(tree.state[USED]):
        if tree.node[i, PREV] != GONE and tree.node[i, PARENT] != NONE:
            enter(tree, i)


@jit(inner=True)
def place(tree, parent, token):
    """Where in the table a key's search begins."""
    key = (np.uint64(parent) << np.uint64(32)) | np.uint64(np.uint32(token))
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return np.int64((key * np.uint64(len(tree.table))) >> np.uint64(32))


@jit(inner=True)
def enter(tree, node):
    """Put the node into the table."""
    at = place(tree, tree.node[node, PARENT], tree.node[node, TOKEN])
    while tree.table[at] >= 0:
        at += 1
        if at == len(tree.table):
            at = 0
    if tree.table[at] == NONE:
        tree.state[TAKEN] += 1
    tree.table[at] = node


@jit(inner=True)
def slot(tree, node):
    """Where the table holds the node."""
    at = place(tree, tree.node[node, PARENT], tree.node[node, TOKEN])
    while tree.table[at] != node:
        at += 1
        if at == len(tree.table):
            at = 0
    return at


@jit()
def find_child(tree, parent, token):
    """The child of `parent` whose edge begins with `token`, or NONE."""
    head = tree.node[parent, HEAD]
    if head < NONE:
        head = unsettled(head)
    if head == NONE or tree.node[head, TOKEN] == token:
        return head
    at = place(tree, parent, token)
    while True:
        child = tree.table[at]
        if child >= 0:
            if tree.node[child, TOKEN] == token and tree.node[child, PARENT] == parent:
                return child
        elif child == NONE:
            return np.int32(NONE)
        at += 1
        if at == len(tree.table):
            at = 0


@jit(inner=True)
def unsettled(head):
    """A HEAD that lost occurrences is kept as this, which is its own inverse: it is the first of
    the children, but whether it is the most frequent one has to be looked up.
    """
    return np.int32(-3 - head)


@jit(inner=True)
def new_node(tree):
    """A row for a node."""
    tree.state[ALIVE] += 1
    free = tree.state[FREE]
    if free != NONE:
        tree.state[FREE] = tree.node[free, NEXT]
        return np.int32(free)
    used = tree.state[USED]
    tree.state[USED] = used + 1
    return np.int32(used)


@jit(inner=True)
def free_node(tree, node):
    """Keep the row for another node."""
    tree.node[node, PREV] = GONE
    tree.node[node, NEXT] = tree.state[FREE]
    tree.state[FREE] = node
    tree.state[ALIVE] -= 1


@jit()
def new_root(tree):
    """A new, empty tree; its root's id. Room for one node must be reserved."""
    root = new_node(tree)
    tree.node[root, COUNT] = 0
    tree.node[root, START] = 0
    tree.node[root, LEN] = 0
    tree.node[root, PARENT] = NONE
    tree.node[root, HEAD] = NONE
    tree.node[root, NEXT] = NONE
    tree.node[root, PREV] = NONE
    tree.node[root, TOKEN] = END
    return root


@jit(inner=True)
def link(node, parent, child, first):
    """Put a child into its parent's list: first, as the head, or second."""
    head = node[parent, HEAD]
    if first or head == NONE:
        node[child, NEXT] = head
        node[child, PREV] = NONE
        if head != NONE:
            node[head, PREV] = child
        node[parent, HEAD] = child
        return
    if head < NONE:
        head = unsettled(head)
    after = node[head, NEXT]
    node[child, NEXT] = after
    node[child, PREV] = head
    node[head, NEXT] = child
    if after != NONE:
        node[after, PREV] = child


@jit(inner=True)
def lead(node, parent, child):
    """Make a child that is not the head of its parent's list the head."""
    before, after = node[child, PREV], node[child, NEXT]
    node[before, NEXT] = after
    if after != NONE:
        node[after, PREV] = before
    link(node, parent, child, True)


@jit()
def settle(tree, parent):
    """Find the most frequent child again after drop_texts() took from it; the new head."""
    node = tree.node
    head = unsettled(node[parent, HEAD])
    node[parent, HEAD] = head
    best, child = head, node[head, NEXT]
    while child != NONE:
        if ahead(node, child, best):
            best = child
        child = node[child, NEXT]
    if best != head:
        lead(node, parent, best)
    return best


@jit(inner=True)
def ahead(node, a, b):
    """Whether child a comes before child b."""
    if node[a, COUNT] != node[b, COUNT]:
        return node[a, COUNT] > node[b, COUNT]
    later = np.int32(node[a, START] - node[b, START]) > 0  # positions wrap around
    return later != (node[a, COUNT] == 1)


@jit()
def clear(tree):
    """Forget every tree."""
    tree.table[:] = NONE
    tree.state[:] = 0
    tree.state[FREE] = NONE
