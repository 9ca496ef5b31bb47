"""Drafts from the definition, in plain Python: strings are counted where they occur."""

import numpy as np

Texts = list[list[int]]  # of tokens
Place = tuple[tuple[int, int], int]  # when a token came (text and position, unless told), its text


def ngram_draft(text: list[int], low: int, high: int, k: int) -> list[int]:
    for n in range(min(high, len(text) - 1), low - 1, -1):
        for i in range(len(text) - n):
            if text[i : i + n] == text[len(text) - n :]:
                return text[i + n : i + n + k]
    return []


class Counts:
    """Texts to draft from. weights: what an occurrence in each counts, if not one; when: of each
    text's tokens the times at which they came, if not text by text.
    """

    def __init__(
        self, texts: Texts, weights: list[int] | None = None, when: Texts | None = None
    ) -> None:
        self.texts, self.weights, self.when = texts, weights or [1] * len(texts), when

    def of(self, s: list[int]) -> tuple[int, list[tuple[int, int]]]:
        """How much s occurs, and (token, how much it follows), the one that leads first."""
        count, places = 0, dict[int, list[Place]]()
        for which, text in enumerate(self.texts):
            for i in range(len(text) - len(s) + 1):
                if text[i : i + len(s)] == s:
                    count += self.weights[which]
                    for token in text[i + len(s) : i + len(s) + 1]:
                        time = (self.when[which][i + len(s)], 0) if self.when else (which, i)
                        places.setdefault(token, []).append((time, which))
        often = {t: sum(self.weights[which] for _, which in places[t]) for t in places}
        top = max(often.values(), default=0)
        tied = [t for t in places if often[t] == top]
        if tied:  # equal: the last to get there, except at one, where it is the first
            lead = (
                max(tied, key=lambda t: max(places[t]))
                if top > 1
                else min(tied, key=lambda t: min(places[t]))
            )
            often = {lead: often.pop(lead), **often}
        return count, list(often.items())


def suffix_draft(
    context: list[int], counts: Counts, depth: int, limit: int, factor: float, min_prob: float,
    shortest: int = 1, longest: int = 256, longest_first: bool = False,
) -> tuple[float, list[int]]:  # fmt: skip
    """(score, draft)."""
    score, nodes = suffix_tree_draft(
        context, counts, depth, limit, factor, min_prob, 1, shortest, longest, longest_first
    )
    return score, [token for token, _ in nodes]


def suffix_tree_draft(
    context: list[int], counts: Counts, depth: int, limit: int, factor: float, min_prob: float,
    paths: int, shortest: int = 1, longest: int = 256, longest_first: bool = False,
) -> tuple[float, list[tuple[int, int]]]:  # fmt: skip
    """(score, nodes as token and parent): the likeliest next token again and again."""
    best, draft = np.float32(0), list[tuple[int, int]]()
    for m in range(min(depth - 1, len(context), longest), shortest - 1, -1):
        room = min(limit, int(m * factor + 1e-6))
        nodes, score, begun = list[tuple[int, int]](), np.float32(0), 1
        frontier = list[tuple[float, bool, int, int, list[int]]]()  # -chance, leads, parent, token

        def look(s: list[int], prob: np.float32, parent: int, frontier: list = frontier) -> None:
            count, after = counts.of(s)
            for i, (token, often) in enumerate(after if len(s) < depth else ()):
                chance = prob * np.float32(often / count)
                if chance >= np.float32(min_prob):
                    frontier.append((-float(chance), i == 0, parent, token, [*s, token]))

        look(context[len(context) - m :], np.float32(1), -1)
        while len(nodes) < room:
            allowed = [c for c in frontier if c[1] or begun < paths]
            if not allowed:
                break
            pick = min(allowed)
            frontier.remove(pick)
            begun += not pick[1]
            nodes.append((pick[3], pick[2]))
            score += np.float32(-pick[0])
            look(pick[4], np.float32(-pick[0]), len(nodes) - 1)
        if score > best and not (longest_first and draft):
            best, draft = score, nodes
    return float(best), draft
