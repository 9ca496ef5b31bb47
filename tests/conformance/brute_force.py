"""The simulator in plain Python, from the definition: one token and one request at a time."""

from collections.abc import Callable

from brute_drafts import Texts


class Request:
    def __init__(self, prompt: list[int], output: list[int], cap: int, history: Texts) -> None:
        self.prompt, self.output, self.cap = prompt, output, cap
        self.history = history  # what the same prompt's rollouts wrote in earlier RL steps
        self.generated = self.computed = self.blocks = 0  # computed: tokens in the KV cache
        self.decoding, self.finish_s = False, 0.0
        self.head = self.head_matched = 0  # tokens verified with the prompt, and accepted of them
        self.forwards = self.drafted = self.accepted = self.preemptions = 0


def whole_of(r: Request) -> int:
    """Tokens of a prefill."""
    return len(r.prompt) + r.generated + r.head


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
            tokens = min((whole := whole_of(r)) + len(d) - r.computed, room)
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
            if r.decoding or r.computed == whole_of(r):  # no chunk of a prefill
                if r.head:
                    a, r.computed = r.head_matched, len(r.prompt) + r.head_matched
                    kept = -(-r.computed // block)
                    free, r.blocks = free + r.blocks - kept, kept
                    r.drafted, r.head = r.drafted + r.head, 0
                r.decoding, r.generated = True, r.generated + min(a + 1, len(left))
                r.forwards, r.drafted = r.forwards + 1, r.drafted + len(d)
                r.accepted += a
            if r.generated == len(r.output):
                running.remove(r)
                free, r.finish_s = free + r.blocks, clock
    return forwards, clock
