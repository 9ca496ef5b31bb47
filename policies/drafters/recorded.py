"""A profile as a live face, in the modelled world only: what matches is read from the recording."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ...traces.rollouts import Tokens
from ..drafts import Drafts
from ..profile import Profile
from .live import UNKNOWN, Ints

OTHER = -2  # a token that nothing equals


class Recorded:
    """Drafts of a drafter that has a profile and no tokens: the recorded ones as far as they match,
    then ones that are always rejected. Requests are numbers into what `assign` was told.
    """

    def __init__(self, profile: Profile, tokens: Tokens) -> None:
        self._profile, self._tokens = profile, tokens
        self._rows = np.empty(0, np.int64)
        self._size: dict[Hashable, int] = {}

    def assign(self, rows: np.ndarray) -> None:
        """Requests 0, 1, … are these rollouts of the trace."""
        self._rows = rows

    def start_step(self, rl_step: int) -> None:
        """The profile knows."""

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request begins."""
        self._size[request] = 0

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """Requests go on."""
        for request, new in zip(requests, tokens, strict=True):
            self._size[request] += len(new)

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """The profile's drafts where the requests stand."""
        profile = self._profile
        rows = self._rows[np.fromiter(requests, np.int64, len(requests))]
        sizes = np.fromiter((self._size[r] for r in requests), np.int64, len(requests))
        at = profile.offsets[rows] + sizes
        drafted, matched = profile.drafted[at].astype(np.int32), profile.matched[at]
        place = np.arange(int(drafted.max(initial=0)))
        inside = place < drafted[:, None]
        labels = np.zeros(inside.shape, np.uint8)
        labels[inside] = profile.labels[(profile.label_starts[at][:, None] + place)[inside]]
        tokens = np.full(inside.shape, OTHER, np.int32)
        output = self._tokens.output_tokens
        source = self._tokens.output_offsets[rows] + sizes
        if not len(profile.ranks):
            good = place < matched[:, None]
            tokens[good] = output[(source[:, None] + place)[good]]
            return Drafts(tokens, drafted, labels)
        parents = np.full(inside.shape, -1, np.int16)
        for j, (first, count) in enumerate(zip(profile.rank_starts[at], matched, strict=True)):
            ranks = profile.ranks[first : first + count]
            tokens[j, ranks] = output[source[j] : source[j] + count]
            parents[j, ranks[1:]] = ranks[:-1]
        return Drafts(tokens, drafted, labels, parents)

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """The request is over."""
        del self._size[request]

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """The profile knows."""
