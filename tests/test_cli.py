"""The command's contract: JSON and nothing else, exit codes, files whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from longtail.cli import main

LONGTAIL = [sys.executable, "-m", "longtail"]
TOTALS = {
    "makespan_s",
    "forwards",
    "output_tokens",
    "draft_tokens",
    "accepted_tokens",
    "requests",
    "finished",
    "tail_s",
    "clairvoyant_s",
}


def longtail(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LONGTAIL, *words], capture_output=True, text=True)


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "t.parquet"
    words = "--rl-steps 3 --prompts 4 --samples 4 --cap 200 --seed 1 --reuse 0.6"
    lengths = ["--lengths", "lognormal:median=40,sigma=1.0"]
    done = longtail("trace", "synth", "-o", str(path), *words.split(), *lengths)
    assert done.returncode == 0, done.stderr
    return str(path)


def test_json_is_one_object_with_the_agreed_keys(trace: str) -> None:
    done = longtail("simulate", trace, "--drafter", "suffix", "--budget", "das", "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert set(result) >= TOTALS | {"acceptance_source", "rl_steps", "wall_s"}
    assert set(result["wall_s"]) == {"read", "profile", "simulate"}
    assert [s["rl_step"] for s in result["rl_steps"]] == [0, 1, 2]
    for name in TOTALS:
        assert result[name] == pytest.approx(sum(s[name] for s in result["rl_steps"]))
    assert result["finished"] == result["requests"] == 48


def test_one_rl_step_has_the_earlier_ones_as_history(trace: str) -> None:
    words = ("--drafter", "suffix:scope=problem", "--json")
    every = json.loads(longtail("simulate", trace, *words).stdout)
    last = json.loads(longtail("simulate", trace, "--rl-steps", "2", *words).stdout)
    assert last["rl_steps"] == every["rl_steps"][2:]
    assert every["rl_steps"][0]["draft_tokens"] == 0 < last["draft_tokens"]


def test_a_synthetic_trace_is_called_so(trace: str) -> None:
    assert "synthetic" in longtail("simulate", trace).stdout.lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulate", "nowhere.parquet"], "no such file"),
        (["simulate", "TRACE", "--drafter", "sufix"], "did you mean 'suffix'"),
        (["simulate", "TRACE", "--rl-steps", "7"], "no RL step 7"),
        (["simulate", "TRACE", "--rl-steps", "x"], "not a list of RL steps"),
        (["simulate", "TRACE", "--kv-tokens", "32"], "or more"),
        (["simulate", "TRACE", "--max-num-seqs", "0"], "x>=1"),
        (["simulate", "TRACE", "--log", "log.txt"], ".parquet or .csv"),
        (["sweep", "TRACE", "--budget", "fixed:k=8..1"], "counts upwards"),
        (["plot", "CSV", "-o", "pictures"], "not a sweep's table"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(
    trace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    names = {"TRACE": trace, "CSV": str(tmp_path / "other.csv"), "log.txt": str(tmp_path / "l.txt")}
    monkeypatch.setattr(sys, "argv", ["longtail", *(names.get(w, w) for w in words)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own handlers
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.startswith("Compiling")]
    assert left.value.code == 2 and shown.out == ""
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.csv"]


def test_a_lengths_only_trace_needs_no_tokens_but_a_drafter_does(tmp_path: Path) -> None:
    source = tmp_path / "l.csv"
    source.write_text("rl_step,prompt_id,sample,prompt_len,output_len\n0,a,0,3,5\n0,a,1,3,9\n")
    path = str(tmp_path / "l.parquet")
    assert longtail("trace", "import", "lengths", str(source), "-o", path).returncode == 0
    assert json.loads(longtail("simulate", path, "--json").stdout)["forwards"] == 9
    refused = longtail("simulate", path, "--drafter", "ngram")
    assert refused.returncode == 2 and "lengths only" in refused.stderr


def test_notes_are_said_as_such_and_kept_as_they_are(trace: str) -> None:
    words, note = ("--drafter", "specrl"), "specrl is not lossless"
    for verb in ("simulate", "sweep"):
        assert f"\nnote: {note}" in longtail(verb, trace, *words).stdout
    assert json.loads(longtail("simulate", trace, *words, "--json").stdout)["notes"][0].startswith(
        note
    )


SWEEP = ["--drafter", "none", "--drafter", "suffix:scope=own+both", "--budget", "fixed:k=1..3"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_sweep_twice_gives_the_same_bytes(trace: str, tmp_path: Path, kind: str) -> None:
    files = [tmp_path / f"{i}.{kind}" for i in range(2)]
    for file, jobs in zip(files, ("1", "2"), strict=True):
        done = longtail("sweep", trace, *SWEEP, "--jobs", jobs, "-o", str(file))
        assert done.returncode == 0, done.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    table = pd.read_csv(files[0]) if kind == "csv" else pd.read_parquet(files[0])
    assert len(table) == (1 + 2 * 3) * 3
    assert (table.makespan_s >= table.perfect_s * (1 - 1e-12)).all()


def test_yaml_and_command_line_say_the_same_and_the_latter_wins(trace: str, tmp_path: Path) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text(
        f"trace: {trace}\n"
        "drafter: [none, 'suffix:scope=own+both']\n"
        "budget: fixed:k=1..3\n"
        "latency: {name: linear, base: 0.0095, token: 25.0e-6}\n"
    )
    tables = []
    for words in ([str(config)], [trace, *SWEEP], [str(config), "--budget", "fixed:k=1"]):
        file = tmp_path / f"{len(tables)}.csv"
        done = longtail("sweep", *words, "-o", str(file))
        assert done.returncode == 0, done.stderr
        tables.append(pd.read_csv(file))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert set(tables[2].budget) == {"fixed:k=0", "fixed:k=1"}

    config.write_text("drafters: none\n")
    refused = longtail("sweep", str(config))
    assert refused.returncode == 2 and "did you mean 'drafter'" in refused.stderr


def test_log_has_one_row_per_forward(trace: str, tmp_path: Path) -> None:
    file = tmp_path / "log.parquet"
    done = longtail("simulate", trace, "--json", "--log", str(file), "--replicas", "2")
    assert len(pd.read_parquet(file)) == json.loads(done.stdout)["forwards"]


@pytest.mark.parametrize("kind", ["drafters", "budgets", "placements", "latencies"])
def test_list_prints_every_component(kind: str) -> None:
    done = longtail("list", kind)
    assert done.returncode == 0 and "source" in done.stdout.lower()


def test_the_first_use_says_that_it_compiles_and_the_second_does_not(
    trace: str, tmp_path: Path
) -> None:
    """Whatever is new in it, and once, though every process of a sweep compiles it."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    siblings = ["--drafter", "grouped", "--budget", "fixed:k=1..4", "--jobs", "2"]
    for words in (["simulate", trace], ["sweep", trace, *siblings]):
        for times in (1, 0):
            done = subprocess.run([*LONGTAIL, *words], capture_output=True, text=True, env=env)
            assert done.returncode == 0 and done.stderr.count("Compiling") == times


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    script = f"{sys.executable} -m longtail list | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_help_of_every_verb() -> None:
    for verb in ("", "trace", "simulate", "sweep", "plot", "list", "demo", "record"):
        assert longtail(*filter(None, [verb]), "--help").returncode == 0
