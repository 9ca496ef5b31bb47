"""`longtail trace export` as its users give it."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longtail.cli import cli
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError
from longtail.traces.export_commands import export as verbs
from longtail.traces.synth import Recipe, parse_lengths, synthesize

sys.path.insert(0, str(Path(__file__).parent / "analysis"))

from made_runs import Making, write_run


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def export(*words: object) -> Result:
    done = command("trace", "export", *words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "T.parquet"
    lengths = parse_lengths("lognormal:median=30,sigma=0.8")
    synthesize(path, Recipe(rl_steps=4, prompts=3, samples=4, cap=90, lengths=lengths, seed=3))
    return path


def test_frontier_and_its_requests_are_of_one_order(trace: Path, tmp_path: Path) -> None:
    acceptance, requests = tmp_path / "a.json", tmp_path / "r.csv"
    which = (trace, "--rl-steps", "1,3", "--step-s", 60)
    export("vidur", *which, "-o", requests)
    done = export("frontier", *which, "--drafter", "suffix", "--k", 3, "-o", acceptance)
    assert "SYNTHETIC" in done.output and "num_speculative_tokens: 3" in done.output
    payload = json.loads(acceptance.read_text())
    rows = list(csv.DictReader(requests.open()))
    committed = payload["per_request_committed_tokens_per_iteration"]
    assert len(rows) == len(committed) == 24
    assert [sum(forwards) for forwards in committed.values()] == [
        int(row["num_decode_tokens"]) - 1 for row in rows
    ]
    assert payload["metadata"]["origin"] == "synthetic"


def test_vllm_says_the_acceptance_length_and_takes_keys(trace: Path, tmp_path: Path) -> None:
    keys = "method=eagle3,model=some/head,draft_tensor_parallel_size=1"
    words = ("--drafter", "suffix", "--k", 4, "--with", keys, "-o", tmp_path / "v.json")
    done = export("vllm", trace, *words)
    config = json.loads((tmp_path / "v.json").read_text())
    assert config["method"] == "eagle3" and config["draft_tensor_parallel_size"] == 1
    rates = config["synthetic_acceptance_rates"]
    assert len(rates) == config["num_speculative_tokens"] == 4
    assert f"acceptance length: {1 + sum(rates):.3f}" in done.output


def test_chrome_from_a_trace_and_from_the_log_of_the_same(trace: Path, tmp_path: Path) -> None:
    setup = ("--drafter", "suffix", "--budget", "fixed:k=2", "--rl-steps", "2..3", "--replicas", 2)
    export("chrome", trace, *setup, "-o", tmp_path / "t.json.gz")
    assert command("simulate", trace, *setup, "--log", tmp_path / "l.csv").exit_code == 0
    done = export("chrome", tmp_path / "l.csv", "-o", tmp_path / "l.json")
    assert "forwards only" in done.output and "simulated" in done.output
    timeline = json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes()))
    log = json.loads((tmp_path / "l.json").read_text())
    assert timeline["otherData"]["replicas"] == 2

    def slices(found: dict) -> list:
        return [e for e in found["traceEvents"] if e["ph"] == "X"]

    assert slices(timeline) == slices(log) != []
    export("forwards", tmp_path / "l.csv", "-o", tmp_path / "f.csv")
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 1 + len(slices(log))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vllm", "TRACE"], "name a drafter with --drafter"),
        (["vllm", "TRACE", "--k", "3"], "--k is for a --drafter"),
        (["vllm", "TRACE", "--drafter", "sufix"], "did you mean 'suffix'"),
        (
            ["vllm", "TRACE", "--drafter", "suffix", "--with", "method"],
            "write options as name=value",
        ),
        (["vllm", "TRACE", "--with", "model=["], "is no value"),
        (["vllm", "TRACE", "--with", "day=2026-01-01"], "is no value that JSON has"),
        (["frontier", "TRACE", "--drafter", "suffix"], "have no start time"),
        (["positions", "TRACE", "--drafter", "suffix:paths=4"], "drafts trees"),
        (["positions", "TRACE", "--drafter", "suffix", "--rl-steps", "9"], "no RL step 9"),
        (["mooncake", "nowhere.parquet"], "no such file"),
        (["chrome", "log.csv", "--budget", "das"], "--budget does not go with a log"),
        (["chrome", "nowhere.parquet"], "no such file"),
        (["forwards", "nowhere.csv"], "no such file"),
    ],
)
def test_unusable_input_is_refused_and_leaves_nothing(
    trace: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    words = [str(trace) if word == "TRACE" else word for word in words]
    done = command("trace", "export", *words, "-o", tmp_path / "x.csv")
    assert done.exit_code != 0 and message in f"{done.output} {done.exception}"
    assert isinstance(done.exception, TraceError | ComponentError | SystemExit)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_another_kind_is_refused_before_the_work(trace: Path, tmp_path: Path) -> None:
    for words in (
        ["positions", trace, "--drafter", "no such"],
        ["forwards", tmp_path / "none.csv"],
    ):
        done = command("trace", "export", *words, "-o", tmp_path / "x.txt")
        assert "end it in .parquet or .csv" in str(done.exception)


@pytest.mark.parametrize("verb", ["frontier", "vllm", "positions", "chrome"])
def test_the_trace_is_never_written_over(trace: Path, verb: str) -> None:
    before = trace.read_bytes()
    done = command("trace", "export", verb, trace, "--drafter", "suffix", "-o", trace)
    assert done.exit_code == 1 and "one of the sources" in str(done.exception)
    assert trace.read_bytes() == before


def examples() -> list[str]:
    """What the verbs' help and the page show, joined where a line goes on; those of a trace."""
    help_ = "\n".join(command("trace", "export", verb, "-h").output for verb in verbs.commands)
    page = Path(__file__).parents[1] / "docs" / "export.md"
    text = re.sub(r"\\\n\s*", "", f"{help_}\n{page.read_text()}")
    lines = {line.strip() for line in text.splitlines()}
    return sorted(line for line in lines if line.startswith("longtail trace export "))


@pytest.mark.parametrize("line", examples())
def test_the_examples_run(line: str, trace: Path, tmp_path: Path) -> None:
    here = {"T.parquet": trace, "steps/": tmp_path / "steps"}
    if "steps/" in line:
        write_run(tmp_path / "steps", "ngram", Making(requests=4, longest=30))
    words = [str(here.get(word, word)) for word in shlex.split(line, comments=True)[1:]]
    words[words.index("-o") + 1] = str(tmp_path / words[words.index("-o") + 1])
    done = command(*words)
    assert done.exit_code == 0, (line, done.output, done.exception)
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1
