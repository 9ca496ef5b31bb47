"""The live commands as their users give them, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import longtail
from longtail.analysis.observations import read_runs
from longtail.analysis.validation import Validation
from longtail.cli import cli
from longtail.traces import TraceError, open_trace
from longtail.traces.check import check_trace
from longtail.traces.select import select_rollouts

pytestmark = pytest.mark.usefixtures("vllm_cpu")


def command(*words: object) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, vllm_cpu: None) -> tuple[Path, Result]:
    """What a GPU is asked for, with a model of nothing and short rollouts."""
    folder = tmp_path_factory.mktemp("live") / "suite"
    nothing = command("run", "--suite", "cpu", "--minutes", 0, "-o", folder)
    assert "runs are left: give the same command again" in nothing.output
    return folder, command("run", "--suite", "cpu", "-o", folder)


def test_the_suite_at_toy_size_goes_on_where_it_stopped(suite: tuple[Path, Result]) -> None:
    folder, whole = suite
    jobs = sorted(path.parent.name for path in folder.glob("*/job.json"))
    ours = [name for name in jobs if "vllm" not in name]
    assert len(jobs) == 32 and len(ours) == 28  # 8 policies, 2 batches, 2 repeats
    lines = whole.output.splitlines()
    for name in ours:
        (line,) = (line for line in lines if line.startswith(f"{name}: "))
        agreeing, _, rest = line.removeprefix(f"{name}: ").partition(" of ")
        assert rest.startswith(f"{agreeing} forwards agree") and int(agreeing) > 5
    again = command("run", "--suite", "cpu", "--minutes", 0, "-o", folder)
    assert again.stdout.splitlines() == whole.stdout.splitlines()


CALIBRATED = ("none", "suffix:scope=both/unlimited")


def test_two_policies_predict_the_others(
    suite: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens are asserted, seconds are shown in every test run: this machine's say little."""
    folder, _ = suite
    runs = {path.name: read_runs([path])[0] for path in sorted(folder.glob("dummy-*"))}
    seen = [run.folder for run in runs.values() if run.policy in CALIBRATED]
    model, out = tmp_path / "model.json", tmp_path / "validation"
    command("calibrate", *seen, "-o", model)
    done = command("validate", "--live", folder, "--calibration", model, "-o", out)
    with capsys.disabled():
        print(f"\n{done.output}")
    stored = Validation.read(out)
    assert stored.exact and len(stored.checks) == 28
    held_out = {check.policy for check in stored.checks if check.held_out}
    assert len(held_out) >= 4 and not held_out & {*CALIBRATED}
    assert {check.policy for check in stored.checks if not check.held_out} == {*CALIBRATED}
    assert {name for name, run in runs.items() if "vllm" in run.policy} == {*stored.left_out}
    assert all(cell.spread is not None for r in stored.rankings for cell in r.cells)
    assert any("CPU" in limitation for limitation in stored.limitations)
    assert stored.worst_held_out is not None and stored.worst_held_out.policy in held_out
    shown = command("validate", out)  # from what it keeps alone
    assert shown.stdout == done.stdout
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"active_requests.png", "makespans.png", "residuals.png"}


def test_each_policy_is_predicted_from_the_others(
    suite: tuple[Path, Result], tmp_path: Path
) -> None:
    folder, _ = suite
    command("validate", "--live", folder, "-o", tmp_path / "validation")
    stored = Validation.read(tmp_path / "validation")
    assert stored.exact
    assert all(check.held_out == (check.policy != "none") for check in stored.checks)
    calibrations = [*(tmp_path / "validation" / "calibrations").glob("*.json")]
    assert len(calibrations) == len({check.policy for check in stored.checks}) == 7
    (run,) = read_runs([folder / stored.checks[0].run])
    other = json.loads(calibrations[0].read_text())
    other["engine"]["hardware"] = "NVIDIA H100"
    (tmp_path / "h100.json").write_text(json.dumps(other))
    words = ["--live", run.folder, "--calibration", tmp_path / "h100.json", "-o", tmp_path / "no"]
    refused = CliRunner().invoke(cli, ["validate", *map(str, words)])
    assert isinstance(refused.exception, TraceError) and "H100" in str(refused.exception)
    assert not (tmp_path / "no" / "validation.json").exists()


def test_generation_in_rounds(tiny_llama: Path, tmp_path: Path) -> None:
    """Sampled text is the same under every policy, if it is coupled; history helps."""
    words = ["--prompts", 6, "--samples", 2, "--rounds", 2, "--max-tokens", 150, "--coupled"]
    more = ["--policy", "suffix:scope=both/unlimited", "--temperature", 0.8]
    engine = ["--model", tiny_llama, "--engine", "max_model_len=256", "-o", tmp_path / "runs"]
    command("run", "sample", *words, *more, *engine)
    runs = {path.parent.name: path.parent for path in (tmp_path / "runs").glob("*/summary.json")}
    assert sorted(runs) == ["none", "suffix_scope=both_unlimited"]
    texts = {}
    for name, folder in runs.items():
        summary = json.loads((folder / "summary.json").read_text())
        assert [step["requests"] for step in summary["steps"]] == [12, 12]
        texts[name] = [step["text"] for step in summary["steps"]]
    assert len({*map(tuple, texts.values())}) == 1


def test_generation_is_forecast_from_its_history(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is recorded has the simulator's acceptance, and earlier rollouts stand in for it."""
    engine = ["--model", tiny_llama, "--engine", "max_model_len=256"]
    words = ["sample", "--prompts", 6, "--samples", 4, "--max-tokens", 150]
    history = tmp_path / "history.parquet"
    command("record", "vllm", *words, *engine, "-o", history)
    runs = [
        *("--policy", "suffix:scope=both/unlimited", "--policy", "ngram/fixed:k=4"),
        *("--history", history, "--rounds", 2, "--seed", 5, "-o", tmp_path / "runs"),
    ]
    command("run", *words, *engine, *runs)
    done = command("validate", "--live", tmp_path / "runs", "-o", tmp_path / "validation")
    with capsys.disabled():
        print(f"\n{done.output}")
    forecasts = Validation.read(tmp_path / "validation").forecasts
    assert [f.rl_step for f in forecasts] == [1, 2] * 3
    for f in forecasts:
        assert f.hindsight_gain == pytest.approx(f.measured_gain)
        assert f.known == 1 and f.forecast_s is not None and f.forecast_gain is not None
        assert f.forecast_s[1] <= f.forecast_s[0] <= f.forecast_s[2]
        assert f.forecast_gain == pytest.approx(f.measured_gain, rel=0.4)
    assert command("validate", tmp_path / "validation").stdout == done.stdout


def test_a_recording_is_a_trace_that_replays(tiny_llama: Path, tmp_path: Path) -> None:
    """Recorded live, replayed live, and the simulator agrees."""
    prompts, trace = tmp_path / "p.jsonl", tmp_path / "T.parquet"
    select_rollouts(longtail.read_trace("sample"), tmp_path / "s.parquet", rl_steps=[0], prompts=4)
    tokens = open_trace(tmp_path / "s.parquet").tokens()
    with prompts.open("w") as file:
        for row in range(0, 32, 8):
            file.write(json.dumps({"prompt_tokens": tokens.prompt(row).tolist()}) + "\n")
    words = ["--samples", 3, "--rounds", 2, "--max-tokens", 120]
    engine = ["--model", tiny_llama, "--engine", "max_model_len=256", "--engine", "max_num_seqs=5"]
    done = command("record", "vllm", prompts, *words, *engine, "-o", trace)
    assert "24 rollouts" in done.output and not (tmp_path / "T.parquet.part").exists()
    recorded = check_trace(trace)
    assert recorded.n_rollouts == 24 and recorded.rl_steps == [0, 1]
    assert recorded.meta.origin == "recorded" and recorded.meta.engine.startswith("vLLM ")
    config = recorded.meta.engine_config
    assert config["max_num_seqs"] == 5 and config["max_model_len"] == 256
    assert recorded.meta.sampling["max_tokens"] == 120
    policy = ["--policy", "suffix:scope=both/fixed:k=3", "--no-baseline"]
    replay = command("run", trace, "--replay", *policy, *engine[:2], "-o", tmp_path / "replay")
    assert "forwards agree with the simulator" in replay.output
