"""What the live tests share: a real vLLM on the CPU, requests that come and go, and its step log.

Import vllm inside functions: the test files are collected where it is missing, too.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from longtail.engine.execute import core
from longtail.engine.settings import LiveSettings
from longtail.engine.step_log import read_step_log
from longtail.engine.tiny.task import draw_prompt_set, write_solution
from longtail.policies.components import BUDGETS, DRAFTERS

IN_ENGINE = [name for name, drafter in DRAFTERS.classes.items() if drafter.in_engine]
BUDGETS_IN_ENGINE = [n for n in BUDGETS.classes if getattr(BUDGETS.make(n), "in_engine", True)]
# Every drafter, and every budget with one of them; test_live_replay.py has more combinations.
POLICIES = [
    f"{drafter}/{budget}"
    for drafter in IN_ENGINE
    for budget in BUDGETS_IN_ENGINE
    if drafter == "suffix" or budget == "unlimited"
]
LONGEST_DRAFT = max(DRAFTERS.make(name).longest_draft for name in IN_ENGINE)
DRAFTING = {"drafter": f"ngram:k={LONGEST_DRAFT}"}  # what engines are started for
MODEL_LEN = 320  # tokens of prompt and output together
BLOCK = 32  # tokens of a KV block, the fewest that the CPU likes


def settings_of(policy: str, **more: Any) -> LiveSettings:
    """From `DRAFTER[/BUDGET]`."""
    drafter, _, budget = policy.partition("/")
    return LiveSettings(drafter, budget or "unlimited", **more)


@dataclass(frozen=True)
class Wish:
    """A request: when it comes, in engine steps, what it asks for, and whether it is given up."""

    prompt: tuple[int, ...]
    max_tokens: int = 256
    ignore_eos: bool = True
    arrive: int = 0
    abort: int | None = None
    options: dict[str, Any] = field(default_factory=dict)  # more of SamplingParams

    @property
    def cap(self) -> int:
        """Output tokens at most."""
        return min(self.max_tokens, MODEL_LEN - len(self.prompt))


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Different problems, most of them hard."""
    return [tuple(p.prompt) for p in draw_prompt_set(Random(seed), count, hard_share=0.75)]


def long_prompt(length: int, seed: int) -> tuple[int, ...]:
    """A problem after others that are solved, `length` tokens of it."""
    dice = Random(seed)
    *solved, last = draw_prompt_set(dice, 21, hard_share=0.5)
    text = [t for p in solved for t in (*p.prompt, *(write_solution(p, dice, 0.8) or [])[:-1])]
    return tuple([*text, *last.prompt][-length:])


@contextmanager
def engine(model: Path, policy: dict[str, Any] | None = None, **arguments: Any) -> Iterator[Any]:
    """An LLM in this process, with a longtail policy or without anything of longtail's."""
    from vllm import LLM

    given = {
        "skip_tokenizer_init": True,
        "dtype": "float32",
        "enforce_eager": True,
        "gpu_memory_utilization": 0.3,
        "max_model_len": MODEL_LEN,
        "max_num_seqs": 64,
        "block_size": BLOCK,
        "num_gpu_blocks_override": 1000,
    }
    if policy is not None:
        given["additional_config"] = {"longtail": policy}
    llm = LLM(model=str(model), **{**given, **arguments})
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()


def scheduler_of(llm: Any) -> Any:
    return core(llm).scheduler


def generate(llm: Any, wishes: Sequence[Wish]) -> list[list[int]]:
    """Every wish's text: of one that was given up, what it had by then."""
    return [text for text, _ in serve(llm, wishes)]


def serve(llm: Any, wishes: Sequence[Wish]) -> list[tuple[list[int], int]]:
    """Every wish's text, and how many tokens of its prompt came from the prefix cache."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    served: dict[int, tuple[list[int], int]] = {i: ([], 0) for i in range(len(wishes))}
    calendar: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for i, wish in enumerate(wishes):
        calendar[wish.arrive].append(("add", i))
        if wish.abort is not None:
            calendar[wish.abort].append(("abort", i))
    step = 0
    while calendar or llm.llm_engine.has_unfinished_requests():
        for what, i in calendar.pop(step, ()):
            if what == "abort":
                llm.llm_engine.abort_request([str(i)])
                continue
            wish = wishes[i]
            watched = wish.abort is not None
            params = SamplingParams(
                **{"temperature": 0.0, **wish.options},
                max_tokens=wish.max_tokens,
                ignore_eos=wish.ignore_eos,
                detokenize=False,
                output_kind=RequestOutputKind(0 if watched else 2),  # cumulative, or the end only
            )
            llm.llm_engine.add_request(str(i), {"prompt_token_ids": list(wish.prompt)}, params)
        for output in llm.llm_engine.step():
            cached = output.num_cached_tokens or 0
            served[int(output.request_id)] = (list(output.outputs[0].token_ids), cached)
        step += 1
    return list(served.values())


class Witness:
    """Sees what the policy proposes, and holds it against vLLM's own numbers on the spot."""

    def __init__(self, llm: Any) -> None:
        self._scheduler = scheduler_of(llm)
        self._session = self._scheduler.session
        self._propose = self._session.policy.propose
        self._session.policy.propose = self.propose
        self.proposed: dict[int, dict[int, int]] = {}  # forward -> number of request -> tokens

    def propose(self, decoding: Sequence[str], **counts: int) -> list[list[int]]:
        drafts = self._propose(decoding, **counts)
        for request_id, draft in zip(decoding, drafts, strict=True):
            request = self._scheduler.requests[request_id]
            left = min(request.max_tokens, MODEL_LEN - request.num_prompt_tokens)
            left -= request.num_output_tokens
            assert len(draft) <= min(max(left - 1, 0), self._session.policy.k)
        self.proposed[self._session.forwards] = {
            self._session.number(request_id): len(draft)
            for request_id, draft in zip(decoding, drafts, strict=True)
        }
        return drafts


@dataclass(frozen=True)
class Log:
    """A step log, whole."""

    forwards: Any
    requests: Any

    @classmethod
    def of(cls, llm: Any) -> Log:
        scheduler_of(llm).longtail_flush()
        folder = scheduler_of(llm).session.settings.log
        return cls(read_step_log(folder), read_step_log(folder, "requests"))

    def rows(self) -> Iterator[tuple[Any, list[tuple[int, int, int, int]]]]:
        """Each forward, with (request, tokens, drafted, accepted) of those that took part."""
        names = ("request", "request_tokens", "request_drafted", "request_accepted")
        for row in self.forwards.itertuples():
            columns = (getattr(row, name).tolist() for name in names)
            yield row, list(zip(*columns, strict=True))

    def total(self, column: str, rl_step: int | None = None) -> int:
        """Of all forwards, or of an RL step's."""
        rows = self.forwards
        if rl_step is not None:
            rows = rows[rows.rl_step == rl_step]
        return int(rows[column].sum())

    def check(self, witness: Witness | None, room: int) -> None:
        """Nothing was verified that was not proposed, and nothing is lost or counted twice.

        room: max_num_batched_tokens; a forward that uses all of it may have cut a draft.
        """
        drafted_by: dict[int, int] = defaultdict(int)
        accepted_by: dict[int, int] = defaultdict(int)
        assert list(self.forwards.forward) == list(range(len(self.forwards)))
        for row, parts in self.rows():
            assert row.requests == len(parts) and row.tokens == sum(p[1] for p in parts) <= room
            proposed = dict(witness.proposed.get(row.forward, {})) if witness else {}
            for request, tokens, drafted, accepted in parts:
                assert 0 <= accepted <= drafted < tokens or drafted == 0 < tokens
                wanted = proposed.pop(request, 0)
                assert drafted == wanted or (drafted < wanted and row.tokens == room)
                drafted_by[request] += drafted
                accepted_by[request] += accepted
            if not row.preempted and row.tokens < room:
                assert not any(proposed.values())  # everybody who had a draft was there
        for row in self.requests.itertuples():
            assert row.drafted == drafted_by.pop(row.request)
            assert row.accepted == accepted_by.pop(row.request)
        assert not drafted_by
