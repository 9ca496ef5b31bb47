"""The Countdown task: worked solutions are right, and the judge knows right from wrong."""

from random import Random

import pytest

from longtail.engine.tiny.settings import Settings
from longtail.engine.tiny.task import (
    ANSWER,
    BACK,
    COMMA,
    EOS,
    LARGEST,
    TOKEN,
    VOCABULARY,
    Problem,
    draw_problem,
    draw_prompt_set,
    is_correct,
    moves,
    reachable,
    write_solution,
)

PROBLEM = Problem((3, 5, 7), 36)


def encode(text: str) -> list[int]:
    return [TOKEN[word] for word in text.split()]


def test_numbers_are_their_own_tokens() -> None:
    assert [VOCABULARY[n] for n in (1, 17, LARGEST)] == ["1", "17", str(LARGEST)]
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert PROBLEM.prompt == encode("3 5 7 to 36 :")


@pytest.mark.parametrize(
    "answer",
    [
        "answer 5 + 7 = 12 , 3 * 12 = 36 <eos>",
        "answer 7 + 5 = 12 , 12 * 3 = 36 <eos>",
        "try 3 + 5 = 8 left 7 8 back 3 5 7 answer 5 + 7 = 12 , 3 * 12 = 36 <eos>",
        "no no back answer 5 + 7 = 12 , 3 * 12 = 36 <eos>",
    ],
)
def test_right_answers_are_accepted(answer: str) -> None:
    assert is_correct(PROBLEM, encode(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<eos>",
        "answer <eos>",
        "answer 5 + 7 = 12 , 3 * 12 = 36",  # cut before the end token
        "answer 5 + 7 = 12 <eos>",  # a number is left over
        "answer 5 * 7 = 35 , 3 + 35 = 38 <eos>",  # another target
        "answer 5 + 7 = 13 , 3 * 12 = 36 <eos>",  # wrong arithmetic
        "answer 3 * 12 = 36 <eos>",  # a number out of nowhere
        "answer 5 + 5 = 10 , 3 * 12 = 36 <eos>",  # one number used twice
        "answer 5 + 7 = 12 3 * 12 = 36 <eos>",  # no comma
        "answer 5 + 7 = 12 , 3 * 12 = 36 , <eos>",
        "answer 5 + 7 , 12 3 * 12 = 36 <eos>",
        "answer answer 5 + 7 = 12 , 3 * 12 = 36 <eos>",
        "answer 5 + 7 = 12 , 3 * 12 = 36 <eos> <eos>",
        "answer 7 - 7 = <pad> <eos>",
        "answer 5 + 7 = 12 , 3 * 12 to 36 <eos>",
        "answer 3 + 5 = 8 , 7 * 8 = 40 <eos>",  # 56 is not a token, and 40 is not 56
    ],
)
def test_wrong_answers_are_rejected(answer: str) -> None:
    assert not is_correct(PROBLEM, encode(answer))


def test_worked_solutions_are_right_and_search() -> None:
    rng = Random(1)
    backtracked = 0
    for i in range(400):
        problem = draw_problem(rng, 3 + i % 2)
        solution = write_solution(problem, rng, guidance=rng.random())
        if solution is None:
            continue
        assert is_correct(problem, solution)
        assert solution.count(EOS) == solution.count(ANSWER) == 1
        backtracked += BACK in solution
        without_search = solution[solution.index(ANSWER) :]
        assert is_correct(problem, without_search)
        if COMMA in without_search:
            damaged = [*without_search]
            damaged[5] = damaged[5] % LARGEST + 1
            assert not is_correct(problem, damaged)
    assert backtracked > 100


def test_moves_reach_exactly_what_can_be_reached() -> None:
    assert {m.result for m in moves((2, 6))} == {8, 4, 12, 3} == reachable((2, 6))
    assert all(1 <= m.result <= LARGEST for m in moves((7, 30, 35)))
    assert 36 in reachable(PROBLEM.numbers)


def test_the_prompt_set_is_fixed_by_its_seed() -> None:
    settings = Settings()
    first, again = (
        draw_prompt_set(Random("x"), settings.prompts, settings.hard_share) for _ in range(2)
    )
    assert first == again
    assert len({p.name for p in first}) == settings.prompts
    assert sum(len(p.numbers) == 4 for p in first) == round(settings.prompts * settings.hard_share)
