"""Files that mean harm, or are merely broken: one error, no traceback, no output, no code run."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
import zipfile
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
from longtail.traces import sources as sources_module
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
        if name == "slime":
            pytest.importorskip("torch")
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


class Runs:
    """A pickle of it would run code when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def torch_file(path: Path, pickled: bytes, how: int = zipfile.ZIP_STORED) -> Path:
    """The container that torch.save writes, around any pickle."""
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


def test_pickles_are_not_run(bench: Any) -> None:
    pytest.importorskip("torch")
    marker = bench.folder / "marker"
    for protocol in (2, 4):
        raw = pickle.dumps({"samples": [Runs(marker)]}, protocol)
        message = bench.refused("import", "slime", torch_file(bench.folder / "1.pt", raw))
        assert "1.pt: torch refuses to load it" in message
        bare = bench.file("2.pt", raw)
        assert "a pt file is wanted, this is text" in bench.refused("import", "slime", bare)
    assert not marker.exists()
    assert pickle.loads(raw) and marker.exists()  # it would have run


def test_packed_pt_files_and_shared_lists_are_refused(bench: Any) -> None:
    torch = pytest.importorskip("torch")
    packed = torch_file(bench.folder / "1.pt", bytes(10**7), zipfile.ZIP_DEFLATED)
    assert "its entries are packed" in bench.refused("import", "slime", packed)
    sample = dumps.slime_sample(1, 0, 0, [5] * 2000) | {"rollout_log_probs": None}
    shared = {"samples": [{**sample, "index": i} for i in range(200)]}
    torch.save(shared, packed)
    assert "more tokens than the file has bytes" in bench.refused("import", "slime", packed)
    stretched = torch.zeros(1, dtype=torch.long).expand(10**10)
    torch.save({"samples": [sample | {"tokens": stretched}]}, packed)
    assert "a tensor larger than the file" in bench.refused("import", "slime", packed)


def test_slime_without_torch_names_the_extra(bench: Any, monkeypatch: Any) -> None:
    path = torch_file(bench.folder / "1.pt", pickle.dumps({}))
    monkeypatch.setitem(sys.modules, "torch", None)
    message = bench.refused("import", "slime", path)
    assert "needs torch, which is not installed; pip install 'longtail[slime]'" in message


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs_do_not_unpack(bench: Any, kind: str) -> None:
    good = lines([{"input": "w1", "output": "w2", "score": 1.0, "step": 1}])
    comment = b'{"input": "w1", "output": "w2", "score": 1.0, "step": 1, "x": "%s"}\n' % (
        b" " * 10**6
    )
    fillings = {
        "a line of more than 64 MiB": b" " * (70 << 20),
        "over 100,000 blank lines": b"\n" * 200_000,
        "unpack to over 250 times as many": comment * 80,
    }
    for problem, filling in fillings.items():
        pack = gzip.compress if kind == "gzip" else lambda raw: pa.compress(raw, kind, asbytes=True)
        path = bench.file("1.jsonl", pack(good + filling))
        assert path.stat().st_size < 1 << 18
        message = refused_text(bench, path)
        assert problem in message, message


def refused_text(bench: Any, path: Path) -> str:
    return bench.refused("import", "verl", path, "--tokenizer", bench.tokenizer)


def test_parquet_bombs_do_not_unpack(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sources_module, "FREE_EXPANSION", 1 << 20)
    n = 100_000
    text = pa.array(["w1 " * 100]).take(pa.array([0] * n))
    table = pa.table({"step": pa.array([1] * n), "prompt": text, "completion": text})
    path = bench.folder / "completions_00001.parquet"
    pq.write_table(table, path, compression="zstd")
    message = bench.refused("import", "trl", path, "--tokenizer", bench.tokenizer)
    assert "unpack to over 250 times as many" in message


LINES = {
    "deep lists": (b'{"input": ' + b"[" * 10**6, "not valid JSON"),
    "deep objects": (b'{"input": ' * 10**5, "not valid JSON"),
    "huge number": (b'{"input": "w1", "output": "w2", "score": ' + b"9" * 10**6 + b"}", "JSON"),
    "large score": (b'{"input": "w1", "output": "w2", "score": 1e999}', "score|reward must be"),
    "NaN step": (b'{"input": "w1", "output": "w2", "score": NaN, "step": Infinity}', "rl_step"),
    "not UTF-8": (b'{"input": "w1", "output": "\xff", "score": 1}', "not UTF-8"),
}


@pytest.mark.parametrize("case", LINES)
def test_hostile_lines(bench: Any, case: str) -> None:
    line, problem = LINES[case]
    good = lines([{"input": "w1", "output": "w2", "score": 1.0, "step": 1}])
    path = bench.file("1.jsonl", good + line + b"\n")
    message = refused_text(bench, path)
    assert message.startswith(f"{path}, row 2: ")
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(message)


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
    row["traces"][0]["nodes"] = chain + [node | {"parent": i} for i in range(1, 1999)]
    path = bench.file("traces.jsonl", [row])
    assert "share most of their messages" in bench.refused("import", "prime-rl", path)


def test_the_command_says_one_line_and_exits_with_2(bench: Any) -> None:
    path = bench.file("1.jsonl", b'{"input": ')
    command = [sys.executable, "-m", "longtail", "trace", "import", "auto", path]
    done = subprocess.run([*command, "-o", bench.output], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert list(bench.out.iterdir()) == []
