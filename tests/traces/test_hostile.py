"""Files that mean harm, or are merely broken: one error, no traceback, no output, no code run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dumps
import hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dumps import lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from little_tokenizer import make_tokenizer

from longtail.traces import TraceError
from longtail.traces.check import check_trace
from longtail.traces.formats import FORMATS
from longtail.traces.formats.importing import import_dump
from longtail.traces.formats.recognise import recognise

SEEDS = st.integers(0, 2**32)
#: The little JSON and CSV dumps; Parquet and .pt files are mutated byte by byte only.
IN_RECORDS = [name for name, form in FORMATS.items() if form.kind == "jsonl"]
fuzzed = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: Any) -> dict[str, tuple[str, bytes]]:
    """One file of the little dump of each format: its path in the dump, and its bytes."""
    files = {}
    for name, write in dumps.WRITERS.items():
        if name == "slime" and find_spec("torch") is None:
            continue
        folder = write(tmp_path_factory.mktemp(name))
        path = next(p for p in sorted(folder.rglob("*")) if p.is_file())
        files[name] = (str(path.relative_to(folder)), path.read_bytes())
    return files


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "out").mkdir()
    make_tokenizer(folder / "tokenizer.json", "<|endoftext|>")
    return folder


def survive(name: str, path: Path, workplace: Path) -> None:
    """The import succeeds with a valid trace, or says one line and leaves nothing."""
    output = workplace / "out" / "T.parquet"
    tokenizer = None if FORMATS[name].lengths_only else workplace / "tokenizer.json"
    for recognised in (False, True):
        try:
            form = recognise([str(path)]).format if recognised else FORMATS[name]
            if form.lengths_only == (tokenizer is None):
                import_dump(form, [path], output, tokenizer=tokenizer)
        except TraceError as error:
            assert str(error).isprintable() and len(str(error)) < 2000
            assert os.listdir(output.parent) == []
            continue
        if output.exists():
            check_trace(output)
            output.unlink()
        assert os.listdir(output.parent) == []


@pytest.mark.parametrize("name", FORMATS)
@fuzzed
@given(seed=SEEDS)
def test_mutated_bytes(name: str, seed: int, originals: Any, workplace: Path) -> None:
    if name not in originals:
        pytest.skip("needs torch")
    file, raw = originals[name]
    path = workplace / f"bytes-{name}" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(hostile.mutate_bytes(raw, seed))
    survive(name, path, workplace)


@pytest.mark.parametrize("name", IN_RECORDS)
@fuzzed
@given(seed=SEEDS)
def test_mutated_values(name: str, seed: int, originals: Any, workplace: Path) -> None:
    file, raw = originals[name]
    path = workplace / f"values-{name}" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    record, *others = (json.loads(line) for line in raw.splitlines())
    path.write_bytes(b"".join(map(hostile.as_json, [*others, hostile.mutate_record(record, seed)])))
    survive(name, path, workplace)


@fuzzed
@given(seed=SEEDS)
def test_mutated_values_of_pickles(seed: int, workplace: Path) -> None:
    torch = pytest.importorskip("torch")
    sample = hostile.mutate_record(dumps.slime_sample(1, 0, 0, [5, 6]), seed)
    path = workplace / "1.pt"
    torch.save({"rollout_id": 1, "samples": [dumps.slime_sample(1, 1, 0, [5]), sample]}, path)
    survive("slime", path, workplace)


@fuzzed
@given(raw=st.binary(max_size=200))
@pytest.mark.parametrize("name", ["verl", "azure", "trl", "slime"])
def test_noise(name: str, raw: bytes, workplace: Path) -> None:
    if name == "slime":
        pytest.importorskip("torch")
    path = workplace / "noise"
    path.write_bytes(raw)
    survive(name, path, workplace)


LINES = {
    "deep lists": (b'{"input": ' + b"[" * 10**6, "not valid JSON"),
    "deep objects": (b'{"input": ' * 10**5, "not valid JSON"),
    "huge number": (b'{"input": "w1", "output": "w2", "score": ' + b"9" * 10**6 + b"}", "JSON"),
    "large score": (b'{"input": "w1", "output": "w2", "score": 1e999}', "score|reward must be"),
    "NaN step": (b'{"input": "w1", "output": "w2", "score": NaN, "step": Infinity}', "rl_step"),
    "not UTF-8": (b'{"input": "w1", "output": "\xff", "score": 1}', "not UTF-8"),
}


def refused_text(bench: Any, path: Path) -> str:
    return bench.refused("import", "verl", path, "--tokenizer", bench.tokenizer)


@pytest.mark.parametrize("case", LINES)
def test_hostile_lines(bench: Any, case: str) -> None:
    line, problem = LINES[case]
    good = lines([{"input": "w1", "output": "w2", "score": 1.0, "step": 1}])
    path = bench.file("1.jsonl", good + line + b"\n")
    message = refused_text(bench, path)
    assert message.startswith(f"{path}, row 2: ")
    assert re.search(problem, message), message


def test_links_pipes_and_names_in_a_folder(bench: Any) -> None:
    folder = bench.folder / "dump"
    folder.mkdir()
    dumps.verl(folder)
    (folder / "loop").symlink_to(folder)
    (folder / "3.jsonl").symlink_to(folder / "absent")
    os.mkfifo(folder / "4.jsonl")
    (folder / ".5.jsonl").write_text("half written")
    odd = os.fsencode(folder) + b"/\xff\x1b[2J"
    os.mkdir(odd)
    with open(odd + b"/6.jsonl", "wb") as stream:
        stream.write(b"{")
    message = refused_text(bench, folder)
    assert message.isprintable() and "6.jsonl" in message and "not valid JSON" in message
    os.unlink(odd + b"/6.jsonl")
    args = ("import", "verl", folder, "--tokenizer", bench.tokenizer, "-o", bench.output)
    bench.done(bench.run(*args))
    assert check_trace(bench.output).n_rollouts == 8


def test_folders_deeper_than_calls_can_go(bench: Any) -> None:
    here, top = os.getcwd(), bench.folder / "d"
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(1 + sys.getrecursionlimit()):
            os.mkdir("d")
            os.chdir("d")
        dumps.verl(Path())
        os.chdir(here)
        bench.done(
            bench.run("import", "verl", top, "--tokenizer", bench.tokenizer, "-o", bench.output)
        )
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", top], check=True)  # pytest would call itself too deep, too
    assert check_trace(bench.output).n_rollouts == 8


def test_names_cannot_command_the_terminal(bench: Any) -> None:
    folder = bench.folder / "\x1b[2J"
    folder.mkdir()
    columns = {"step": [1], "prompt": ["w1"], "completion": ["w2"], "a\n\x1b[2J": [1], "b": [0.5]}
    pq.write_table(pa.table(columns), folder / "completions_00001.parquet")
    args = ("import", "auto", folder, "--tokenizer", bench.tokenizer, "-o", bench.output)
    said = bench.done(bench.run(*args)).stderr
    assert "\\x1b[2J/completions" in said and all(line.isprintable() for line in said.splitlines())
    assert check_trace(bench.output).lengths().reward.tolist() == [0.5]


def test_prompt_ids_are_only_names(bench: Any) -> None:
    row = {"prompt": ["w1"], "responses": ["w2"], "scores": [1.0], "id": ["../../../x\x00"]}
    path = bench.file("rollout_dump_data.step_1.jsonl", [row])
    args = ("import", "roll", path, "--tokenizer", bench.tokenizer, "-o", bench.output)
    bench.done(bench.run(*args))
    assert check_trace(bench.output).prompt_ids == ["../../../x\x00"]
    assert [p.name for p in bench.out.iterdir()] == ["T.parquet"]


def test_an_episode_whose_contexts_share_everything_is_refused(bench: Any) -> None:
    row = dumps.episode(1, 0, 0, [5])
    node = {"token_ids": [1], "mask": [True]}
    chain = [node | {"parent": i - 1 if i else None} for i in range(2000)]
    many_messages = chain + [node | {"parent": i} for i in range(1, 1999)]
    root = {"token_ids": [1] * 5000, "mask": [False] * 5000}
    long_message = [root, *(node | {"parent": 0} for _ in range(300))]
    for nodes in (many_messages, long_message):
        row["traces"][0]["nodes"] = nodes
        path = bench.file("traces.jsonl", [row])
        assert "share most of their messages" in bench.refused("import", "prime-rl", path)


def test_the_command_says_one_line_and_exits_with_2(bench: Any) -> None:
    path = bench.file("1.jsonl", b'{"input": ')
    command = [sys.executable, "-m", "longtail", "trace", "import", "auto", path]
    done = subprocess.run([*command, "-o", bench.output], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert list(bench.out.iterdir()) == []
