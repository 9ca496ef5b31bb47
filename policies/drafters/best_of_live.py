"""The best of several drafters' drafts, forward by forward."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..confidence import Confidence, judge, survival
from ..drafts import Drafts, matches
from .live import UNKNOWN, Ints, LiveDrafter

NO_PARENTS = np.empty(0, np.int16)
HELD = 256  # drafts of a request and drafter, before those are judged that its text has passed


class Made(NamedTuple):
    """One draft, its columns as in `Drafts`."""

    tokens: np.ndarray
    labels: np.ndarray
    parents: np.ndarray


class Asked:
    """A running request: its text, and what each drafter drafted at which length of it."""

    def __init__(self, drafters: int) -> None:
        self.output: list[int] = []
        self.drafts: list[dict[int, Made]] = [{} for _ in range(drafters)]


class LiveBestOf:
    """The live face of `best_of` (see `LiveDrafter`).

    faces: the drafters'; prior: float64[256] of each, what its labels mean before anything was
    drafted; trees: whether it drafts trees.
    """

    def __init__(
        self, faces: Sequence[LiveDrafter], prior: Sequence[np.ndarray], trees: Sequence[bool]
    ) -> None:
        self._faces, self._trees = faces, trees
        self._known = [Confidence(p) for p in prior]
        self._rates = [known.rates for known in self._known]
        self._counts = [np.zeros((len(p), 2)) for p in prior]  # of this RL step
        self._asked: dict[Hashable, Asked] = {}

    def assign(self, rows: np.ndarray) -> None:
        """Tell the drafters that draft from a profile which rollouts the requests are."""
        for face in self._faces:
            if hasattr(face, "assign"):
                face.assign(rows)

    def start_step(self, rl_step: int) -> None:
        """RL step `rl_step` begins: what became of the drafts so far counts from now on."""
        for k, known in enumerate(self._known):
            known.add(self._counts[k])
            self._counts[k] = np.zeros_like(self._counts[k])
            self._rates[k] = known.rates
        self._all("start_step", rl_step)

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request with the tokens of its prompt."""
        for k, face in enumerate(self._faces):
            try:
                face.begin(request, prompt_id, prompt)
            except Exception:
                for begun in self._faces[:k]:
                    begun.finish(request, learn=False)
                raise
        self._asked[request] = Asked(len(self._faces))

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """What each request has just generated."""
        for face in self._faces:
            face.extend(requests, tokens)
        for request, new in zip(requests, tokens, strict=True):
            self._asked[request].output += [int(token) for token in new]

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """Of each request the draft with the highest expected gain; a label is its chance.

        What is drafted is remembered until the request is over, to be judged then.
        """
        made = [face.draft(requests) for face in self._faces]
        for k, drafts in enumerate(made):
            self._remember(k, requests, drafts)
        chances = [
            survival(self._rates[k], drafts.labels, drafts.sizes, self._trees[k])
            for k, drafts in enumerate(made)
        ]
        best = np.argmax([c.sum(axis=1) for c in chances], axis=0)
        longest = max(drafts.tokens.shape[1] for drafts in made)
        tokens = np.zeros((len(requests), longest), np.int32)
        labels, sizes = np.zeros(tokens.shape, np.uint8), np.zeros(len(requests), np.int32)
        parents = np.zeros(tokens.shape if any(self._trees) else (0, 0), np.int16)
        for k, drafts in enumerate(made):
            mine, width = best == k, drafts.tokens.shape[1]
            tokens[mine, :width], sizes[mine] = drafts.tokens[mine], drafts.sizes[mine]
            rates = self._rates[k][drafts.labels[mine]]
            # Among trees a chance is that of the whole path, as a tree's labels have it.
            rates = chances[k][mine] if any(self._trees) else rates
            labels[mine, :width] = np.rint(255 * rates)
            if any(self._trees):
                chain = np.arange(-1, width - 1)
                parents[mine, :width] = drafts.parents[mine] if self._trees[k] else chain
        return Drafts(tokens, sizes, labels, parents)

    def _remember(self, k: int, requests: Sequence[Hashable], drafts: Drafts) -> None:
        """What drafter k drafted for whom."""
        for j in np.flatnonzero(drafts.sizes).tolist():
            asked, size = self._asked[requests[j]], drafts.sizes[j]
            if len(asked.drafts[k]) == HELD:
                self._judge(k, asked, len(asked.output) - drafts.tokens.shape[1])
            parents = drafts.parents[j, :size].copy() if self._trees[k] else NO_PARENTS
            asked.drafts[k][len(asked.output)] = Made(
                drafts.tokens[j, :size].copy(), drafts.labels[j, :size].copy(), parents
            )

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """The request is over: all that was drafted for it is judged."""
        asked = self._asked.pop(request)
        for k in range(len(self._faces)):
            self._judge(k, asked, len(asked.output))
        self._all("finish", request, learn, reward)

    def _judge(self, k: int, asked: Asked, position: int) -> None:
        """Count what became of drafter k's drafts that were made before this position."""
        made = {at: draft for at, draft in asked.drafts[k].items() if at < position}
        if made:
            output = np.array(asked.output, np.int32)
            drafts, at = _stack(list(made.values())), np.array(list(made), np.int64)
            end = np.full(len(at), len(output))
            matched, ranks = matches(drafts, output, at, end)
            judge(drafts, matched, ranks, end - at, self._counts[k])
            for begin in made:
                del asked.drafts[k][begin]

    def _all(self, method: str, *arguments: Any) -> None:
        """Tell every drafter, whatever becomes of the others; the first error is raised then."""
        errors = []
        for face in self._faces:
            try:
                getattr(face, method)(*arguments)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """A rollout that finished elsewhere."""
        for face in self._faces:
            face.learn(prompt_id, output, reward)


def _stack(made: Sequence[Made]) -> Drafts:
    """Single drafts as one batch."""
    sizes = np.array([len(draft.tokens) for draft in made], np.int32)
    tokens = np.zeros((len(made), int(sizes.max())), np.int32)
    labels = np.zeros(tokens.shape, np.uint8)
    trees = any(len(draft.parents) for draft in made)
    parents = np.zeros(tokens.shape if trees else (0, 0), np.int16)
    for i, draft in enumerate(made):
        tokens[i, : sizes[i]], labels[i, : sizes[i]] = draft.tokens, draft.labels
        if trees:
            parents[i, : sizes[i]] = draft.parents
    return Drafts(tokens, sizes, labels, parents)
