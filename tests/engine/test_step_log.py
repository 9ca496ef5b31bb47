"""A step log gives back every row that it was told, whatever happened to the program since."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import longtail
from longtail.engine import step_log
from longtail.engine.step_log import FORWARDS, REQUESTS, ROWS, StepLog, read_step_log
from longtail.traces import TraceError

SCHEMAS = {"forwards": FORWARDS, "requests": REQUESTS}


def forward(number: int) -> tuple:
    return (number, *(0 for _ in FORWARDS.names[1:-4]), [number], [1], [0], [0])


def request(number: int) -> tuple:
    return (number, 0, "p", 0, 1, 1, "stop", 0.0, 1.0, 1, 0, 0)


def logged(folder: Path, kind: str = "forwards") -> list[int]:
    """Numbers of the rows on disk."""
    if not any(folder.rglob(f"{kind}-*")):
        return []
    return read_step_log(folder, kind).iloc[:, 0].tolist()


def plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if pd.isna(value) else value


def rows_of(frame: pd.DataFrame) -> list[tuple]:
    columns = ([plain(value) for value in frame[name]] for name in frame)
    return list(zip(*columns, strict=True))


def values_of(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(kind):
        return st.lists(values_of(kind.value_type), max_size=3)
    if pa.types.is_integer(kind):
        most = 2 ** (kind.bit_width - 1)
        return st.integers(-most, most - 1)
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=False, allow_infinity=False)
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def rows_like(kind: str) -> st.SearchStrategy[list[tuple]]:
    values = [
        st.none() | values_of(f.type) if f.name == "finish_reason" else values_of(f.type)
        for f in SCHEMAS[kind]
    ]
    return st.lists(st.tuples(*values), max_size=3)


parts = st.lists(st.tuples(rows_like("forwards"), rows_like("requests")), max_size=4)


@settings(max_examples=40, deadline=None)
@given(parts)
def test_every_row_comes_back_in_order(written: Sequence[tuple[list, list]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "log"
        log = StepLog(folder, {"policy": {"drafter": "none"}, "hardware": None})
        for forwards, requests in written:
            for row in forwards:
                log.forward(row)
            for row in requests:
                log.request(row)
            log.flush()
        for which, kind in enumerate(SCHEMAS):
            rows = [row for part in written for row in part[which]]
            if rows:
                frame = read_step_log(folder, kind)
                assert rows_of(frame) == rows
                assert list(frame) == SCHEMAS[kind].names
                run = frame.attrs["run"]
                assert len(run.pop("log_id")) == 16
                assert run == {"policy": {"drafter": "none"}, "hardware": None}
            else:
                assert not list(folder.rglob(f"{kind}*"))


def test_more_than_ten_parts_are_read_in_order(tmp_path: Path) -> None:
    log = StepLog(tmp_path, {})
    for number in range(12):
        log.forward(forward(number))
        log.flush()
    assert logged(tmp_path) == list(range(12))


@pytest.mark.parametrize("name", ["drafter=ngram+k=4", "_hidden", ".dot", "a b/c"])
def test_a_folders_name_means_nothing(tmp_path: Path, name: str) -> None:
    log = StepLog(tmp_path / name, {})
    log.forward(forward(0))
    log.flush()
    for folder in (tmp_path / name, log.folder):
        assert rows_of(read_step_log(folder)) == [forward(0)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 30))
def test_memory_holds_a_bounded_number_of_forwards(rows: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_log, "ROWS", rows)
        log = StepLog(Path(name), {})
        for number in range(count):
            log.request(request(number))
            log.forward(forward(number))
        assert (
            logged(Path(name))
            == logged(Path(name), "requests")
            == list(range(count))[: count - count % rows]
        )


def test_a_long_run_is_on_disk_without_being_told(tmp_path: Path) -> None:
    log = StepLog(tmp_path, {})
    for number in range(ROWS):
        assert number < ROWS - 1 or not logged(tmp_path)
        log.forward(forward(number))
    assert logged(tmp_path) == list(range(ROWS))


def test_a_slow_run_is_on_disk_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = StepLog(tmp_path, {})
    log.forward(forward(0))
    assert logged(tmp_path) == []
    monkeypatch.setattr(step_log, "FLUSH_S", -1.0)
    log.request(request(0))
    log.forward(forward(1))
    assert logged(tmp_path) == [0, 1] and logged(tmp_path, "requests") == [0]


# Crashes

RUN = """
import os, signal, sys
from pathlib import Path
from longtail.engine.step_log import FORWARDS, StepLog
log, ending = StepLog(Path(sys.argv[1]), {}), sys.argv[2]
for number in range(35):
    log.forward((number, *(0 for _ in FORWARDS.names[1:-4]), [], [], [], []))
    if number % 10 == 9:
        log.flush()
if ending == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if ending == "killed while writing":
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
    log.flush()
os._exit(3)
"""


@pytest.mark.parametrize("ending", ["gone", "killed", "killed while writing"])
def test_a_crash_costs_what_came_after_the_last_flush(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "log"
    child = subprocess.run([sys.executable, "-c", RUN, str(folder), ending], check=False)
    assert child.returncode == (3 if ending == "gone" else -signal.SIGKILL)
    assert logged(folder) == list(range(30))
    assert len([*folder.rglob(".*.tmp")]) == (ending == "killed while writing")


def test_a_half_written_part_is_not_read(tmp_path: Path) -> None:
    log = StepLog(tmp_path, {})
    log.forward(forward(0))
    log.flush()
    (log.folder / ".forwards-000001.parquet.0123abcd.tmp").write_bytes(b"PAR1 half of")
    assert logged(tmp_path) == [0]


def test_a_full_disk_costs_nothing_when_there_is_room_again(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "log", {})
    log.folder.rmdir()
    log.forward(forward(0))
    log.request(request(0))
    for _ in range(2):
        with pytest.raises(OSError):
            log.flush()
    log.folder.mkdir()
    log.forward(forward(1))
    log.flush()
    assert logged(tmp_path / "log") == [0, 1] and logged(log.folder, "requests") == [0]


def test_a_disk_that_stays_full_costs_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_log, "KEPT", 3)
    log = StepLog(tmp_path, {})
    log.folder.rmdir()
    for number in range(8):
        log.forward(forward(number))
        with pytest.raises(OSError):
            log.flush()
    log.folder.mkdir()
    log.flush()
    assert logged(tmp_path) == [5, 6, 7]


# Folders that are none


@pytest.mark.parametrize("what", ["missing", "a file", "empty", "requests only"])
def test_a_folder_without_a_log_is_one_clear_error(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "log"
    if what == "a file":
        folder.write_text("no folder")
    elif what != "missing":
        log = StepLog(folder, {})
        if what == "requests only":
            log.request(request(0))
            log.flush()
            assert logged(folder, "requests") == [0]
    with pytest.raises(TraceError) as caught:
        read_step_log(folder)
    assert str(caught.value).startswith(f"{folder}: no step log; ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_truncated_part_is_one_clear_error(tmp_path: Path, size: int) -> None:
    log = StepLog(tmp_path, {})
    for number in range(2):
        log.forward(forward(number))
        log.flush()
    part = max(log.folder.iterdir())
    part.write_bytes(part.read_bytes()[:size])
    with pytest.raises(TraceError, match="damaged") as caught:
        read_step_log(tmp_path)
    assert str(tmp_path) in str(caught.value)


FOREIGN = {
    "no metadata": pa.table({"a": [1]}),
    "other metadata": pa.table({"a": [1]}).replace_schema_metadata({"other": "{}"}),
    "other columns": pa.table({"forward": ["x"]}).replace_schema_metadata({"longtail.steps": "{}"}),
    "metadata that is no JSON": pa.table({"a": [1]}).replace_schema_metadata(
        {"longtail.steps": "{"}
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_part_of_something_else_is_one_clear_error(tmp_path: Path, what: str) -> None:
    log = StepLog(tmp_path, {})
    log.forward(forward(0))
    log.flush()
    number = 1 if what == "other columns" else 0  # the first part's metadata are read
    pq.write_table(FOREIGN[what], log.folder / f"forwards-{number:06d}.parquet")
    with pytest.raises(TraceError):
        read_step_log(tmp_path)


def test_every_log_has_a_folder_of_its_own(tmp_path: Path) -> None:
    logs = [StepLog(tmp_path / "a" / "b", {"run": run}) for run in range(3)]
    assert [log.folder for log in logs] == sorted({log.folder for log in logs})
    for run, log in enumerate(logs):
        log.forward(forward(run))
        log.flush()
    for run, log in enumerate(logs):
        assert logged(log.folder) == [run] and read_step_log(log.folder).attrs["run"]["run"] == run
    with pytest.raises(TraceError, match="step logs of 3 engines"):
        read_step_log(tmp_path / "a" / "b")


def test_a_row_that_cannot_be_written_costs_no_later_one(tmp_path: Path) -> None:
    log = StepLog(tmp_path, {})
    log.forward((2**63, *forward(0)[1:]))
    with pytest.raises(Exception, match=r"too large|big"):
        log.flush()
    log.forward(forward(1))
    log.flush()
    assert logged(tmp_path) == [1]
    assert list(longtail.read_step_log(str(tmp_path)).forward) == [1]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "log"):
        with pytest.raises(TraceError, match="cannot write here") as caught:
            StepLog(folder, {})
        assert str(caught.value).startswith(str(folder))
