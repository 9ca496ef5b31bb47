"""The tree counts what brute force counts, whatever is appended, and whatever goes again."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.policies.drafters.suffix_history import SuffixHistory
from longtail.policies.drafters.suffix_live import LiveSuffix
from longtail.policies.drafters.suffix_nodes import (
    ALIVE,
    COUNT,
    END,
    GONE,
    HEAD,
    LEN,
    NEXT,
    NONE,
    PREV,
    START,
    TOKEN,
    Tree,
    clear,
    find_child,
    new_root,
    new_tree,
    reserve,
    settle,
)
from longtail.policies.drafters.suffix_rule import HISTORY, SuffixRule
from longtail.policies.drafters.suffix_tree import append, free_tree
from longtail.policies.registry import ComponentError
from longtail.traces.schema import TraceError

ALPHABET = 3
Text = tuple[int, str, list[int], int]  # RL step, corpus, tokens, weight


def rule(depth: int, **options: Any) -> SuffixRule:
    return SuffixRule(HISTORY, False, depth, 16, 1.0, 0.1, **options)


def strings(depth: int) -> list[tuple[int, ...]]:
    return [s for n in range(1, depth + 1) for s in product(range(ALPHABET), repeat=n)]


def locate(history: SuffixHistory, corpus: str, s: tuple[int, ...]) -> tuple[int, int] | None:
    """(node, tokens into its edge) of a string; None: it does not occur."""
    node, into = history.root(corpus), 0
    if node < 0:
        return None
    for token in s:
        if into < history.tree.node[node, LEN]:
            if label(history, node, into) != token:
                return None
            into += 1
        else:
            node, into = int(find_child(history.tree, node, token)), 1
            if node == NONE:
                return None
    return node, into


def label(history: SuffixHistory, node: int, into: int) -> int:
    return int(history.text[(int(history.tree.node[node, START]) + into) & history.mask])


def follows(history: SuffixHistory, node: int, into: int) -> int:
    """The most frequent continuation; END: none."""
    if into < history.tree.node[node, LEN]:
        return label(history, node, into)
    head = int(history.tree.node[node, HEAD])
    if head == NONE:
        return END
    return int(history.tree.node[head if head >= 0 else settle(history.tree, node), TOKEN])


def expected(texts: list[Text], s: tuple[int, ...]) -> tuple[int, int]:
    """By definition: how much s counts, and what follows it."""
    count, after = 0, dict[int, list[tuple[int, int]]]()  # weight, order
    for _, _, tokens, weight in texts:
        for i in range(len(tokens) - len(s) + 1):
            if tuple(tokens[i : i + len(s)]) == s:
                count += weight
                for token in tokens[i + len(s) : i + len(s) + 1]:
                    after.setdefault(token, []).append((weight, len(after)))
                    after[token] = [*after[token][:-1], (weight, sum(map(len, after.values())))]
    if not after:
        return count, END
    top = max(sum(w for w, _ in seen) for seen in after.values())
    tied = [t for t, seen in after.items() if sum(w for w, _ in seen) == top]
    if top == 1:
        return count, min(tied, key=lambda t: after[t][0][1])
    return count, max(tied, key=lambda t: after[t][-1][1])


def check(history: SuffixHistory, texts: list[Text], depth: int) -> None:
    for corpus in "ab":
        mine = [text for text in texts if text[1] == corpus]
        for s in strings(depth):
            count, token = expected(mine, s)
            found = locate(history, corpus, s)
            if count == 0:
                assert found is None, s
                continue
            assert found is not None, s
            assert history.tree.node[found[0], COUNT] == count, s
            if len(s) < depth:
                assert follows(history, *found) == token, s
    assert history.tokens == sum(len(text[2]) for text in texts)
    check_lists(history.tree)
    check_links(history)


def check_links(history: SuffixHistory) -> None:
    """From every node where strings go on to that of its string without the first token."""
    for corpus in "ab":
        todo = [(history.root(corpus), tuple[int, ...]())] if history.root(corpus) >= 0 else []
        while todo:
            node, string = todo.pop()
            head = int(history.tree.node[node, HEAD])
            if string and head != NONE:
                assert locate(history, corpus, string[1:]) == end_of(history, history._links[node])
            child = head if head >= NONE else -3 - head
            while child != NONE:
                edge = [label(history, child, k) for k in range(history.tree.node[child, LEN])]
                todo.append((child, (*string, *edge)))
                child = int(history.tree.node[child, NEXT])


def end_of(history: SuffixHistory, node: int) -> tuple[int, int]:
    return node, int(history.tree.node[node, LEN])


def check_lists(tree: Tree) -> None:
    """Children hang together both ways, and all nodes are somebody's."""
    seen = 0
    for node in range(int(tree.state[0])):
        if tree.node[node, PREV] == GONE:
            continue
        seen += 1
        head = int(tree.node[node, HEAD])
        before, child = NONE, head if head >= NONE else -3 - head
        while child != NONE:
            assert tree.node[child, PREV] == before
            before, child = child, int(tree.node[child, NEXT])
    assert seen == tree.state[ALIVE]


tokens = st.lists(st.integers(0, ALPHABET - 1), min_size=1, max_size=12)
rollouts = st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab"), tokens), max_size=16)


@settings(max_examples=200, deadline=None)
@given(
    added=rollouts,
    depth=st.integers(2, 4),
    window=st.integers(0, 3),
    keep=st.sampled_from([0, 8, 20]),
    weights=st.sampled_from([(1,), (16, 18, 21, 24), (3, 1, 2)]),
    begin=st.sampled_from([0, (1 << 31) - 50, (1 << 32) - 50]),
)
def test_counts_and_heads_as_texts_come_and_go(
    added: list[tuple[int, str, list[int]]],
    depth: int,
    window: int,
    keep: int,
    weights: tuple[int, ...],
    begin: int,
) -> None:
    """begin: positions wrap around."""
    history = SuffixHistory(rule(depth, window=window, keep=keep), begin)
    texts: list[Text] = []
    rl_step = 0
    for later, corpus, text in added:
        if later:
            rl_step += 1
            if window:
                texts = [text for text in texts if text[0] >= rl_step - window]
            for name in "ab" if keep else "":
                while sum(len(t[2]) for t in texts if t[1] == name) > keep:
                    texts.remove(next(t for t in texts if t[1] == name))
            history.start_step(rl_step)
            check(history, texts, depth)
        weight = weights[rl_step % len(weights)]
        history.add(rl_step, corpus, np.array(text, np.int32), weight)
        texts.append((rl_step, corpus, text, weight))
    check(history, texts, depth)


def test_what_stays_keeps_no_room_for_what_went() -> None:
    """One rollout of long ago stays; the ring does not grow with all that came since."""
    rng = np.random.default_rng(0)
    history = SuffixHistory(rule(8, keep=2000))
    history.add(0, "old", rng.integers(0, 5, 30, dtype=np.int32))
    texts: list[Text] = []
    for step in range(60):
        history.start_step(step)
        text = rng.integers(0, ALPHABET, 1000, dtype=np.int32)
        history.add(step, "a", text)
        texts.append((step, "a", text.tolist(), 1))
    history.start_step(60)
    assert history.tokens == 2030 and len(history.text) <= 1 << 14
    assert history.tree.state[ALIVE] < 10_000
    old = locate(history, "old", ())
    assert old is not None
    for s in strings(3):
        found = locate(history, "a", s)
        assert found is not None
        assert history.tree.node[found[0], COUNT] == expected(texts[-2:], s)[0]


@pytest.mark.parametrize("begin", [0, 5000, (1 << 32) - 5000])
def test_the_ring_grows_wherever_it_stands(begin: int) -> None:
    rng = np.random.default_rng(0)
    history, texts = SuffixHistory(rule(4, window=1), begin), list[Text]()
    for step in range(12):
        history.start_step(step)
        texts = [text for text in texts if text[0] >= step - 1]
        text = rng.integers(0, ALPHABET, 300 + 400 * step, dtype=np.int32)
        history.add(step, "a", text)
        texts.append((step, "a", text.tolist(), 1))
    for s in strings(2):
        found = locate(history, "a", s)
        assert found is not None
        assert history.tree.node[found[0], COUNT] == expected(texts, s)[0]
    assert len(history.text) == 1 << 14


def test_empty_rollouts() -> None:
    history = SuffixHistory(rule(4))
    for _ in range(20_000):
        history.add(0, "a", np.empty(0, np.int32))
    assert history.root("a") == -1 and history.tokens == 0 and not history.start_step(1)


def test_trees_are_freed() -> None:
    tree: Tree = new_tree(1)
    rng = np.random.default_rng(0)
    nowhere = np.empty(0, np.int32)
    roots = []
    for _ in range(5):
        tree = reserve(tree, 1)
        root = new_root(tree)
        roots.append(root)
        tip, off, tips = np.zeros(9, np.int32), np.zeros(9, np.int32), 1
        tip[0] = root
        tree = reserve(tree, 2 * (500 + 8))
        text = np.empty(502, np.int32)
        for i in range(500):
            token = rng.integers(0, 4)
            tips = append(tree, text, nowhere, 0, -1, i, tip, off, tips, token, 8, 1)
    alive = int(tree.state[ALIVE])
    free_tree(tree, roots[2])
    assert tree.state[ALIVE] < alive
    check_lists(tree)
    for root in (*roots[:2], *roots[3:]):
        free_tree(tree, root)
    assert tree.state[ALIVE] == 0
    clear(tree)
    assert (tree.table == NONE).all()


def test_a_tree_is_freed_after_something_was_dropped() -> None:
    """Its most frequent children have not been looked up again."""
    history = SuffixHistory(rule(4, window=1))
    history.add(0, "a", np.array([1, 2, 1, 2], np.int32))
    history.add(1, "a", np.array([1, 2, 1, 3], np.int32))
    history.start_step(2)
    free_tree(history.tree, history.root("a"))
    assert history.tree.state[ALIVE] == 0


def test_tokens_that_are_none() -> None:
    history = SuffixHistory(rule(3))
    with pytest.raises(ValueError, match="negative"):
        history.add(0, "a", np.array([1, -1, -1, 1, -1, -1], np.int32))
    assert history.tokens == 0


def test_more_than_can_be_counted() -> None:
    """Refused before a count wraps around."""
    history = SuffixHistory(rule(2, half_life=4.0))
    history.start_step(7)  # the last before all is weighed anew: it counts most
    text = np.zeros(1 << 20, np.int32)
    for _ in range(7):
        history.add(7, "a", text)
    with pytest.raises(ComponentError, match="half_life=0"):
        history.add(7, "a", text)
    found = locate(history, "a", (0,))
    assert found is not None and history.tree.node[found[0], COUNT] == 7 * 256 << 20
    history.add(7, "b", text)


def test_large_tokens_and_many_children() -> None:
    """Token ids up to the largest int32 and thousands of siblings: no key collides."""
    drawn = np.random.default_rng(1).integers(0, 2**31 - 1, 3000).astype(np.int32)
    history = SuffixHistory(rule(3))
    history.add(0, 7, np.concatenate([drawn, drawn]))
    for token in set(drawn.tolist()):
        node = find_child(history.tree, history.root(7), token)
        assert history.tree.node[node, COUNT] == 2 * (drawn == token).sum()


@settings(max_examples=30, deadline=None)
@given(added=rollouts, begin=st.sampled_from([0, (1 << 32) - 50]))
def test_stored_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, added: list[tuple[int, str, list[int]]], begin: int
) -> None:
    path = tmp_path_factory.mktemp("stored") / "history.npz"
    history, texts = SuffixHistory(rule(4, window=2), begin), list[Text]()
    for _, corpus, text in added:
        history.add(0, corpus, np.array(text, np.int32))
        texts.append((0, corpus, text, 1))
    history.save(path)
    again = SuffixHistory.load(path, rule(4, window=2))
    check(again, texts, 4)
    again.add(1, "a", np.array([0, 1, 0, 1], np.int32))
    check(again, [*texts, (1, "a", [0, 1, 0, 1], 1)], 4)
    again.start_step(3)
    check(again, [(1, "a", [0, 1, 0, 1], 1)], 4)


def test_a_stored_history_is_weighed_by_who_reads_it(tmp_path: Path) -> None:
    halved = SuffixHistory(rule(4, half_life=1.0))
    for step, text in ((0, [1, 2]), (0, [1, 2]), (3, [1, 3])):
        halved.start_step(step)
        halved.add(step, "a", np.array(text, np.int32))
    halved.save(tmp_path / "history.npz")
    for read_by, token in ((rule(4), 2), (halved.rule, 3)):
        live = LiveSuffix(read_by, SuffixHistory.load(tmp_path / "history.npz", read_by))
        live.start_step(4)
        live.begin("r", "a", [9, 1])
        assert live.draft(["r"])[0].tolist() == [token]


def test_what_is_no_stored_history(tmp_path: Path) -> None:
    path = tmp_path / "history.npz"
    history = SuffixHistory(rule(4))
    history.add(0, "a", np.arange(100, dtype=np.int32))
    history.save(path)
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[:-30], whole.replace(b"\x07\0\0\0", b"\x7f\0\0\0")):
        path.write_bytes(content)
        with pytest.raises(TraceError, match="no stored history"):
            SuffixHistory.load(path, rule(4, window=2))
    with pytest.raises(TraceError, match="cannot be written"):
        history.save(tmp_path / "nowhere" / "history.npz")
    history.add(0, ("a", 1), np.arange(3, dtype=np.int32))
    with pytest.raises(ValueError, match="cannot be stored"):
        history.save(path)
