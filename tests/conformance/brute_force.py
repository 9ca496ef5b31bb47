"""The simulator in plain Python, from the definition: one token and one request at a time."""

from collections.abc import Callable

import numpy as np

Texts = list[list[int]]  # of tokens


class Request:
    def __init__(self, prompt: list[int], output: list[int], cap: int, history: Texts) -> None:
        self.prompt, self.output, self.cap = prompt, output, cap
        self.history = history  # what the same prompt's rollouts wrote in earlier RL steps
        self.generated = self.computed = self.blocks = 0  # computed: tokens in the KV cache
        self.decoding, self.finish_s = False, 0.0
        self.forwards = self.drafted = self.accepted = self.preemptions = 0


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
    context: list[int], texts: Texts, depth: int, limit: int, factor: float, min_prob: float
) -> tuple[float, list[int]]:
    """(score, draft). Equal counts: the last to get there, except at one, where it is the first."""
    best, draft = np.float32(0), list[int]()
    for m in range(min(depth - 1, len(context)), 0, -1):
        s, prob, score = context[len(context) - m :], np.float32(1), np.float32(0)
        while len(s) - m < min(limit, depth - m, int(m * factor + 1e-6)):
            count, places = continuations(s, texts)
            top = max(map(len, places.values()), default=0)
            prob *= np.float32(top / max(count, 1))
            if top == 0 or prob < np.float32(min_prob):
                break
            tied = [t for t in places if len(places[t]) == top]  # first occurrence first
            s, score = [*s, max(tied, key=lambda t: places[t][-1] if top > 1 else 0)], score + prob
        if score > best:
            best, draft = score, s[m:]
    return float(best), draft


def simulate(
    queue: list[Request], draft: Callable[[Request], list[int]], budget: Callable[[Request], int],
    seats: float, forward_tokens: int, block: int, free: float,
    base_s: float, request_s: Callable[[int, int, int, bool], float],
) -> tuple[int, float]:  # fmt: skip
    """(forwards, makespan) of one RL step on a replica with `free` KV blocks."""
    running, forwards, clock = list[Request](), 0, 0.0
    while queue or running:
        room, preempted, now = forward_tokens, False, list[tuple[Request, int, list[int]]]()
        allowed = {r: budget(r) if r.decoding else 0 for r in running}
        for r in running + queue:
            if room == 0 or (r not in running and (preempted or len(running) >= seats)):
                break
            d = draft(r)[: max(0, min(allowed[r], r.cap - r.generated - 1))] if r.decoding else []
            tokens = min((whole := len(r.prompt) + r.generated) + len(d) - r.computed, room)
            need = max(0, -(-(r.computed + tokens) // block) - r.blocks)  # rounded up
            while need > free and r in running:
                queue.insert(0, last := running.pop())
                free, preempted, last.preemptions = free + last.blocks, True, last.preemptions + 1
                last.blocks, last.computed, last.decoding = 0, 0, False
            if need > free or (r not in running and (preempted or -(-whole // block) > free)):
                break
            if r not in running:
                running.append(queue.pop(0))
            free, room, r.blocks = free - need, room - tokens, r.blocks + need
            now.append((r, tokens, d[: tokens - 1]))
        forwards, clock = forwards + bool(now), clock + bool(now) * base_s
        clock += sum(request_s(r.computed, n, len(d), r.decoding) for r, n, d in now)
        for r, tokens, d in now:
            left, a = r.output[r.generated :], 0
            while a < min(len(d), len(left)) and d[a] == left[a]:
                a += 1
            r.computed += a + 1 if r.decoding else tokens
            if r.decoding or r.computed == len(r.prompt) + r.generated:  # no chunk of a prefill
                r.decoding, r.generated = True, r.generated + min(a + 1, len(left))
                r.forwards, r.drafted = r.forwards + 1, r.drafted + len(d)
                r.accepted += a
            if r.generated == len(r.output):
                running.remove(r)
                free, r.finish_s = free + r.blocks, clock
    return forwards, clock
