"""Prompt lookup: what followed when the last n tokens occurred first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...traces.rollouts import Lengths, Tokens
from ..compiled import jit
from ..drafts import Drafts, drafts_of
from ..profile import Profile, blank_profile
from ..registry import option
from .live import UNKNOWN, Ints, LiveDrafter


@dataclass(frozen=True)
class Ngram:
    """vLLM's n-gram lookup in the rollout's own prompt and output.

    Of the n-grams (min <= n <= max) that end the text, the longest that occurred before is taken,
    at its earliest occurrence, and the up to k tokens that followed there are the draft. Drafts
    are identical to vLLM's NgramProposer. A draft costs no model forward.
    """

    name: ClassVar[str] = "ngram"
    source: ClassVar[str] = "vLLM v1/spec_decode/ngram_proposer.py; prompt lookup decoding"
    acceptance: ClassVar[str] = "token-exact replay (one-hot drafts against recorded tokens)"
    timed: ClassVar[bool] = False
    in_engine: ClassVar[bool] = True
    trees: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = True
    history_steps: ClassVar[int | None] = 0  # drafts depend on a rollout's own text only

    k: int = option(8, "longest draft", low=0, high=128, unit="tokens")
    min: int = option(2, "shortest n-gram", low=1, high=64, unit="tokens")
    max: int = option(5, "longest n-gram", low=1, high=64, unit="tokens")

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}")

    @property
    def longest_draft(self) -> int:
        """K, tokens."""
        return self.k

    def profile(
        self, lengths: Lengths, tokens: Tokens, threads: int = 1, labels: bool = False
    ) -> Profile:
        """What would be drafted at every position of every rollout (see policies/profile.py).

        A draft token's label: the length of the n-gram, and its place in the draft up to three.
        """
        result = blank_profile(lengths.output_len)
        parts = np.array_split(np.arange(len(lengths)), max(4 * threads, 1))

        def one(rows: np.ndarray) -> None:
            _profile_rollouts(
                rows,
                tokens.prompt_tokens,
                tokens.prompt_offsets,
                tokens.prompt_of,
                tokens.output_tokens,
                result.offsets,
                self.min,
                self.max,
                self.k,
                result.drafted,
                result.matched,
                sources,
            )

        sources = np.zeros(len(result.drafted) if labels else 0, np.uint8)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, parts))
        if labels:
            place = np.arange(int(result.drafted.sum(dtype=np.int64)))
            place -= np.repeat(result.label_starts[:-1], result.drafted)
            result = replace(result, labels=_label(np.repeat(sources, result.drafted), place))
        return result

    def prior(self) -> np.ndarray:
        """float64[256]: even odds, before anything was drafted."""
        return np.full(256, 0.5)

    def live(self) -> LiveDrafter:
        """The same drafts, one forward at a time."""
        return LiveNgram(self)


def _label(n: np.ndarray, place: np.ndarray) -> np.ndarray:
    """uint8: of draft tokens at these places (from 0) behind n-grams of these lengths."""
    return (4 * np.minimum(n, 63) + np.minimum(place, 3)).astype(np.uint8)


@jit(inner=True)
def _same(text, a, b, n):
    for i in range(n):  # noqa: SIM110 (numba)
        if text[a + i] != text[b + i]:
            return False
    return True


@jit(inner=True)
def _place(text, start, n, table):
    """Table index of the n-gram that begins at `start`, or of the free place where it belongs."""
    mask = len(table) - 1
    key = np.uint64(n)
    for i in range(n):
        key = (key ^ np.uint64(text[start + i])) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    at = np.int64(key >> np.uint64(1)) & mask
    while table[at] >= 0 and not (
        table[at] % 64 == n - 1 and _same(text, table[at] // 64, start, n)
    ):
        at = (at + 1) & mask
    return at


@jit()
def _profile_rollouts(
    rows,
    prompt_tokens,
    prompt_offsets,
    prompt_of,
    output_tokens,
    offsets,
    shortest,
    longest,
    limit,
    drafted,
    matched,
    sources,
):
    """sources: uint8[positions], the n-grams' lengths, or of length 0."""
    for row in rows:
        prompt = prompt_of[row]
        p0, p1 = prompt_offsets[prompt], prompt_offsets[prompt + 1]
        begin, length = offsets[row], offsets[row + 1] - offsets[row]
        size = p1 - p0 + length
        text = np.empty(size, np.int32)
        for i in range(p1 - p0):
            text[i] = prompt_tokens[p0 + i]
        for i in range(length):
            text[p1 - p0 + i] = output_tokens[begin + i]
        places = 64
        while places < 2 * size * (longest - shortest + 1):
            places *= 2
        table = np.full(places, -1, np.int64)  # first start of each n-gram: start * 64 + n - 1
        ends = 0  # n-grams that end at or before this text position are in the table
        for g in range(1, length):
            total = p1 - p0 + g
            while ends < total - 1:
                ends += 1
                for n in range(shortest, min(longest, ends) + 1):
                    at = _place(text, ends - n, n, table)
                    if table[at] < 0:
                        table[at] = (ends - n) * 64 + n - 1
            for n in range(min(longest, total), shortest - 1, -1):
                at = _place(text, total - n, n, table)
                if table[at] >= 0:
                    source = table[at] // 64 + n
                    d = min(limit, total - source)
                    good = 0
                    while (
                        good < d
                        and g + good < length
                        and (text[source + good] == text[total + good])
                    ):
                        good += 1
                    drafted[begin + g], matched[begin + g] = d, good
                    if len(sources) > 0:
                        sources[begin + g] = n
                    break


@jit()
def _lookup(text, total, shortest, longest):
    """(source, n) of the longest n-gram ending `text[:total]` at its earliest occurrence; n = 0:
    none.
    """
    best, source = 0, 0
    for start in range(total - 1):
        n = 0
        # Backwards from a possible end of an earlier occurrence.
        while n < longest and n <= start and text[start - n] == text[total - 1 - n]:
            n += 1
        if n > best:
            best, source = n, start + 1
    return (source, best) if best >= shortest else (0, 0)


class LiveNgram:
    """Drafts for requests that grow by a few tokens per forward."""

    def __init__(self, options: Ngram) -> None:
        self._options = options
        self._text: dict[Hashable, np.ndarray] = {}
        self._size: dict[Hashable, int] = {}

    def start_step(self, rl_step: int) -> None:
        """Nothing to learn: only a rollout's own text is looked at."""

    def begin(self, request: Hashable, prompt_id: Hashable, prompt: Ints) -> None:
        """A request with the tokens of its prompt."""
        self._text[request] = np.empty(max(2 * len(prompt), 256), np.int32)
        self._text[request][: len(prompt)] = prompt
        self._size[request] = len(prompt)

    def extend(self, requests: Sequence[Hashable], tokens: Sequence[Ints]) -> None:
        """What each request has just generated."""
        for request, new in zip(requests, tokens, strict=True):
            size = self._size[request]
            if size + len(new) > len(self._text[request]):
                grown = np.empty(2 * (size + len(new)), np.int32)
                grown[:size] = self._text[request][:size]
                self._text[request] = grown
            self._text[request][size : size + len(new)] = new
            self._size[request] = size + len(new)

    def draft(self, requests: Sequence[Hashable]) -> Drafts:
        """One draft per request."""
        drafts, matches = [], np.zeros((len(requests), 1), np.uint8)
        for j, request in enumerate(requests):
            text, size = self._text[request], self._size[request]
            source, n = _lookup(text, size, self._options.min, self._options.max)
            matches[j] = n
            drafts.append(text[source : min(source + self._options.k, size)] if n else text[:0])
        longest = max(map(len, drafts), default=0)
        return drafts_of(drafts, _label(matches, np.arange(longest)))

    def finish(self, request: Hashable, learn: bool = True, reward: float = UNKNOWN) -> None:
        """Forget the request."""
        del self._text[request], self._size[request]

    def learn(self, prompt_id: Hashable, output: Ints, reward: float = UNKNOWN) -> None:
        """Nothing to learn: only a rollout's own text is looked at."""
