"""Logs that nothing can be concluded from are refused, with what is wrong and where."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_runs import Making, write_run

from longtail.analysis.calibrate import calibrate
from longtail.analysis.observations import observe, read_runs
from longtail.engine.step_log import METADATA_KEY
from longtail.traces.schema import TraceError


def rewrite(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a log's forwards, keeping their schema and metadata."""
    (part,) = folder.rglob("forwards-*.parquet")
    table = pq.read_table(part)
    frame = change(table.to_pandas())
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False), part)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_runs([folder])
    for word in (*words, str(folder)):
        assert word in str(caught.value)


def without(row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda log: log.drop(index=row).reset_index(drop=True)


def renumbered_without(row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(log: pd.DataFrame) -> pd.DataFrame:
        log = without(row)(log)
        return log.assign(forward=range(len(log)))

    return change


def shifted(row: int, seconds: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(log: pd.DataFrame) -> pd.DataFrame:
        begin = log.begin_s.to_numpy(copy=True)
        begin[row:] += seconds
        return log.assign(begin_s=begin)

    return change


def counted(column: str, row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(log: pd.DataFrame) -> pd.DataFrame:
        values = log[column].to_numpy(copy=True)
        values[row] += 1
        return log.assign(**{column: values})

    return change


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", "ngram", Making(requests=8, longest=60))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(11), ("row 12", "forward 11 is missing")),
        (renumbered_without(11), ("missing",)),
        (lambda log: log.iloc[:-1], ("missing",)),
        (lambda log: pd.concat([log, log.iloc[-1:]]), ("there twice",)),
        (shifted(20, -0.05), ("row 21", "backwards")),
        (shifted(20, -1e-3), ("row 21", "before the last one ended")),
        (lambda log: log.assign(model_s=log.model_s - 1), ("negative",)),
        (lambda log: log.assign(model_s=log.model_s + 1), ("longer than it",)),
        (counted("tokens", 9), ("row 10", "do not add up")),
        (counted("accepted", 9), ("row 10", "do not add up")),
        (counted("kv_tokens", 9), ("row 10", "context")),
        (lambda log: log.assign(pairs=0), ("row 1", "do not add up")),
    ],
)
def test_a_log_that_is_not_whole(
    run: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: tuple[str, ...]
) -> None:
    read_runs([run])
    rewrite(run, change)
    refused(run, *words)


def test_without_drafts_a_missing_forward_is_seen_by_the_context(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "none", Making(requests=8, longest=60))
    rewrite(folder, renumbered_without(30))
    refused(folder, "missing")


def test_two_engines_parts_in_one_folder(tmp_path: Path, run: Path) -> None:
    """Two that are alike in everything, too."""
    other = write_run(tmp_path / "other", "ngram", Making(requests=8, longest=60))
    (mine,) = run.rglob("forwards-*.parquet")
    (part,) = other.rglob("forwards-*.parquet")
    part.rename(mine.with_name("forwards-000001.parquet"))
    refused(run, "2 engines")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hardware", "NVIDIA H100"),
        ("model_config.hidden_size 128, not 64", {"hidden_size": 128}),
        ("engine", "vLLM 0.26.0"),
        ("dtype", "bfloat16"),
        ("tensor_parallel", 2),
        ("hardware not recorded", None),
        ("enforce_eager", False),
    ],
)
def test_runs_of_two_engines(tmp_path: Path, key: str, value: object) -> None:
    paths = [
        write_run(tmp_path / "a", "none", Making(longest=60)),
        write_run(
            tmp_path / "b", "ngram", Making(longest=60, seed=1), **{re.split("[. ]", key)[0]: value}
        ),
    ]
    with pytest.raises(TraceError, match=f"another engine.*{key}"):
        calibrate(read_runs(paths))


def test_the_same_log_twice(tmp_path: Path, run: Path) -> None:
    with pytest.raises(TraceError, match="same measurements"):
        read_runs([run, run])


def test_no_runs_and_too_few(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no live runs"):
        read_runs([tmp_path])
    small = write_run(tmp_path / "small", "none", Making(requests=2, longest=25))
    with pytest.raises(TraceError, match="at least"):
        calibrate(read_runs([small]))


def test_a_wait_is_no_part_of_a_forward(tmp_path: Path) -> None:
    """Two batches, a second apart: nobody is running in between."""
    folder = write_run(tmp_path / "run", "none", Making(requests=8, longest=60))
    (run,) = read_runs([folder])
    usual = observe([run]).whole_s

    def apart(log: pd.DataFrame) -> pd.DataFrame:
        again = log.assign(
            forward=log.forward + len(log),
            begin_s=log.begin_s + float(log.begin_s.iloc[-1]) + 1.0,
            request=[r + 8 for r in log.request],
        )
        return pd.concat([log, again], ignore_index=True)

    rewrite(folder, apart)
    (part,) = folder.rglob("requests-*.parquet")
    table = pq.read_table(part)
    frame = table.to_pandas()
    both = pd.concat([frame, frame.assign(request=frame.request + 8)])
    pq.write_table(pa.Table.from_pandas(both, schema=table.schema, preserve_index=False), part)
    (run,) = read_runs([folder])
    seconds = observe([run]).whole_s
    assert seconds.max() < 2 * usual.max()
    assert json.loads(table.schema.metadata[METADATA_KEY])["dtype"] == "float32"


def test_a_log_of_an_earlier_version(run: Path) -> None:
    (part,) = run.rglob("forwards-*.parquet")
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["pairs"]), part)
    refused(run, "earlier version", "pairs")


def test_a_request_that_ended_while_it_waited(run: Path) -> None:
    """It is in no forward, and none is missing."""
    (part,) = run.rglob("requests-*.parquet")
    table = pq.read_table(part)
    waited = table.slice(0, 1).to_pylist()[0] | {
        "request": 99, "forwards": 0, "drafted": 0, "accepted": 0, "finish_reason": "abort",
    }  # fmt: skip
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([waited], table.schema)]), part)
    read_runs([run])


def test_logs_by_a_pattern_and_names_that_meet(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, "none", Making(requests=8, longest=60, seed=ord(name)))
    runs = read_runs([f"{tmp_path}/?"])
    assert len({run.name for run in runs}) == 2


@pytest.mark.parametrize("damage", ["job.json", "summary.json"])
def test_a_damaged_job(run: Path, damage: str) -> None:
    (part,) = run.rglob("forwards-*.parquet")
    place = part.parent.rename(run / "steps")
    assert place.is_dir()
    for name in ("job.json", "summary.json"):
        (run / name).write_text("{" if name == damage else "{}")
    refused(run, "damaged")


def test_graph_sizes_are_each_engines_own(tmp_path: Path) -> None:
    """vLLM captures other sizes for another longest draft, or for more requests at once."""
    graphs = {"enforce_eager": False, "cudagraph_mode": "PIECEWISE"}
    paths = [
        write_run(tmp_path / f"{number}", "ngram", Making(seed=number),
                  cudagraph_capture_sizes=sizes, **graphs)
        for number, sizes in enumerate(([17, 34, 68], [5, 10, 20]))
    ]  # fmt: skip
    calibrate(read_runs(paths))
