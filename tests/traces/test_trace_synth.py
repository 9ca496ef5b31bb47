"""Made-up traces: determinism, statistics, reuse, and the mark that they are made up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail.traces import Trace, TraceError, open_trace
from longtail.traces.check import check_trace
from longtail.traces.synth import LogNormal, Pareto, Recipe, parse_lengths, synthesize


def make(path: Path, **recipe: Any) -> Trace:
    synthesize(path, Recipe(**recipe))
    return check_trace(path)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    for path, seed in ((a, 3), (b, 3), (c, 4)):
        make(path, rl_steps=2, prompts=3, samples=2, cap=300, seed=seed)
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def test_lengths_follow_the_law(tmp_path: Path) -> None:
    law = LogNormal(median=500, sigma=0.8)
    trace = make(
        tmp_path / "t", rl_steps=5, prompts=400, samples=10, lengths=law, cap=4000, tokens=False
    )
    logs = np.log(trace.lengths().output_len[~trace.lengths().capped])
    assert abs(np.median(logs) - math.log(500)) < 0.08
    assert 0.003 < trace.lengths().capped.mean() < 0.008  # P(N > ln(8) / 0.8) = 0.0047
    assert trace.lengths().output_len.max() == 4000
    assert not trace.has_tokens


def test_pareto_tail(tmp_path: Path) -> None:
    law = Pareto(scale=100, alpha=2.0)
    recipe = {"group_correlation": 0.0, "cap": 10**6, "tokens": False, "lengths": law}
    trace = make(tmp_path / "t", rl_steps=1, prompts=2000, samples=10, **recipe)
    lengths = trace.lengths().output_len
    assert lengths.min() >= 100
    for x in (200, 500):
        assert abs((lengths > x).mean() / (100 / x) ** 2 - 1) < 0.1


@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0])
def test_lengths_within_a_prompt_correlate(tmp_path: Path, rho: float) -> None:
    recipe = {"cap": 10**7, "tokens": False, "group_correlation": rho}
    trace = make(tmp_path / "t", rl_steps=2, prompts=4000, samples=2, **recipe)
    logs = np.log(trace.lengths().output_len).reshape(2, 4000, 2)
    for first, second in ((logs[0, :, 0], logs[0, :, 1]), (logs[0, :, 0], logs[1, :, 0])):
        assert abs(np.corrcoef(first, second)[0, 1] - rho) < 0.06


def ngrams(tokens: np.ndarray, n: int = 6) -> set[tuple[int, ...]]:
    listed = tokens.tolist()
    return {tuple(listed[i : i + n]) for i in range(len(listed) - n + 1)}


def test_reuse_comes_from_the_prompts_own_past(tmp_path: Path) -> None:
    shares = {}
    for reuse in (0.0, 0.5, 1.0):
        trace = make(
            tmp_path / "t", rl_steps=2, prompts=4, samples=4, reuse=reuse, self_reuse=0.0, cap=2000
        )
        tokens, prompt = trace.tokens(), trace.lengths().prompt
        step = trace.lengths().rl_step
        seen: dict[int, set[tuple[int, ...]]] = {p: set() for p in range(4)}
        for i in np.flatnonzero(step == 0):
            seen[prompt[i]] |= ngrams(tokens.output(i))
        own, other, total = 0, 0, 0
        for i in np.flatnonzero(step == 1):
            found = ngrams(tokens.output(i))
            own += len(found & seen[prompt[i]])
            other += len(found & seen[(prompt[i] + 1) % 4])
            total += len(found)
        shares[reuse] = own / total
        assert other == 0
    assert shares[0.0] == 0
    assert 0.1 < shares[0.5] < shares[1.0]


def test_self_reuse(tmp_path: Path) -> None:
    for share, repeats in ((0.0, False), (0.5, True)):
        recipe = {"reuse": 0.0, "self_reuse": share, "cap": 3000}
        trace = make(tmp_path / "t", rl_steps=1, prompts=1, samples=1, **recipe)
        tokens = trace.tokens().output(0)
        assert (len(ngrams(tokens)) < 0.95 * (len(tokens) - 5)) == repeats


def test_only_uncut_outputs_end_in_the_end_token(tmp_path: Path) -> None:
    trace = make(tmp_path / "t", rl_steps=2, prompts=8, samples=8, cap=900)
    tokens, capped = trace.tokens(), trace.lengths().capped
    assert capped.any() and not capped.all()
    for i in range(len(tokens)):
        ends = np.flatnonzero(tokens.output(i) == 0)
        assert ends.tolist() == ([] if capped[i] else [len(tokens.output(i)) - 1])


def test_it_says_that_it_is_made_up(bench: Any) -> None:
    args = ("--prompts", 2, "--samples", 2, "--rl-steps", 1, "--cap", 50)
    made = bench.done(bench.run("synth", "-o", bench.output, *args))
    assert "synthetic" in made.output
    assert open_trace(bench.output).meta.synthetic
    assert "SYNTHETIC" in bench.run("info", bench.output).output.splitlines()[0]
    as_json = json.loads(bench.run("info", bench.output, "--json").output)
    assert as_json["origin"] == "synthetic" and as_json["synthetic"] is True
    assert "synthetic" in bench.run("check", bench.output).output


@pytest.mark.parametrize(
    "law", ["zipf:a=2", "lognormal:median=x", "lognormal:mean=3", "pareto:alpha=-1", "pareto:alpha"]
)
def test_bad_laws(bench: Any, law: str) -> None:
    assert law.split(":")[0] in bench.refused("synth", "--lengths", law)


def test_laws_have_defaults() -> None:
    assert parse_lengths("lognormal") == LogNormal()
    assert parse_lengths("pareto:alpha=3") == Pareto(alpha=3.0)


@pytest.mark.parametrize(
    "change",
    [{"prompts": 0}, {"reuse": 1.5}, {"reuse": 0.6, "self_reuse": 0.6}, {"vocab": 1}, {"seed": -1}],
)
def test_bad_recipes(change: dict[str, Any]) -> None:
    with pytest.raises(TraceError):
        Recipe(**change)
