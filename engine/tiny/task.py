"""The task: reach a target from three or four numbers with + - * /, each number used once.

A solution is a depth-first search written out in tokens, then the answer::

    3 5 7 to 36 : try 5 * 7 = 35 left 3 35 try 3 + 35 = 38 no back 3 5 7
                  try 5 + 7 = 12 left 3 12 try 3 * 12 = 36 answer 5 + 7 = 12 , 3 * 12 = 36 <eos>

Every number from 1 to `LARGEST` is one token and its own id. This module writes problems and worked
solutions and judges answers; it knows nothing about models and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

LARGEST = 40
"""Largest number that may appear, in a problem or on the way."""

VOCABULARY: tuple[str, ...] = (
    "<pad>",
    *map(str, range(1, LARGEST + 1)),
    *("+", "-", "*", "/", "=", ",", "to", ":", "try", "left", "no", "back", "answer", "<eos>"),
)
TOKEN: dict[str, int] = {text: i for i, text in enumerate(VOCABULARY)}
PAD, EOS = TOKEN["<pad>"], TOKEN["<eos>"]
EQUALS, COMMA, TO, COLON = TOKEN["="], TOKEN[","], TOKEN["to"], TOKEN[":"]
TRY, LEFT, NO, BACK, ANSWER = (TOKEN[t] for t in ("try", "left", "no", "back", "answer"))

_COMPUTE: dict[int, Callable[[int, int], int]] = {
    TOKEN["+"]: lambda a, b: a + b,
    TOKEN["-"]: lambda a, b: a - b,
    TOKEN["*"]: lambda a, b: a * b,
    TOKEN["/"]: lambda a, b: a // b if b and a % b == 0 else 0,
}

State = tuple[int, ...]
"""The numbers still to be used, ascending."""


@dataclass(frozen=True)
class Problem:
    """Numbers (ascending) and the target to be made of all of them."""

    numbers: State
    target: int

    @property
    def prompt(self) -> list[int]:
        """The prompt's tokens: the numbers, ``to``, the target, ``:``."""
        return [*self.numbers, TO, self.target, COLON]

    @property
    def name(self) -> str:
        """A readable key, such as ``3-5-7=36``."""
        return f"{'-'.join(map(str, self.numbers))}={self.target}"


@dataclass(frozen=True)
class Move:
    """One step ``left op right = result``; ``op`` is a token id."""

    left: int
    op: int
    right: int
    result: int

    @property
    def tokens(self) -> list[int]:
        """The five tokens of the equation."""
        return [self.left, self.op, self.right, EQUALS, self.result]

    def apply(self, state: State) -> State:
        """The numbers that are left after this step."""
        rest = list(state)
        rest.remove(self.left)
        rest.remove(self.right)
        return tuple(sorted([*rest, self.result]))


def is_sound(move: Move) -> bool:
    """Whether the arithmetic is right and the result within 1..`LARGEST`."""
    return move.result == _COMPUTE[move.op](move.left, move.right) and 1 <= move.result <= LARGEST


@lru_cache(maxsize=1 << 16)
def moves(state: State) -> tuple[Move, ...]:
    """Every distinct step from ``state``; a sum or product is written smaller number first."""
    found: dict[Move, None] = {}
    for i, small in enumerate(state):
        for large in state[i + 1 :]:
            for op, compute in _COMPUTE.items():
                ordered = op in (TOKEN["+"], TOKEN["*"])
                a, b = (small, large) if ordered else (large, small)
                if op == TOKEN["/"] and b == 1:
                    continue  # the same as times 1
                result = compute(a, b)
                if 1 <= result <= LARGEST:
                    found[Move(a, op, b, result)] = None
    return tuple(found)


@lru_cache(maxsize=1 << 18)
def reachable(state: State) -> frozenset[int]:
    """Every target that the whole of ``state`` can make."""
    if len(state) == 1:
        return frozenset(state)
    return frozenset().union(*(reachable(move.apply(state)) for move in moves(state)))


def draw_problem(rng: Random, size: int) -> Problem:
    """A solvable problem with ``size`` numbers from 1 to 10 and a target of at least 10."""
    while True:
        numbers = tuple(sorted(rng.randint(1, 10) for _ in range(size)))
        targets = sorted(t for t in reachable(numbers) if t >= 10)
        if targets:
            return Problem(numbers, rng.choice(targets))


def draw_prompt_set(rng: Random, count: int, hard_share: float) -> list[Problem]:
    """``count`` different problems, a share of them with four numbers, the others with three."""
    chosen: dict[str, Problem] = {}
    hard = round(count * hard_share)
    while len(chosen) < count:
        problem = draw_problem(rng, 4 if len(chosen) < hard else 3)
        chosen.setdefault(problem.name, problem)
    return list(chosen.values())


def write_solution(problem: Problem, rng: Random, guidance: float) -> list[int] | None:
    """A worked solution's output tokens, or None where the search ran dry.

    At each node the writer steps towards a solution with probability ``guidance`` and otherwise
    anywhere it has not been. Below the root it tries at most three steps before going back; with
    two numbers left it tries only the one or two results nearest to the target.
    """
    out: list[int] = []

    def choices(state: State) -> Iterator[Move]:
        options = list(moves(state))
        if len(state) == 2:
            options.sort(key=lambda move: abs(move.result - problem.target))
            yield from options[: rng.randint(1, 2)]
            return
        tries = len(options) if state == problem.numbers else rng.randint(1, 3)
        for _ in range(min(tries, len(options))):
            good = [m for m in options if problem.target in reachable(m.apply(state))]
            move = rng.choice(good if good and rng.random() < guidance else options)
            options.remove(move)
            yield move

    def search(state: State) -> list[Move] | None:
        for move in choices(state):
            out.extend([TRY, *move.tokens])
            rest = move.apply(state)
            if rest == (problem.target,):
                return [move]
            if len(rest) == 1:
                out.append(NO)
                continue
            out.extend([LEFT, *rest])
            if (found := search(rest)) is not None:
                return [move, *found]
            out.extend([BACK, *state])
        return None

    path = search(problem.numbers)
    if path is None:
        return None
    out.append(ANSWER)
    for i, move in enumerate(path):
        out.extend([*([COMMA] if i else []), *move.tokens])
    return [*out, EOS]


def is_correct(problem: Problem, output: Sequence[int]) -> bool:
    """Whether ``output`` ends in an answer that makes the target from every number, once each.

    Only what follows ``answer`` is judged; the search before it is the model's own affair.
    """
    tokens = list(output)
    if not tokens or tokens[-1] != EOS or tokens.count(ANSWER) != 1:
        return False
    steps = tokens[tokens.index(ANSWER) + 1 : -1]
    if len(steps) % 6 != 5 or any(token != COMMA for token in steps[5::6]):
        return False
    state = problem.numbers
    for at in range(0, len(steps), 6):
        left, op, right, equals, result = steps[at : at + 5]
        if op not in _COMPUTE or equals != EQUALS:
            return False
        move, rest = Move(left, op, right, result), list(state)
        if not is_sound(move) or left not in rest:
            return False
        rest.remove(left)
        if right not in rest:
            return False
        state = move.apply(state)
    return state == (problem.target,)
