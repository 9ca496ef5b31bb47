"""The datasheet prior against what was published, and what verifying a draft reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from longtail.policies.latency.presets import PRESETS, make_latency, name_latency
from longtail.policies.latency.roofline import Roofline
from longtail.policies.registry import ComponentError

QWEN3_8B = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
}  # fmt: skip


@pytest.fixture
def qwen3_8b(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN3_8B))
    return str(path)


def decode_s(model: Roofline, requests: int, context: int, drafts: int = 0) -> float:
    tokens, kv = requests * (1 + drafts), requests * context
    pairs = requests * sum(context - i for i in range(drafts + 1))
    return float(model.seconds(tokens, requests, kv, pairs, 0, tokens - requests, model.params))


@pytest.mark.parametrize(
    ("requests", "context", "ms"),
    [(1, 512, 5.05), (1, 8192, 5.27), (16, 512, 5.39), (16, 8192, 10.17), (64, 512, 7.00),
     (64, 8192, 22.86), (256, 512, 12.97), (256, 8192, 76.94)],
)  # fmt: skip
def test_aiconfigurators_table_of_an_h200(
    qwen3_8b: str, requests: int, context: int, ms: float
) -> None:
    """aiconfigurator 0.12, Qwen3-8B, h200_sxm, vLLM 0.24 tables, static_gen, without drafts."""
    model = Roofline(model=qwen3_8b, gpu="h200")
    assert 1e3 * decode_s(model, requests, context) == pytest.approx(ms, rel=0.12)


@pytest.mark.parametrize(
    ("gpu", "tokens_per_s"),
    [("b200", 259.71), ("h100", 164.65), ("a100", 92.83), ("rtx4090", 65.28)],
)
def test_one_request_on_four_gpus(gpu: str, tokens_per_s: float) -> None:
    """TLT Table 2, Qwen2.5-7B without speculation."""
    model = Roofline(model="qwen2.5-7b", gpu=gpu)
    assert decode_s(model, 1, 500) == pytest.approx(1 / tokens_per_s, rel=0.15)


@pytest.mark.parametrize(
    ("preset", "tokens_per_s"),
    [("tlt-7b-b200", 259.71), ("tlt-7b-h100", 164.65), ("tlt-7b-a100", 92.83)],
)
def test_presets_meet_the_point_they_are_named_after(preset: str, tokens_per_s: float) -> None:
    assert decode_s(make_latency(preset), 1, 500) == pytest.approx(1 / tokens_per_s, rel=0.01)


def test_drafts_are_verified_for_one_reading_of_the_kv(qwen3_8b: str) -> None:
    """Few requests, long contexts: memory-bound, so that drafts are nearly free."""
    model = Roofline(model=qwen3_8b, gpu="h200")
    assert decode_s(model, 16, 8192, 7) < 1.02 * decode_s(model, 16, 8192)
    assert decode_s(model, 256, 512, 7) > 2 * decode_s(model, 256, 512)  # compute-bound


def test_more_gpus_share_the_work_and_pay_for_it() -> None:
    one, four = (Roofline(model="qwen2.5-32b", gpu="h100", tp=tp) for tp in (1, 4))
    assert 0.25 * decode_s(one, 64, 4096) < decode_s(four, 64, 4096) < 0.6 * decode_s(one, 64, 4096)


def test_every_preset_says_that_it_is_a_prior() -> None:
    for name, (_, source) in PRESETS.items():
        assert "prior" in source, name
        assert name_latency(make_latency(name)) == f"{name} (prior)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no model"),
        ("{", "no config.json"),
        ("[]", "no config.json"),
        ("{}", "no config.json"),
        (json.dumps(QWEN3_8B | {"num_experts": 64}), "experts"),
    ],
)
def test_models_that_cannot_be_priced(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ComponentError, match=problem):
        make_latency({"name": "roofline", "model": str(path)})


TLT_TABLE_4 = {  # speed-up by tokens to verify, at 1, 2, 4, 8, 16 and 32 requests
    16: (3.22, 3.08, 3.01, 2.73, 2.67, 2.48),
    32: (3.46, 3.28, 3.09, 2.63, 2.52, 2.23),
    48: (3.56, 3.39, 3.13, 2.51, 2.24, 1.90),
    64: (3.62, 3.38, 2.98, 2.27, 1.91, 1.70),
}
TLT_ACCEPTED = {16: 6.80, 32: 7.63, 48: 7.97, 64: 8.21}  # Fig. 13a, depth 10


def test_what_the_tlt_preset_says_of_its_fit() -> None:
    """A round's cost over a plain forward's is accepted tokens over speed-up."""
    points = [
        (tokens, 2**i, TLT_ACCEPTED[tokens] / gain)
        for tokens, gains in TLT_TABLE_4.items()
        for i, gain in enumerate(gains)
    ]

    def errors(found: np.ndarray) -> list[float]:
        draft, token = found
        return [
            (draft + 1 + token * n * verify) / (1 + token * n) / cost - 1
            for verify, n, cost in points
        ]

    draft, token = least_squares(errors, [1.0, 0.002]).x
    assert (round(token, 4), round(draft, 2)) == (0.0016, 1.24)
    assert np.abs(errors(np.array([draft, token]))).mean() == pytest.approx(0.05, abs=0.005)
    preset = make_latency("tlt-32b")
    assert preset.token / preset.base == pytest.approx(token, rel=0.01)
    plain = Roofline(model="qwen2.5-32b", gpu="h100", tp=4)
    assert preset.base == pytest.approx(decode_s(plain, 1, 1000), rel=0.01)


def test_what_the_roofline_says_of_tlts_table_2() -> None:
    told = {"b200": (259.71, -6), "h100": (164.65, 4), "a100": (92.83, -14), "rtx4090": (65.28, 12)}
    for gpu, (tokens_per_s, percent) in told.items():
        error = decode_s(Roofline(gpu=gpu), 1, 500) * tokens_per_s - 1
        assert round(100 * error) == percent
