"""`longtail calibrate` and `validate` as their users give them, on logs that were made here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from longtail.cli import cli
from longtail.policies.latency.presets import make_latency
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError

sys.path.insert(0, str(Path(__file__).parent / "analysis"))
from made_runs import Costs, Making, write_run


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "runs"
    for number, drafter in enumerate(("none", "ngram:k=4")):
        making = Making(noise=0.05, seed=number, requests=32)
        write_run(folder / drafter.partition(":")[0], drafter, making)
    return folder


@pytest.fixture(scope="module")
def calibrated(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `calibrate` writes of the runs."""
    path = tmp_path_factory.mktemp("calibrated") / "model.json"
    assert command("calibrate", runs, "-o", path).exit_code == 0
    return path.read_text()


def test_from_logs_to_a_simulation(runs: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    done = command("calibrate", runs / "none", runs / "ngram", "-o", model)
    assert done.exit_code == 0, done.output
    for words in ("linear", "chosen", "host: base", "drafting, ngram", "Measured range", "Verify"):
        assert words in done.output
    assert {p.name for p in tmp_path.glob("model.*")} == {"model.json", "model.png", "model.svg"}
    content = json.loads(model.read_text())
    assert content["engine"]["hardware"] == "CPU (x86_64)" and len(content["runs"]) == 2

    words = ["simulate", "sample", "--rl-steps", 1, "--drafter", "ngram:k=4", "--json"]
    result = json.loads(command(*words, "--latency", model).stdout)
    assert result["notes"] == [] and 0 < result["outside"] <= result["forwards"]
    assert "calibrated:file=" in result["configuration"]["latency"]
    shown = command(*words[:-1], "--latency", model).output
    assert "outside what was calibrated" in " ".join(shown.split())
    assert "measured with --max-num-seqs 64 --max-num-batched-tokens 512" in shown
    noted = command(
        "simulate", "sample", "--rl-steps", 1, "--drafter", "suffix", "--latency", model
    )
    assert "was not measured" in noted.output
    table = command("sweep", "sample", "--rl-steps", 1, "--latency", model, "--drafter", "ngram")
    assert table.exit_code == 0 and "calibration model.json" in table.output


def test_the_same_logs_the_same_file(runs: Path, calibrated: str, tmp_path: Path) -> None:
    assert command("calibrate", runs, "-o", tmp_path / "again.json").exit_code == 0
    assert (tmp_path / "again.json").read_text() == calibrated


def test_batches_timed_by_vllm_itself_extend_the_range(runs: Path, tmp_path: Path) -> None:
    """`vllm bench forward` has neither scheduler nor sampling: it is the forward alone."""
    costs = Costs()
    cases = []
    for count, context in ((1, 4096), (4, 4096), (16, 2048), (8, 256), (32, 512), (2, 9000)):
        bare = 0.8 * costs.base + count * (costs.token + costs.request + costs.kv_token * context)
        request = {"query_len": 1, "kv_len": context, "num_draft_tokens": 0, "chunked": False}
        cases.append(
            {"case": f"{count}*1@{context}", "requests": [request] * count, "median_us": 1e6 * bare}
        )
    bench, model = tmp_path / "bench.json", tmp_path / "model.json"
    bench.write_text(json.dumps(cases))
    done = command("calibrate", runs, "--bench", bench, "-o", model)
    assert done.exit_code == 0, done.output
    assert "vllm bench forward" in done.output
    content = json.loads(model.read_text())
    assert content["covered"]["kv_tokens"][1] == 16 * 2048
    for case in content["bench"]:
        assert case["fitted_s"] == pytest.approx(case["measured_s"], rel=0.05), case
    plain = content["forward"]["base"] + content["forward"].get("token", 0.0)
    assert plain == pytest.approx(costs.base + costs.token, rel=0.05)  # with a live engine's rest


@pytest.mark.parametrize("text", ["[{}]", "{", "{}", '[{"case": "a", "requests": [{}]}]'])
def test_another_bench_file(runs: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)
    done = command("calibrate", runs, "--bench", tmp_path / "bench.json", "-o", tmp_path / "m.json")
    assert isinstance(done.exception, TraceError) and "bench.json" in str(done.exception)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("name", ["model.yaml", "nowhere/model.json"])
def test_outputs_that_cannot_be(runs: Path, tmp_path: Path, name: str) -> None:
    done = command("calibrate", runs, "-o", tmp_path / name)
    assert isinstance(done.exception, TraceError)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("{", "no calibration"),
        ("[]", "no calibration"),
        ("{}", "no calibration"),
        ('{"longtail_calibration": 99}', "version 99"),
        ('{"longtail_calibration": 1}', "no calibration"),
    ],
)
def test_latencies_that_are_no_calibration(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    done = command("simulate", "sample", "--latency", path)
    assert isinstance(done.exception, ComponentError) and problem in str(done.exception)
    assert "latency: " not in str(done.exception)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["forward"].update(base=float("nan")),
        lambda c: c["forward"].update(base=-1.0),
        lambda c: c["forward"].update(token="much"),
        lambda c: c["forward"].update(other=1.0),
        lambda c: c["forward"].pop("base"),
        lambda c: c["draft"]["ngram:k=4"].pop("base"),
        lambda c: c.update(draft=[1]),
        lambda c: c["host"].update(request=float("inf")),
        lambda c: c["draft"].update(ngram={"base": float("nan")}),
        lambda c: c["covered"].pop("tokens"),
        lambda c: c.update(captured=None),
        lambda c: c.update(probe=None),
    ],
)
def test_a_calibration_edited_by_hand(
    calibrated: str, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """Refused before the clock stands still: with seconds that are no numbers nothing ever ends."""
    model = tmp_path / "model.json"
    content = json.loads(calibrated)
    change(content)
    model.write_text(json.dumps(content))
    done = command("simulate", "sample", "--rl-steps", 1, "--latency", model)
    assert isinstance(done.exception, ComponentError) and str(model) in str(done.exception)


def test_another_content_under_the_same_name(calibrated: str, tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    model.write_text(calibrated)
    latency = make_latency(str(model))
    model.write_text(model.read_text().replace("CPU", "GPU"))
    with pytest.raises(ComponentError, match="another file"):
        make_latency({"name": "calibrated", "file": str(model), "digest": latency.digest})


def test_what_validate_refuses(runs: Path, calibrated: str, tmp_path: Path) -> None:
    out, edited = tmp_path / "out", tmp_path / "edited.json"
    edited.write_text("{}")
    for words, problem in (
        ([tmp_path], "no validation is stored here"),
        (["--live", runs, "-o", out], ": leaving one policy out takes at least two"),
        (["--live", runs, "--calibration", edited, "-o", out], f"{edited} is no calibration"),
        (["--live", tmp_path / "none", "-o", out], "no live runs"),
        (["-o", out], "name live runs"),
        (["--run", "-o", out], "needs a TRACE"),
        (["--live", runs], "-o DIR"),
    ):
        done = command("validate", *words)
        assert done.exit_code != 0 and problem in f"{done.exception} {done.output}", words
        assert not (out / "validation.json").exists()
    for words, problem in (
        ([tmp_path, "--calibration", "m.json"], "--calibration does not go with a stored"),
        (["--live", runs, "-o", out, "--policy", "das"], "--policy does not go with --live"),
        (["--live", runs, "-o", tmp_path / "a,b"], "comma"),
    ):
        assert problem in command("validate", *words).output
    (tmp_path / "model.json").write_text(calibrated)
    words = ["--live", runs, "--calibration", tmp_path / "model.json", "-o", out]
    assert "not a replay" in str(command("validate", *words).exception)


def test_batches_timed_alone_do_not_hide_that_a_plain_engine_was_not_measured(
    runs: Path, tmp_path: Path
) -> None:
    """All live runs verify drafts: what that costs cannot be told from what an engine costs."""
    request = {"query_len": 1, "kv_len": 512, "num_draft_tokens": 0, "chunked": False}
    cases = [{"case": f"{n}", "requests": [request] * n, "median_us": 4000 + n} for n in (1, 4, 9)]
    (tmp_path / "bench.json").write_text(json.dumps(cases))
    model = tmp_path / "a:b.json"  # a colon in a path is a path's
    done = command("calibrate", runs / "ngram", "--bench", tmp_path / "bench.json", "-o", model)
    assert done.exit_code == 0, done.output
    result = command("simulate", "sample", "--rl-steps", 1, "--latency", model, "--json")
    assert "an engine without speculation was not measured" in json.loads(result.stdout)["notes"]
    swept = command("sweep", "sample", "--rl-steps", 1, "--latency", model, "--drafter", "none")
    assert "an engine without speculation was not measured" in " ".join(swept.output.split())
