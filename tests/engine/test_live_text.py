"""Greedy text under every policy is plain vLLM's, whatever happens to the requests meanwhile.

Every drafter with every budget, in an engine whose KV cache is too small for all, with and without
prefix caching. What was verified is held against what the policy proposed, forward by forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from live_engine import (
    DRAFTING,
    LONGEST_DRAFT,
    MODEL_LEN,
    POLICIES,
    Log,
    Wish,
    Witness,
    engine,
    generate,
    long_prompt,
    prompts,
    scheduler_of,
    serve,
    settings_of,
)

from longtail.engine.execute import core
from longtail.engine.settings import LiveSettings
from longtail.engine.step_log import read_step_log
from longtail.policies.components import DRAFTERS
from longtail.traces.store import open_trace

pytestmark = pytest.mark.usefixtures("vllm_cpu")

PROMPTS = [*prompts(48), *(long_prompt(64, seed) for seed in range(16))]
CROWD = [Wish(prompt, 256) for prompt in PROMPTS]
"""All at once, 256 tokens each; those with long prompts just fill the model's length."""

ONE_LEFT = [long_prompt(length, 99) for length in (33, 65)]
"""Prompts of which, once they are cached, one token is left to compute."""

STORM = [
    *(Wish(p, 200, i % 2 == 0, arrive=i) for i, p in enumerate(PROMPTS[:36])),
    *(Wish(p, 100, arrive=5 + 20 * i) for i in range(4) for p in ONE_LEFT),
    *(Wish(long_prompt(280, i), 1000, arrive=9 * i) for i in range(4)),  # to the model's length
    *(Wish(long_prompt(MODEL_LEN - 2, i), 2, arrive=7 + 2 * i) for i in range(2)),
    *(Wish(p, 256, arrive=4 * i, abort=7 * i + 2) for i, p in enumerate(PROMPTS[36:44])),
]
"""They come one by one and in between, some of them ask for more than fits, some are given up."""


@pytest.fixture(scope="module")
def plain(tiny_llama: Path, vllm_cpu: None) -> SimpleNamespace:
    """What vLLM writes that was told nothing of us, to everybody at once and with room for all."""
    calm = [replace(wish, arrive=0, abort=None) for wish in STORM]
    with engine(tiny_llama) as llm:
        assert type(scheduler_of(llm)).__module__.startswith("vllm.")
        return SimpleNamespace(crowd=generate(llm, CROWD), storm=generate(llm, calm))


@pytest.fixture(scope="module", params=["cached", "uncached"])
def busy(request: Any, tiny_llama: Path, plain: SimpleNamespace) -> Iterator[Any]:
    """An engine with room for a third of the crowd, and for few tokens in a forward."""
    with engine(
        tiny_llama,
        DRAFTING,
        num_gpu_blocks_override=160,
        max_num_batched_tokens=512,
        enable_prefix_caching=request.param == "cached",
    ) as llm:
        yield llm


def begin(llm: Any, policy: str, folder: Path, **more: Any) -> Witness:
    """The policy from here on, with no memory of others."""
    llm.reset_prefix_cache()
    scheduler_of(llm).begin_session(settings_of(policy, log=folder / "steps", **more))
    return Witness(llm)


@pytest.mark.parametrize("busy", ["cached"], indirect=True)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_crowd_writes_the_same_twice(
    busy: Any, plain: SimpleNamespace, policy: str, tmp_path: Path
) -> None:
    witness = begin(busy, policy, tmp_path)
    for _ in range(2):  # RL steps: the engine finds out by itself
        assert generate(busy, CROWD) == plain.crowd
    log = Log.of(busy)
    log.check(witness, room=512)
    assert busy.collective_rpc("longtail_stats") == [
        {"rl_step": 1, "forwards": len(log.forwards), "running": 0, "finished": 128, "faults": {}}
    ]
    assert list(log.requests.rl_step) == [0] * 64 + [1] * 64
    assert sorted(log.requests.output_len) == sorted(2 * [len(text) for text in plain.crowd])
    first, second = (log.total("accepted", rl_step) for rl_step in (0, 1))
    drafter = DRAFTERS.make(policy.partition("/")[0])
    late = drafter.name == "histospec" or "respec" in policy  # they look at history only
    if drafter.longest_draft and not late:
        assert first > 1000
    # Of such drafts a budget that looks back has seen none before the third RL step.
    if drafter.history_steps != 0 and not (late and "das" in policy):
        assert second > first
    assert log.total("preempted", 0) > 0 < log.total("preempted", 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_storm_changes_nobodys_text(
    busy: Any, plain: SimpleNamespace, policy: str, tmp_path: Path
) -> None:
    witness = begin(busy, policy, tmp_path, record=tmp_path / "rollouts")
    served = serve(busy, STORM)
    log = Log.of(busy)
    log.check(witness, room=512)
    assert scheduler_of(busy).longtail_stats()["faults"] == {}
    given_up = []
    for wish, (text, _), whole in zip(STORM, served, plain.storm, strict=True):
        if wish.abort is None:
            assert text == whole
        else:
            assert text == whole[: len(text)]
            given_up.append(len(text))
    assert 0 < max(given_up) < 256
    assert list(log.requests.finish_reason).count("abort") == len(given_up)
    cached = busy.llm_engine.vllm_config.cache_config.enable_prefix_caching
    assert any(tokens for _, tokens in served) == cached
    assert log.total("preempted") > 0
    assert recorded(tmp_path, 0) == sorted(text for text, _ in served if text)


@dataclass(frozen=True)
class Faulty:
    """Drafts that are often right, from a drafter that goes wrong in every fifth call."""

    how: str
    name: ClassVar[str] = "faulty"
    longest_draft: ClassVar[int] = LONGEST_DRAFT
    history_steps: ClassVar[int] = 0

    def live(self) -> FaultyLive:
        return FaultyLive(self.how, DRAFTERS.make(f"ngram:k={LONGEST_DRAFT}").live())


class FaultyLive:
    def __init__(self, how: str, sound: Any) -> None:
        self.how, self.sound, self.calls = how, sound, Counter[str]()

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[method] += 1
            amiss = self.calls[method] % 5 == 0
            if amiss and self.how == method:
                raise RuntimeError("broken")
            made = getattr(self.sound, method)(*args, **kwargs)
            if method != "draft" or not amiss:
                return made
            if self.how == "junk":
                return [[*draft[:1].tolist(), -5, 10**12] for draft in made]
            if self.how == "nonsense":
                return [None, "draft", [0.5], {3: 4}][: len(made)]
            return [np.zeros(1000, np.int32)] * len(made) if self.how == "length" else made

        return call


@pytest.mark.parametrize("busy", ["cached"], indirect=True)
@pytest.mark.parametrize(
    "how", ["start_step", "begin", "extend", "draft", "finish", "junk", "nonsense", "length"]
)
def test_a_faulty_drafter_changes_nobodys_text(
    busy: Any, plain: SimpleNamespace, how: str, tmp_path: Path
) -> None:
    busy.reset_prefix_cache()
    told = LiveSettings(Faulty(how), "unlimited", log=tmp_path / "steps")
    scheduler_of(busy).begin_session(told)
    witness = Witness(busy)
    for rl_step in range(1, 6 if how == "start_step" else 2):
        busy.collective_rpc("longtail_start_step", args=(rl_step,))
    assert generate(busy, CROWD) == plain.crowd
    log = Log.of(busy)
    log.check(witness, room=512)
    (stats,) = busy.collective_rpc("longtail_stats")
    assert list(stats["faults"]) == ["draft" if how == "nonsense" else how]


@pytest.mark.parametrize("busy", ["cached"], indirect=True)
def test_coupled_samples_are_the_same_under_every_policy(busy: Any, tmp_path: Path) -> None:
    """At temperature 0.8, without speculation and with, in the order of the registries."""
    coupled = {"temperature": 0.8, "extra_args": {"longtail_coupled": True}}
    wishes = [
        Wish(p, 200, i % 2 == 0, arrive=i, options={**coupled, "seed": i})
        for i, p in enumerate(PROMPTS[40:56])
    ]
    begin(busy, "none", tmp_path / "alone")
    alone = generate(busy, wishes)
    assert alone != generate(busy, [replace(wish, options={}) for wish in wishes])  # not greedy
    for policy in POLICIES:
        witness = begin(busy, policy, tmp_path / policy)
        assert generate(busy, wishes) == alone
        log = Log.of(busy)
        log.check(witness, room=512)
        # Two of them look at history only, and here is none.
        silent = policy.startswith(("none/", "histospec/")) or policy.endswith("/respec")
        assert log.total("accepted") > 300 or silent


def test_without_drafts_vllm_may_run_ahead(
    tiny_llama: Path, plain: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asynchronous scheduling, vLLM's default on GPUs; on CPUs it is possible, but switched off."""
    from vllm.platforms.cpu import CpuPlatform

    check = CpuPlatform.check_and_update_config

    def check_and_switch_on(config: Any) -> None:
        check(config)
        config.scheduler_config.async_scheduling = True

    monkeypatch.setattr(CpuPlatform, "check_and_update_config", staticmethod(check_and_switch_on))
    kept = {"log": str(tmp_path / "steps"), "record": str(tmp_path / "rollouts")}
    with engine(tiny_llama, {"drafter": "none", **kept}, num_gpu_blocks_override=160) as llm:
        assert type(scheduler_of(llm)).__name__ == "LongtailAsyncScheduler"
        assert generate(llm, CROWD) == plain.crowd
        storm = generate(llm, STORM)
        log = Log.of(llm)
    log.check(None, room=1 << 20)
    assert log.total("preempted") > 0
    for wish, text, whole in zip(STORM, storm, plain.storm, strict=True):
        assert text == whole[: len(text)] and (text == whole or wish.abort is not None)
    assert list(log.requests.forwards) == list(log.requests.output_len)
    assert [recorded(tmp_path, n) for n in range(2)] == [
        sorted(text for text in texts if text) for texts in (plain.crowd, storm)
    ]


def test_what_is_pending_is_written_before_the_workers_are_waited_for(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """vLLM gives its engine a few seconds to end, and may kill it while it waits for them."""
    written = []

    def wait(*args: Any, **kwargs: Any) -> None:
        written.append(len(read_step_log(tmp_path / "steps", "requests")))

    kept = {"log": str(tmp_path / "steps")}
    with engine(tiny_llama, {"drafter": "none", **kept}) as llm:
        for _ in range(3):
            generate(llm, [Wish(prompt, 4) for prompt in PROMPTS[:2]])
        executor = core(llm).model_executor
        end, executor.shutdown = executor.shutdown, wait
        core(llm).shutdown()
        end()
    assert written[0] == 6


def recorded(folder: Path, number: int) -> list[list[int]]:
    """The texts of a recorded file, in their own order."""
    (own,) = (folder / "rollouts").iterdir()
    trace = open_trace(own / f"rollouts-{number:06d}.parquet")
    tokens = trace.tokens()
    return sorted(tokens.output(i).tolist() for i in range(trace.n_rollouts))
