"""Latency models: by hand, and the presets against the figure they were read from."""

from pathlib import Path

import numpy as np
import pytest

from longtail.policies.latency.presets import make_latency, name_latency
from longtail.policies.registry import ComponentError

FIGURE = Path(__file__).parents[2].parent / "shared/reference/figures/das_fig8_forward_latency.csv"


def seconds(spec: str, tokens: int, requests: int = 0, kv: int = 0, drafts: int = 0) -> float:
    latency = make_latency(spec)
    return float(latency.seconds(tokens, requests, kv, 0, 0, drafts, latency.params))


def test_linear_by_hand() -> None:
    spec = "linear:base=1,token=0.1,kv_token=0.01,request=2,draft=0.5"
    assert seconds(spec, 10, 3, 100, 4) == pytest.approx(1 + 1 + 1 + 6 + 2)


def test_piecewise_by_hand() -> None:
    spec = "piecewise:tokens=10/20/40,time=1/2/6"
    expected = {1: 1, 10: 1, 15: 1.5, 20: 2, 30: 4, 40: 6, 70: 6 + 30 * 5 / 30}
    for tokens, wanted in expected.items():
        assert seconds(spec, tokens) == pytest.approx(wanted), tokens


def test_a_calibration_that_no_specification_can_name(tmp_path: Path) -> None:
    path = tmp_path / "a,b.json"
    path.write_text("{}")
    with pytest.raises(ComponentError, match=r"a,b.json has ',' in its path"):
        make_latency(str(path))


def test_a_forward_is_padded_to_the_next_capture_size() -> None:
    spec = "piecewise:tokens=1/100,time=0.01/1,capture=8/16/64"
    for tokens, padded in ((1, 8), (8, 8), (9, 16), (17, 64), (64, 64), (65, 65)):
        assert seconds(spec, tokens) == pytest.approx(0.01 * padded), tokens


def test_options_may_be_added_to_a_preset() -> None:
    assert seconds("h100-7b:draft=1e-3", 1, drafts=5) == pytest.approx(seconds("h100-7b", 1) + 5e-3)
    assert name_latency(make_latency("h100-7b")) == "h100-7b (prior)"
    assert name_latency(make_latency("h100-7b:base=1")) == "linear:base=1.0"


@pytest.mark.shared
@pytest.mark.skipif(not FIGURE.is_file(), reason="no digitized figures beside the checkout")
def test_presets_against_the_figure() -> None:
    tokens, ms = np.loadtxt(FIGURE, delimiter=",", skiprows=1, unpack=True)
    points = [seconds("h100-7b-points", int(t)) * 1e3 for t in tokens]
    line = np.array([seconds("h100-7b", int(t)) * 1e3 for t in tokens])
    assert points == pytest.approx(ms.tolist())
    assert np.abs(line / ms - 1).mean() < 0.12  # the paper states about 12 % for its line
