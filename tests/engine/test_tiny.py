"""The tiny model, its sampler, GRPO, and the recorder end to end at toy size."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from longtail.engine.tiny.grpo import (  # noqa: E402
    Rollout,
    group_advantages,
    output_logprobs,
    sample,
    update,
)
from longtail.engine.tiny.model import Cache, TinyGPT  # noqa: E402
from longtail.engine.tiny.record import record_tiny  # noqa: E402
from longtail.engine.tiny.settings import TINY_TEST  # noqa: E402
from longtail.engine.tiny.task import EOS, PAD, VOCABULARY, Problem  # noqa: E402
from longtail.traces.schema import STOP  # noqa: E402
from longtail.traces.store import open_trace  # noqa: E402

PROMPTS = [Problem((3, 5, 7), 36).prompt, Problem((2, 4, 5, 9), 31).prompt] * 4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model() -> TinyGPT:
    torch.manual_seed(0)
    model = TinyGPT(TINY_TEST, len(VOCABULARY))
    for parameter in model.parameters():  # far from uniform, so that a wrong cache would show
        parameter.data *= 3
    return model


def drawn(model: TinyGPT, seed: int = 0, cap: int = 80) -> list[Rollout]:
    random = torch.Generator().manual_seed(seed)
    return sample(model, PROMPTS, replace(TINY_TEST, cap=cap), random)


def test_cached_logits_equal_a_full_forward(model: TinyGPT) -> None:
    tokens = torch.randint(1, len(VOCABULARY), (5, 150))
    cache = Cache(TINY_TEST.layers)
    with torch.no_grad():
        full = model(tokens)
        first = model(tokens[:, :7], cache)
        steps = [model(tokens[:, [t]], cache) for t in range(7, 100)]
        kept = torch.tensor([0, 3, 4])
        cache.keep(kept)
        rest = [model(tokens[kept][:, [t]], cache) for t in range(100, 150)]
    torch.testing.assert_close(torch.cat([first, *steps], 1), full[:, :100], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(torch.cat(rest, 1), full[kept, 100:], atol=2e-4, rtol=1e-3)
    assert (torch.cat(rest, 1).argmax(-1) == full[kept, 100:].argmax(-1)).all()


def test_sampling_ends_where_it_should_and_knows_its_probabilities(model: TinyGPT) -> None:
    rollouts = drawn(model)
    assert {r.stopped for r in rollouts} == {True, False}
    for prompt, rollout in zip(PROMPTS, rollouts, strict=True):
        assert rollout.prompt == prompt
        assert len(rollout.output) == len(rollout.logprobs) <= 80
        assert rollout.stopped or len(rollout.output) == 80
        assert EOS not in rollout.output[:-1] and PAD not in rollout.output
        assert rollout.end_s > 0
    with torch.no_grad():
        again = output_logprobs(model, rollouts, TINY_TEST.temperature)
    for rollout, logprobs in zip(rollouts, again, strict=True):
        torch.testing.assert_close(logprobs, torch.tensor(rollout.logprobs), atol=2e-4, rtol=1e-3)


def test_sampling_follows_its_seed(model: TinyGPT) -> None:
    outputs = [[r.output for r in drawn(model, seed)] for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_nearly_no_temperature_is_greedy(model: TinyGPT) -> None:
    random = torch.Generator().manual_seed(0)
    rollouts = sample(model, PROMPTS, replace(TINY_TEST, temperature=1e-4, cap=30), random)
    for rollout in rollouts:
        tokens = torch.tensor([rollout.prompt + rollout.output])
        with torch.no_grad():
            logits = model(tokens)[0, len(rollout.prompt) - 1 : -1]
        logits[:, PAD] = float("-inf")
        assert logits.argmax(-1).tolist() == rollout.output


def test_advantages_are_relative_to_the_group() -> None:
    assert group_advantages([1, 0, 0, 1, 1, 1, 0, 0], 4) == [1, -1, -1, 1, 1, 1, -1, -1]
    assert group_advantages([1, 1, 0, 0], 2) == [0, 0, 0, 0]
    assert sum(group_advantages([1, 0, 0, 0], 4)) == pytest.approx(0)


def test_an_update_makes_the_rewarded_likelier(model: TinyGPT) -> None:
    rollouts = drawn(model, cap=40)
    advantages = [1.0, -1.0] * 4
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = [r.logprobs for r in rollouts]
    random = torch.Generator().manual_seed(0)
    updates = update(model, optimiser, rollouts, advantages, TINY_TEST, random)
    assert updates == TINY_TEST.minibatches
    with torch.no_grad():
        after = output_logprobs(model, rollouts, TINY_TEST.temperature)
    gain = [float((a - torch.tensor(b)).mean()) for a, b in zip(after, before, strict=True)]
    assert sum(gain[::2]) > 0 > sum(gain[1::2])


def test_a_run_is_recorded_twice_the_same(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    lines: list[str] = []
    for file in files:
        record_tiny(file, 3, lines.append, **asdict(TINY_TEST))
    assert any("RL step 1" in line for line in lines)
    tables = [next(open_trace(file).groups())[1] for file in files]
    assert tables[0].drop_columns("end_s").equals(tables[1].drop_columns("end_s"))
    assert open_trace(files[0]).meta == open_trace(files[1]).meta

    trace = open_trace(files[0])
    lengths = trace.lengths()
    assert trace.n_rollouts == TINY_TEST.prompts * TINY_TEST.samples * TINY_TEST.epochs
    assert trace.meta.origin == "recorded" and trace.meta.end_token_id == EOS
    assert trace.meta.tokenizer is not None
    assert tuple(trace.meta.tokenizer["vocabulary"]) == VOCABULARY
    assert trace.meta.engine_config == {"seed": 3, **asdict(TINY_TEST)}
    tokens = trace.tokens()
    for i in range(len(lengths)):
        stopped = lengths.finish[i] == STOP
        assert (tokens.output(i)[-1] == EOS) == stopped
        assert stopped or lengths.output_len[i] == TINY_TEST.cap
    assert (trace.column("policy_version", [0]) == 0).all()
    assert (trace.column("policy_version", [1]) == TINY_TEST.minibatches).all()
