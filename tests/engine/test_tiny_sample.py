"""The bundled sample is what its README says: recorded, whole, long-tailed. Needs no torch."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from longtail.engine.tiny.describe import by_size, step_stats, table, totals
from longtail.engine.tiny.settings import Settings
from longtail.engine.tiny.task import EOS, PAD, VOCABULARY, Problem, is_correct
from longtail.traces.sample import sample_path
from longtail.traces.schema import LENGTH, STOP
from longtail.traces.store import Trace, open_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return open_trace(sample_path())


def test_it_is_large_enough_and_small_enough(trace: Trace) -> None:
    lengths = trace.lengths()
    assert sample_path().stat().st_size <= 8_000_000
    assert len(trace.rl_steps) >= 8
    assert trace.rl_steps == list(range(len(trace.rl_steps)))
    keys = list(zip(lengths.rl_step, lengths.prompt, lengths.sample, strict=True))
    assert len(set(keys)) == len(keys)
    groups = Counter((step, prompt) for step, prompt, _ in keys)
    assert len(groups) == len(trace.rl_steps) * len(trace.prompt_ids)  # every epoch, every prompt
    assert len(trace.prompt_ids) >= 48 and min(groups.values()) >= 8
    order = ["rl_step", "prompt_id", "sample"]
    rows = [
        tuple(row[key] for key in order) for _, t in trace.groups(order) for row in t.to_pylist()
    ]
    assert rows == sorted(rows)


def test_its_lengths_and_ends_are_consistent(trace: Trace) -> None:
    cap = trace.meta.sampling["max_tokens"]
    assert cap >= 1024 and trace.meta.sampling["temperature"] > 0
    lengths, tokens = trace.lengths(), trace.tokens()
    assert tokens.output_tokens.min() > PAD and tokens.output_tokens.max() < len(VOCABULARY)
    for i in range(len(lengths)):
        output = tokens.output(i)
        assert len(output) == lengths.output_len[i] <= cap
        assert (output[:-1] != EOS).all()
        if lengths.finish[i] == STOP:
            assert output[-1] == EOS
        else:
            assert lengths.finish[i] == LENGTH and len(output) == cap and output[-1] != EOS


def test_its_rewards_are_the_judge_s(trace: Trace) -> None:
    lengths, tokens = trace.lengths(), trace.tokens()
    for i in range(len(lengths)):
        prompt = tokens.prompt(i).tolist()
        problem = Problem(tuple(prompt[:-3]), prompt[-2])
        assert problem.prompt == prompt
        assert problem.name == trace.prompt_ids[lengths.prompt[i]]
        assert lengths.reward[i] == is_correct(problem, tokens.output(i).tolist())


def test_its_times_and_versions_follow_the_run(trace: Trace) -> None:
    start_s, end_s = trace.column("start_s"), trace.column("end_s")
    assert (end_s > start_s).all() and (start_s >= 0).all()
    steps = trace.lengths().rl_step
    assert (trace.column("policy_version") == steps * Settings().minibatches).all()


def test_it_learns_and_has_a_long_tail(trace: Trace) -> None:
    stats = list(step_stats(sample_path()))
    ratios = [s.tail_ratio for s in stats]
    assert np.mean([ratio >= 6 for ratio in ratios]) > 0.5
    first, last = stats[:2], stats[-2:]
    assert np.mean([s.reward for s in last]) > np.mean([s.reward for s in first])


def test_it_was_made_by_the_default_settings(trace: Trace) -> None:
    assert trace.meta.origin == "recorded" and trace.meta.licence == "Apache-2.0"
    assert trace.meta.source == "longtail record tiny --seed 0"
    assert trace.meta.engine_config == {"seed": 0, **asdict(Settings())}
    assert trace.meta.end_token_id == EOS and trace.meta.vocab_size == len(VOCABULARY)


def test_the_readme_shows_its_figures() -> None:
    readme = sample_path().with_name("README.md").read_text()
    for figures in (totals, table, by_size):
        assert figures(sample_path()) in readme
