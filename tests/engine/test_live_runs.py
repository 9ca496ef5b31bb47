"""The live commands as their users give them, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import longtail
from longtail.cli import cli
from longtail.traces import open_trace
from longtail.traces.check import check_trace
from longtail.traces.select import select_rollouts

pytestmark = pytest.mark.usefixtures("vllm_cpu")


def command(*words: object) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_the_suite_at_toy_size_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What a GPU is asked for, with a model of nothing and short rollouts."""
    nothing = command("run", "--suite", "cpu", "--minutes", 0, "-o", tmp_path / "suite")
    assert "runs are left: give the same command again" in nothing.output
    whole = command("run", "--suite", "cpu", "-o", tmp_path / "suite")
    jobs = sorted(path.parent.name for path in (tmp_path / "suite").glob("*/job.json"))
    ours = [name for name in jobs if "vllm" not in name]
    assert len(jobs) == 12 and len(ours) == 10
    lines = whole.output.splitlines()
    for name in ours:
        (line,) = (line for line in lines if line.startswith(f"{name}: "))
        agreeing, _, rest = line.removeprefix(f"{name}: ").partition(" of ")
        assert rest.startswith(f"{agreeing} forwards agree") and int(agreeing) > 5
    again = command("run", "--suite", "cpu", "--minutes", 0, "-o", tmp_path / "suite")
    assert again.stdout.splitlines() == whole.stdout.splitlines()


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
