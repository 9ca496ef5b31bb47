"""Habits of the command: dry runs, YAML that says what is wrong, no colours off a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from longtail.analysis.sweep_time import sweep_time
from longtail.sim.grid import Grid
from longtail.sim.sweep import sweep
from longtail.sim.workload import Workload
from longtail.traces import open_trace
from longtail.traces.synth import LogNormal, Recipe, synthesize


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("habits") / "T.parquet"
    law = LogNormal(20, 0.8)
    synthesize(path, Recipe(rl_steps=3, prompts=3, samples=2, cap=60, vocab=500, lengths=law))
    return path


def longtail(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "longtail", *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_a_dry_run_counts_what_the_sweep_computes(trace: Path) -> None:
    grid = Grid(drafter=["none", "suffix:scope=own+both"], budget=["fixed:k=1..4"])
    load = Workload.from_trace(open_trace(trace))
    told = sweep_time(load, grid.setups(), jobs=2)
    asked: list[int] = []
    table = sweep(load, grid.setups(), jobs=1, progress=lambda done, of: asked.append(of))
    assert (told.points, told.drafters, told.rl_steps) == (9, 3, 3)
    assert told.points + told.bounds == asked[0]
    assert told.points * told.rl_steps == len(table)
    assert told.measured < told.points and told.simulate_s > 0 and told.profiles_s >= 0
    twice = sweep_time(load, grid.setups(), jobs=2, rl_steps=[1])
    assert twice.rl_steps == 1 and twice.profiles_s == 0  # they are kept


def test_a_dry_run_writes_nothing(trace: Path, tmp_path: Path) -> None:
    words = ["--drafter", "suffix", "--budget", "fixed:k=1..8", "-o", "t.csv", "--plots", "p"]
    done = longtail(tmp_path, "sweep", str(trace), *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "points: 8 (1 drafters)" in done.stdout and "expected: about" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("drafer: suffix\n", ["c.yaml", "'drafer'", "did you mean 'drafter'"]),
        ("max-num-sqs: 4\n", ["c.yaml", "'max-num-sqs'", "did you mean 'max_num_seqs'"]),
        ("drafter: {name: suffix, scop: own}\n", ["'scop'", "did you mean 'scope'"]),
        ("drafter: [suffix, none]\n", ["c.yaml", "'drafter'", "several are for `sweep`"]),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest(
    trace: Path, tmp_path: Path, text: str, names: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = longtail(tmp_path, "simulate", str(trace), "--config", "c.yaml")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""
    for name in names:
        assert name in done.stderr


COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_styles_on_a_terminal_only_and_no_colour_where_refused(tmp_path: Path) -> None:
    import pty

    reader, terminal = pty.openpty()
    wanted = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "longtail", "list", "placements"]
    with subprocess.Popen(words, stdout=terminal, env=wanted, cwd=tmp_path) as running:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(reader, 4096):
                shown += part
    os.close(reader)
    assert running.returncode == 0 and b"\x1b[1m" in shown and not COLOUR.search(shown)
    assert COLOUR.search(b"\x1b[1;31mred\x1b[0m") and not COLOUR.search(b"\x1b[1;4mbold\x1b[0m")
    assert "\x1b" not in longtail(tmp_path, "list", "placements", TERM="xterm-256color").stdout
