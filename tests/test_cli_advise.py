"""`longtail advise` as its users give it."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from longtail.cli import cli
from longtail.engine.settings import LiveSettings
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError
from longtail.traces.synth import LogNormal, Recipe, synthesize

FILES = {"advice.json", "advice.md", "candidates.csv"}
FILES |= {f"{name}.{kind}" for name in ("speed_up", "sensitivity") for kind in ("png", "svg")}


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("advise") / "t.parquet"
    lengths = LogNormal(median=120, sigma=0.5)
    synthesize(path, Recipe(rl_steps=3, prompts=12, samples=4, lengths=lengths, prompt_len=20))
    return path


def test_from_a_trace_to_what_to_turn_on(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "advice"
    done = command("advise", trace, "--drafter", "suffix:scope=problem+both", "--drafter", "ngram",
                   "--budget", "fixed:k=2+8", "--budget", "goodput", "-o", folder,
                   "--report", tmp_path / "a.html")  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    for words in ("SYNTHETIC", "What it rests on", "When it would be wrong", "Turn it on",
                  "Runner-up", "no speculation", "It is a prior", "95 % interval"):  # fmt: skip
        assert words in shown, words
    told = json.loads((folder / "advice.json").read_text())
    assert told["recommendation"]["words"] in shown
    assert told["origin"] == "synthetic" and told["trace"] == "t.parquet"
    assert "a.html" in done.output.splitlines()[-1]
    assert html.escape(told["recommendation"]["drafter"]) in (tmp_path / "a.html").read_text()
    live = told["recommendation"]["engine"] == "longtail"
    assert {p.name for p in folder.iterdir()} == FILES | ({"policy.yaml"} if live else set())
    assert live, "these rollouts copy from their prompt's: only the plug-in drafts from there"
    policy = LiveSettings.read(folder / "policy.yaml")
    assert policy.drafter.name == "suffix" and policy.drafter.scope in ("problem", "both")
    more = [line for line in (folder / "policy.yaml").read_text().splitlines() if ":" in line]
    keys = [yaml.safe_load(line.removeprefix("# ")) for line in more[-3:]]
    assert [list(key) for key in keys] == [["history"], ["log"], ["record"]]
    table = pd.read_csv(folder / "candidates.csv")
    assert set(table.stage) == {"measured", "searched"} and (table.origin == "synthetic").all()

    ran = command("simulate", trace, "--rl-steps", "1,2", "--json", "--drafter",
                  told["recommendation"]["drafter"], "--budget",
                  told["recommendation"]["budget"])  # fmt: skip
    assert json.loads(ran.stdout)["makespan_s"] == pytest.approx(told["expected"]["makespan_s"])


def test_json_is_one_object_and_nothing_else(trace: Path) -> None:
    done = command("advise", trace, "--engine", "vllm", "--json", "--rl-steps", "2",
                   "--max-num-seqs", 16)  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["limits"]["max_num_seqs"] == 16 and told["rl_steps"] == [2]
    assert {c["engine"] for c in told["candidates"]} == {"vllm"}
    assert told["turn_on"]["policy"] is None


def test_the_bundled_sample() -> None:
    done = command("advise", "sample", "--rl-steps", "3", "--drafter", "suffix:scope=both",
                   "--budget", "fixed:k=4", "--json")  # fmt: skip
    told = json.loads(done.stdout)
    assert told["origin"] == "recorded" and told["recommendation"]["speculates"]
    assert told["expected"]["low"] > 1
    assert {case["about"] for case in told["sensitivity"]} >= {"caps", "history", "token"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drafter", "sufix"], "did you mean 'suffix'"),
        (["--budget", "fixd"], "did you mean 'fixed'"),
        (["--budget", "tail:lengths=oracle"], "oracle"),
        (["--rl-steps", "7"], "no RL step 7"),
        (["--latency", "nothing"], "nothing"),
        (["--kv-tokens", "16"], "--kv-tokens"),
        (["--engine", "vllm", "--drafter", "das"], "no such method of its own"),
    ],
)
def test_unusable_input_is_refused(trace: Path, words: list[str], message: str) -> None:
    done = command("advise", trace, *words)
    assert done.exit_code == 1 and isinstance(done.exception, (ComponentError, TraceError))
    assert message in str(done.exception) and not done.stdout


def test_unusable_input_is_one_line(trace: Path) -> None:
    words = [sys.executable, "-m", "longtail", "advise", str(trace), "--drafter", "sufix"]
    done = subprocess.run(words, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Compiling")]
    assert done.returncode == 2 and len(lines) == 1 and not done.stdout, done.stderr
    assert lines[0].startswith("error: ") and "did you mean 'suffix'" in lines[0]


def test_a_folder_that_cannot_be_is_refused_before_the_work(trace: Path) -> None:
    done = command("advise", trace, "-o", trace / "below")
    assert done.exit_code == 1 and "not a folder" in str(done.exception)


def test_lengths_only(tmp_path: Path) -> None:
    source, path = tmp_path / "t.csv", tmp_path / "t.parquet"
    source.write_text(
        "rl_step,prompt_id,sample,prompt_len,output_len\n0,a,0,5,40\n0,a,1,5,60\n1,a,0,5,70\n"
    )
    assert command("trace", "import", "lengths", source, "-o", path).exit_code == 0
    done = command("advise", path, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Leave speculation off" in done.output and "lengths only" in done.output
    assert not (tmp_path / "out" / "policy.yaml").exists()


def test_the_help_names_it() -> None:
    assert "longtail advise" in command("--help").output


def test_a_report_alone(trace: Path, tmp_path: Path) -> None:
    done = command("advise", trace, "--drafter", "ngram", "--budget", "fixed:k=2", "--rl-steps", 1,
                   "--json", "--report", tmp_path / "a.html")  # fmt: skip
    assert done.exit_code == 0 and json.loads(done.stdout)["trace"] == "t.parquet"
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(TraceError, match="no such folder"):
        CliRunner().invoke(
            cli, ["advise", str(trace), "--report", "no/a.html"], catch_exceptions=False
        )
