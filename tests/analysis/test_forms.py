"""What is fitted is what the latency model computes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.forms import Form
from longtail.analysis.observations import pad
from longtail.analysis.regression import fit_robust, number_blocks

CAPTURE = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0]


def forwards(
    seed: int, captured: list[float], count: int = 200, extra: bool = True
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    requests = rng.integers(1, 40, count)
    tokens = requests + rng.integers(0, 80, count)
    kv = tokens + rng.integers(0, 4000, count)
    return pd.DataFrame(
        {
            "tokens": tokens,
            "padded": pad(tokens, captured),
            "requests": requests,
            "kv_tokens": kv,
            "pairs": kv + rng.integers(0, 9000, count),
            "prefill_tokens": rng.integers(0, 30, count) * (rng.random(count) < 0.1),
            "speculates": rng.integers(0, 2, count) * float(extra),
            "live": 1.0,
        }
    )


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["linear", "piecewise", "table"]),
    capture=st.sampled_from([[], CAPTURE]),
    seed=st.integers(0, 10_000),
    extra=st.booleans(),
)
def test_design_times_coefficients_is_the_model(
    name: str, capture: list[float], seed: int, extra: bool
) -> None:
    """Inside the knots and beyond them: other forwards than those the form was made for."""
    form = Form.of(name, forwards(seed, capture, extra=extra))
    rng = np.random.default_rng(seed)
    coefficients = rng.random(len(form.columns)) * 1e-3
    if form.extra:
        coefficients[-2:] = 0  # of speculation: no part of the model
    others = forwards(seed + 1, capture, extra=extra)
    others.loc[:20, "tokens"] *= 3
    others.loc[10:30, "kv_tokens"] *= 3
    others["padded"] = pad(others.tokens.to_numpy(), capture)
    model = form.model(coefficients, capture)
    counts = others[["tokens", "requests", "kv_tokens", "pairs", "prefill_tokens"]]
    seconds = [model.seconds(*map(int, row), 0, model.params) for row in counts.to_numpy()]
    assert form.design(others) @ coefficients == pytest.approx(np.array(seconds), rel=1e-9)


def test_padding_is_to_the_next_captured_size() -> None:
    padded = pad(np.array([1, 3, 8, 9, 64, 65, 500]), CAPTURE)
    assert padded.tolist() == [1, 4, 8, 16, 64, 65, 500]
    assert pad(np.array([3, 7]), []).tolist() == [3, 7]


def test_steps_of_the_captured_sizes_are_found() -> None:
    seen = forwards(5, CAPTURE, 2000, extra=False)
    form = Form.of("piecewise", seen)
    seconds = 1e-3 + 2e-5 * pad(seen.tokens.to_numpy(), CAPTURE)
    fit = fit_robust(form.design(seen), seconds)
    model = form.model(fit.coefficients, CAPTURE)

    def of(tokens: int) -> float:
        return float(model.seconds(tokens, 1, 0, 0, 0, 0, model.params))

    assert of(17) == of(40) == of(64) == pytest.approx(1e-3 + 2e-5 * 64, rel=1e-3)
    assert of(65) > of(64) and of(100) == pytest.approx(1e-3 + 2e-5 * 100, rel=1e-2)


# The regression


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_what_has_no_noise_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(120), rng.random((120, 3)) * [1, 100, 1e5]])
    truth = rng.random(4) * [1, 1e-2, 1e-5, 1e-6] * (rng.random(4) > 0.3)
    truth[0] += 0.1
    fit = fit_robust(x, x @ truth)
    assert x @ fit.coefficients == pytest.approx(x @ truth, rel=1e-4)
    assert (fit.coefficients >= 0).all()


def test_a_tenth_of_the_measurements_may_be_nonsense() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(500), rng.random(500) * 100])
    y = x @ [1.0, 0.05] * (1 + 0.03 * rng.standard_normal(500))
    bad = rng.random(500) < 0.1
    y[bad] *= 30
    fit = fit_robust(x, y)
    assert not fit.kept[bad].any() and fit.kept[~bad].mean() > 0.98
    assert fit.coefficients == pytest.approx([1.0, 0.05], rel=0.03)
    assert fit.spread == pytest.approx(0.03, rel=0.3)


def test_blocks_do_not_cross_runs() -> None:
    blocks = number_blocks(np.array([0] * 5 + [1] * 3 + [0] * 2), 2)
    assert blocks.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 5, 5]


def test_bootstrap_is_the_same_each_time() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(300), rng.random(300)])
    y = x @ [1.0, 1.0] * (1 + 0.1 * rng.standard_normal(300))
    blocks = number_blocks(np.zeros(300), 10)
    a, b = (fit_robust(x, y, blocks=blocks).interval() for _ in range(2))
    assert (a == b).all() and (a[:, 0] < 1).all() and (a[:, 1] > 1).all()
