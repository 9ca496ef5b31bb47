"""Drafts from the definition, in plain Python: strings are counted where they occur."""

import numpy as np

Texts = list[list[int]]  # of tokens


def ngram_draft(text: list[int], low: int, high: int, k: int) -> list[int]:
    for n in range(min(high, len(text) - 1), low - 1, -1):
        for i in range(len(text) - n):
            if text[i : i + n] == text[len(text) - n :]:
                return text[i + n : i + n + k]
    return []


def continuations(s: list[int], texts: Texts) -> tuple[int, dict[int, list[tuple[int, int]]]]:
    """How often s occurs, and where each token that follows it does."""
    n, count, places = len(s), 0, dict[int, list[tuple[int, int]]]()
    for which, text in enumerate(texts):
        for i in range(len(text) - n + 1):
            if text[i : i + n] == s:
                count += 1
                for token in text[i + n : i + n + 1]:
                    places.setdefault(token, []).append((which, i))
    return count, places


def suffix_draft(
    context: list[int], texts: Texts, depth: int, limit: int, factor: float, min_prob: float,
    weights: list[int] | None = None,
) -> tuple[float, list[int]]:  # fmt: skip
    """(score, draft). Equal counts: the last to get there, except at one, where it is the first.

    weights: what an occurrence in each text counts, if not one.
    """
    best, draft = np.float32(0), list[int]()
    weight = weights or [1] * len(texts)
    for m in range(min(depth - 1, len(context)), 0, -1):
        s, prob, score = context[len(context) - m :], np.float32(1), np.float32(0)
        while len(s) - m < min(limit, depth - m, int(m * factor + 1e-6)):
            places = continuations(s, texts)[1]
            count = sum(w * continuations(s, [t])[0] for w, t in zip(weight, texts, strict=True))
            often = {t: sum(weight[which] for which, _ in places[t]) for t in places}
            top = max(often.values(), default=0)
            prob *= np.float32(top / max(count, 1))
            if top == 0 or prob < np.float32(min_prob):
                break
            tied = [t for t in places if often[t] == top]  # first occurrence first
            s, score = [*s, max(tied, key=lambda t: places[t][-1] if top > 1 else 0)], score + prob
        if score > best:
            best, draft = score, s[m:]
    return float(best), draft
