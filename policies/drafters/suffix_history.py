"""What earlier rollouts wrote, as suffix trees to draft from: one per prompt, or one of all.

Rollouts come and go in order, RL step by RL step: a new one costs less than a microsecond a token,
and one that goes costs what it is long, not what stays. Only where weights go by recency all is
indexed anew every second half-life (see SuffixRule). What goes first, where memory or the window
says so: the oldest RL step, and of one RL step what was added first.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ...traces.schema import TraceError
from ...traces.whole import whole
from .suffix_insert import add_text, drop_texts
from .suffix_nodes import USED, Tree, new_root, new_tree, with_room
from .suffix_rule import SuffixRule, check_weight, newest, weigh
from .suffix_tree import free_tree

VERSION = 2
SPARSE = 4  # times the tokens that are left, before the text is written anew


@dataclass(frozen=True)
class Entry:
    """One rollout in the history."""

    rl_step: int
    corpus: Hashable
    begin: int  # position of its first token
    length: int
    worth: int  # what each of its occurrences counts, before its age
    weight: int  # and with it


class SuffixHistory:
    """Suffix trees of rollouts by corpus (a prompt, say), as `rule` has them.

    `tree`, `text` and `mask` are what `follow` and `draft` (suffix_draft.py) take. begin: position
    of the first text.
    """

    def __init__(self, rule: SuffixRule, begin: int = 0) -> None:
        self.rule = rule
        self._newest: int | None = None  # the RL step that counts most, once one was begun
        self._clear(begin)

    def _clear(self, begin: int) -> None:
        self.tree: Tree = new_tree(1 << 10)
        self._links = np.empty(0, np.int32)
        self.text = np.empty(1 << 12, np.int32)
        self._ends = np.empty(1 << 12, np.int32)
        self._first = begin  # position of the first rollout of all
        self._end = begin  # and of the next one
        self._entries: deque[Entry] = deque()
        self._roots: dict[Hashable, int] = {}
        self._tokens: dict[Hashable, int] = {}  # of each corpus
        self._weighs: dict[Hashable, int] = {}  # each corpus: weight times length, added up

    @property
    def mask(self) -> int:
        """Of positions: the text is a ring."""
        return len(self.text) - 1

    @property
    def tokens(self) -> int:
        """How many tokens are in it."""
        return sum(self._tokens.values())

    @property
    def nbytes(self) -> int:
        """Memory of its arrays, as far as they were ever written to: the rest is not there yet."""
        rows = int(self.tree.state[USED])
        used = self.tree.node[:rows].nbytes + self._links[:rows].nbytes + self.tree.table.nbytes
        texts = min(len(self.text), self._end - self._first + 1)
        return used + self.text[:texts].nbytes + self._ends[:texts].nbytes

    def root(self, corpus: Hashable) -> int:
        """Where a corpus begins; -1: nothing is known of it."""
        return self._roots.get(corpus, -1)

    def add(self, rl_step: int, corpus: Hashable, tokens: np.ndarray, worth: int = 1) -> None:
        """A rollout of RL step `rl_step`, never of a lower one than before.

        worth: what each of its occurrences counts, before the rule's weight for its age. Raises
        ValueError for a token that is none, and ComponentError for more than can be counted.
        """
        half_life = self.rule.half_life
        if not len(tokens):
            return
        if tokens.min() < 0:
            raise ValueError("a token is negative")
        age = 1 if self._newest is None else weigh(rl_step, self._newest, half_life)
        weight = worth * int(age)
        weighs = self._weighs.get(corpus, 0) + weight * (len(tokens) + 1)
        check_weight(weighs, self.rule)
        self._make_room(len(tokens) + 2)
        self.tree = with_room(self.tree, 2 * len(tokens) + 1)
        if corpus not in self._roots:
            self._roots[corpus], self._tokens[corpus] = new_root(self.tree), 0
        self.tree, self._links = add_text(
            self.tree,
            self._links,
            self._roots[corpus],
            self.text,
            self._ends,
            self.mask,
            self._end,
            tokens,
            self.rule.depth,
            weight,
        )
        self._entries.append(Entry(rl_step, corpus, self._end, len(tokens), worth, weight))
        self._end += len(tokens) + 1  # the END that append() left
        self._tokens[corpus] += len(tokens)
        self._weighs[corpus] = weighs

    def start_step(
        self, rl_step: int, new: Iterable[tuple[int, Hashable, np.ndarray, int]] = ()
    ) -> bool:
        """RL step `rl_step` is to be drafted for: drop what it does not see, weigh the rest anew
        where the rule says so, and add new rollouts (as `add` takes them). Whether anything
        changed.
        """
        changed = self._trim(rl_step)
        top = int(newest(rl_step, self.rule.half_life))
        if self._newest != top:
            weighed, self._newest = self.rule.half_life > 0 and len(self._entries) > 0, top
            if weighed:
                self._rewrite()
                changed = True
        for rollout in new:
            self.add(*rollout)
            changed = True
        return self._trim(rl_step) or changed

    def _trim(self, rl_step: int) -> bool:
        """Drop what RL step `rl_step` does not see; whether anything was."""
        oldest, keep = self.rule.oldest(rl_step), self.rule.keep
        gone, left = [], dict(self._tokens)
        kept: deque[Entry] = deque()
        while self._entries:
            entry = self._entries[0]
            old = entry.rl_step < oldest
            if not old and not keep:
                break
            if old or left[entry.corpus] > keep > 0:
                gone.append(entry)
                left[entry.corpus] -= entry.length
                self._weighs[entry.corpus] -= entry.weight * (entry.length + 1)
            else:
                kept.append(entry)
            self._entries.popleft()
        self._entries.extendleft(reversed(kept))
        if not gone:
            return False
        columns = [(e.begin, e.length, e.weight) for e in gone]
        drop_texts(self.tree, self._ends, self.mask, *np.array(columns, np.int64).T.copy())
        self._tokens = left
        for corpus in {e.corpus for e in gone}:
            if not left[corpus]:
                free_tree(self.tree, self._roots.pop(corpus))
                del left[corpus], self._weighs[corpus]
        return True

    def _make_room(self, more: int) -> None:
        """Let `more` tokens fit behind the last one."""
        begin = self._entries[0].begin if self._entries else self._end
        if self._end + more - begin <= len(self.text):
            return
        if self._end + more - begin > SPARSE * (self.tokens + more):
            self._rewrite()  # of a few corpora, something old is left
            return self._make_room(more)
        size = len(self.text)
        while size < self._end + more - begin:
            size *= 2
        text, ends = np.empty(size, np.int32), np.empty(size, np.int32)
        while begin <= self._end:  # what lies in one piece, and will
            stop = min(self._end, begin | self.mask) + 1
            was, now = begin & self.mask, begin & (size - 1)
            text[now : now + stop - begin] = self.text[was : was + stop - begin]
            ends[now : now + stop - begin] = self._ends[was : was + stop - begin]
            begin = stop
        self.text, self._ends = text, ends

    def _rewrite(self) -> None:
        """Begin again with what is left."""
        entries = [(e, self.text_of(e)) for e in self._entries]
        self._clear(0)
        for entry, tokens in entries:
            self.add(entry.rl_step, entry.corpus, tokens, entry.worth)

    def text_of(self, entry: Entry) -> np.ndarray:
        """int32[length]: an entry's tokens."""
        return self.text[np.arange(entry.begin, entry.begin + entry.length) & self.mask]

    def save(self, path: Path) -> None:
        """Write its rollouts, whole or not at all; `load` indexes them again.

        Raises TraceError where that cannot be, ValueError for a corpus that is no text or integer.
        """
        corpora = list(self._roots)
        other = [c for c in corpora if not isinstance(c, str | int)]
        if other:
            raise ValueError(f"a corpus named {other[0]!r} cannot be stored")
        about = {"longtail_suffix_history": VERSION, "corpora": corpora}
        number = {corpus: i for i, corpus in enumerate(corpora)}
        entries = [(e.rl_step, number[e.corpus], e.length, e.worth) for e in self._entries]
        texts = [self.text_of(entry) for entry in self._entries]
        with whole(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                about=np.array(json.dumps(about)),
                entries=np.array(entries, np.int64).reshape(-1, 4),
                tokens=np.concatenate([*texts, np.empty(0, np.int32)]),
            )

    @classmethod
    def load(cls, path: Path, rule: SuffixRule) -> SuffixHistory:
        """What `save` wrote, to be looked up and weighed by `rule`.

        Raises TraceError for anything else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                about = json.loads(str(stored["about"]))
                entries, tokens = stored["entries"].tolist(), stored["tokens"]
            if about["longtail_suffix_history"] != VERSION:
                raise ValueError("another version")
            made = cls(rule)
            texts = np.split(tokens, np.cumsum([entry[2] for entry in entries]))
            for (rl_step, which, _, worth), text in zip(entries, texts[:-1], strict=True):
                made.add(rl_step, about["corpora"][which], text, worth)
        except (OSError, EOFError, LookupError, ValueError, TypeError, BadZipFile) as error:
            raise TraceError(
                f"no stored history ({error})", file=path, remedy="index the rollouts again"
            ) from None
        return made
