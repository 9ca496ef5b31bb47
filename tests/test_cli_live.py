"""`longtail run` and `longtail record vllm`: what cannot be is refused before an engine starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from longtail import cli
from longtail.traces import TraceMeta, TraceWriter

Command = Callable[..., tuple[object, str, str]]
HIDDEN = "import sys; sys.modules['vllm'] = None; from longtail.cli import main; main()"
VERBS = {"run": ["-o", "out"], "record vllm": ["-o", "out.parquet"]}


def without_vllm(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDDEN, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The command in a folder with some files, and a vLLM that no process can import."""
    row = {"rl_step": 0, "prompt_id": "p", "sample": 0, "prompt_len": 1, "output_len": 2}
    tokens = {"prompt_tokens": [1], "output_tokens": [2, 3]}
    work, broken = tmp_path / "work", tmp_path / "broken"
    work.mkdir()
    for name, more in (("T.parquet", tokens), ("lengths.parquet", {})):
        with TraceWriter(work / name, TraceMeta(origin="recorded")) as writer:
            writer.write([row | more])
    (work / "p.jsonl").write_text(json.dumps({"prompt_tokens": [1]}) + "\n")
    (work / "bad.jsonl").write_text('{"prompt_tokens": [1]}\n[1]\n')
    (work / "text.jsonl").write_text('{"prompt": "hello"}\n')
    (work / "bad.yaml").write_text("drafer: suffix\n")
    (work / "list.yaml").write_text("- suffix\n")
    broken.mkdir()
    (broken / "vllm.py").write_text("raise ImportError('an engine was started')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken), *sys.path]))
    fake = ModuleType("vllm")
    fake.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.chdir(work)
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["longtail", *words])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, before)


def refused(command: Command, *words: str) -> str:
    """The one line of a command that must be refused and leave nothing behind."""
    before = sorted(Path().rglob("*"))
    code, out, err = command(*words)
    assert (code, out) == (2, ""), err
    assert sorted(Path().rglob("*")) == before
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


# Both verbs

BOTH = {
    "sufix/das": "unknown drafter 'sufix' (did you mean 'suffix'?)",
    "suffix/dass": "unknown budget 'dass' (did you mean 'das'?)",
    "suffix:scop=own": "has no option 'scop' (did you mean 'scope'?)",
    "suffix/fixed:k=x": "'x' is not an integer",
    "vllm:ngrm": "unknown policy 'vllm:ngrm'; of vLLM's own there are vllm:ngram, vllm:suffix",
    "vllm:ngram:k": "write options as name=value, got 'k'",
    "absent.yaml": "absent.yaml: cannot be read",
    "bad.yaml": "bad.yaml, row 1: unknown key 'drafer'; did you mean 'drafter'?",
    "list.yaml": "list.yaml: not a YAML mapping",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("policy", BOTH)
def test_a_policy_that_is_none(command: Command, verb: str, policy: str) -> None:
    words = (*verb.split(), "p.jsonl", "--policy", policy, *VERBS[verb])
    assert BOTH[policy] in refused(command, *words)


SOURCES = {
    "absent.parquet": "absent.parquet: no such file; ",
    "absent.jsonl": "absent.jsonl: cannot be read",
    "lengths.parquet": "lengths.parquet: a lengths-only trace has no tokens; ",
    "bad.jsonl": "bad.jsonl, row 2: not a JSON object; ",
    "text.jsonl": "text.jsonl, row 1: a prompt as text needs the model's tokenizer.json; ",
    ".": ".: cannot be read",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("source", SOURCES)
def test_prompts_that_are_none(command: Command, verb: str, source: str) -> None:
    assert SOURCES[source] in refused(command, *verb.split(), source, *VERBS[verb])


OPTIONS = {
    "--engine max_num_seqs": "write options as name=value, got 'max_num_seqs'",
    "--engine a=[1": "'[1' is no value",
    "--latency h100-7": "unknown latency 'h100-7'",
    "--prompts 0": "x>=1",
    "--samples 0": "x>=1",
    "--rounds 0": "x>=1",
    "--max-tokens 0": "x>=1",
    "--temperature -1": "x>=0",
    "--top-p 1.5": "0<=x<=1",
    "--top-k -1": "x>=0",
    "--sampels 3": "No such option",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_cannot_be(command: Command, verb: str, option: str) -> None:
    words = (*verb.split(), "p.jsonl", *option.split(), *VERBS[verb])
    assert OPTIONS[option] in refused(command, *words)


@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_cannot_be(command: Command, verb: str) -> None:
    other = {"run": "p.jsonl", "record vllm": "."}[verb]  # a file for a folder, a folder for a file
    assert " is a " in refused(command, *verb.split(), "p.jsonl", "-o", other)
    assert "Missing option '-o'" in refused(command, *verb.split(), "p.jsonl")


# One of them

RUNS: dict[str, str] = {
    "": "name a trace or a file of prompts, or --suite",
    "--replay": "name a trace or a file of prompts, or --suite",
    "absent.parquet --replay --policy sufix": "unknown drafter 'sufix'",
    "T.parquet --replay --rl-steps 3..1": "'3..1' is not a list of RL steps such as 1,3..5",
    "--suite tpu": "'tpu' is not one of 'gpu', 'cpu'",
    "p.jsonl --minutes -1": "x>=0",
    "T.parquet --suite cpu": "a suite has its own policies: give it traces, with --trace",
    "--suite cpu --policy suffix": "a suite has its own policies",
}


@pytest.mark.parametrize("words", RUNS)
def test_runs_that_cannot_be(command: Command, words: str) -> None:
    assert RUNS[words] in refused(command, "run", *words.split(), "-o", "out")


def test_recording_needs_a_source(command: Command) -> None:
    assert "Missing argument 'SOURCE'" in refused(command, "record", "vllm", "-o", "out.parquet")


def test_a_recording_is_not_written_over(command: Command) -> None:
    Path("out.parquet").write_text("weeks of work")
    assert "is there already" in refused(command, "record", "vllm", "p.jsonl", "-o", "out.parquet")
    assert Path("out.parquet").read_text() == "weeks of work"


def test_the_gpu_suite_needs_a_gpu(command: Command) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "no GPU is seen here" in refused(command, "run", "--suite", "gpu", "-o", "out")


def test_a_folder_that_holds_another_run_is_left_alone(command: Command) -> None:
    stored = Path("out/none/job.json")
    stored.parent.mkdir(parents=True)
    stored.write_text("{}")
    assert "out/none: this folder holds another run; " in refused(
        command, "run", "T.parquet", "--replay", "--policy", "none", "-o", "out"
    )


# Without vLLM


def test_help_needs_no_vllm(tmp_path: Path) -> None:
    for verb in VERBS:
        done = without_vllm(*verb.split(), "--help", folder=tmp_path)
        assert done.returncode == 0 and done.stderr == ""
        assert "--policy" in done.stdout and "--coupled" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_without_vllm_one_line_says_how_to_install_it(tmp_path: Path, verb: str) -> None:
    done = without_vllm(*verb.split(), "sample", *VERBS[verb], folder=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert done.stderr.startswith("error: vLLM is not installed; ")
    assert done.stderr.count("\n") == 1 and "pip install 'longtail[vllm]'" in done.stderr


# What is wrong

LATE = {
    "absent.parquet --replay": "no such file",
    "p.jsonl --replay": "not a Parquet file",
    "T.parquet --replay --model dummy --rl-steps 9": "no rollouts in RL step 9",
    "lengths.parquet --replay --model dummy": "lengths-only",
    "T.parquet --replay --model absent": "no model here",
    "p.jsonl --model dummy": "replay",
    "p.jsonl --model qwen2.5-7b": "replay",
}


@pytest.mark.parametrize("words", LATE)
def test_what_cannot_run_is_found_before_the_engine_starts(command: Command, words: str) -> None:
    assert LATE[words] in refused(command, "run", *words.split(), "-o", "out")


IGNORED = [
    "T.parquet --rl-steps 0",  # needs --replay
    "T.parquet --trace T.parquet",  # needs --suite
    "T.parquet --replay --model dummy --samples 4",
    "--suite cpu --replay",
    "--suite cpu --engine max_num_seqs=3",
    "T.parquet --policy suffix --policy suffix",
]


@pytest.mark.parametrize("words", IGNORED)
def test_options_that_do_not_go_together(command: Command, words: str) -> None:
    refused(command, "run", *words.split(), "-o", "out")


def test_a_suite_without_rollouts_leaves_nothing(command: Command) -> None:
    Path("empty.parquet").write_text("hello")
    assert "not a Parquet" in refused(
        command, "run", "--suite", "cpu", "--trace", "empty.parquet", "-o", "out"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_an_output_below_a_file_is_refused(command: Command, verb: str) -> None:
    refused(command, *verb.split(), "p.jsonl", "-o", "p.jsonl/out")
