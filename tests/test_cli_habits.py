"""Habits of the command: dry runs, YAML that says what is wrong, no colours off a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from longtail.analysis.sweep_time import sweep_time
from longtail.cli import cli
from longtail.policies.components import DRAFTERS
from longtail.policies.config import read_config
from longtail.policies.registry import ComponentError
from longtail.sim.grid import Grid
from longtail.sim.sweep import sweep
from longtail.sim.workload import Workload
from longtail.traces import TraceError, open_trace


def longtail(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "longtail", *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_a_dry_run_counts_what_the_sweep_computes(little_trace: Path) -> None:
    grid = Grid(drafter=["none", "suffix:scope=own+both"], budget=["fixed:k=1..4"])
    load = Workload.from_trace(open_trace(little_trace))
    told = sweep_time(load, grid.setups(), jobs=2)
    asked: list[int] = []
    table = sweep(load, grid.setups(), jobs=1, progress=lambda done, of: asked.append(of))
    assert (told.points, told.drafters, told.rl_steps) == (9, 3, 3)
    assert told.points + told.bounds == asked[0]
    assert told.points * told.rl_steps == len(table)
    assert told.measured < told.points and told.simulate_s > 0 and told.profiles_s >= 0
    twice = sweep_time(load, grid.setups(), jobs=2, rl_steps=[1])
    assert twice.rl_steps == 1 and twice.profiles_s == 0  # they are kept


def test_a_dry_run_writes_nothing(
    little_trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--drafter", "suffix", "--budget", "fixed:k=1..8", "-o", "t.csv", "--plots", "p"]
    done = CliRunner().invoke(cli, ["sweep", str(little_trace), *words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "points: 8 (1 drafters)" in done.stdout and "expected: about" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("drafer: suffix\n", ["1: unknown key 'drafer'", "did you mean 'drafter'"]),
        ("cap: 4\nmax-num-sqs: 4\n", ["2: unknown key 'max-num-sqs'", "mean 'max_num_seqs'"]),
        ("drafter: {name: suffix, scop: own}\n", ["1: ", "'scop'", "did you mean 'scope'"]),
        ("drafter:\n  name: suffix\n  depth: x\n", ["3: drafter suffix:depth: 'x' is not an"]),
        ("cap: 60\ndrafter: sufix\n", ["2: unknown drafter", "did you mean 'suffix'"]),
        ("cap: 60\nlatency: h100-7\n", ["2: unknown latency", "did you mean 'h100-7b'"]),
        ("cap: 60\nlatency: no.json\n", ["2: ", "no.json cannot be read"]),
        ("cap: 60\ndrafter:\n", ["2: 'drafter' has no value"]),
        ("drafter: [suffix, none]\n", ["1: 'drafter' takes one value; several are for `sweep`"]),
        ("budget: das\nkv_tokens: much\n", ["2: kv_tokens: 'much' is not a valid integer"]),
        ("kv-tokens: 64\nkv_tokens: 640\n", ["2: 'kv_tokens' is given twice", "in row 1"]),
        ("drafter: [none\nbudget: das\n", ["2: "]),
    ],
)
def test_what_is_wrong_is_named_with_its_row_and_the_nearest(
    little_trace: Path, tmp_path: Path, text: str, names: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    error = refused("simulate", little_trace, "--config", tmp_path / "c.yaml")
    assert error.startswith(f"{tmp_path}/c.yaml, row {names[0]}")
    for name in names:
        assert name in error


def test_of_a_sweeps_lists_the_item_is_named(little_trace: Path, tmp_path: Path) -> None:
    text = f"trace: {little_trace}\ndrafter: suffix\nbudget:\n- fixed:k=1..3\n- name: das\n  x: 1\n"
    config = tmp_path / "s.yaml"
    config.write_text(text)
    assert "s.yaml, row 6: budget 'das' has no option 'x'" in refused("sweep", config)
    error = refused("sweep", config, "--budget", "fixd")  # it wins, and does not stand in the file
    assert error.startswith("unknown budget 'fixd'")


@pytest.mark.parametrize("words", ["t.yaml --config u.yaml", "--config u.yaml t.yaml"])
def test_of_two_yaml_files_none_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.yaml").write_text("trace: nowhere.parquet\ndrafter: suffix\n")
    Path("u.yaml").write_text("budget: das\n")
    done = CliRunner().invoke(cli, ["simulate", *words.split()])
    assert done.exit_code == 2 and "two YAML files" in done.stderr
    assert "t.yaml" in done.stderr and "u.yaml" in done.stderr


def test_a_date_that_is_none_is_no_yaml(little_trace: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("cap: 2026-99-99\n")
    error = refused("simulate", little_trace, "--config", tmp_path / "c.yaml")
    assert "c.yaml: not YAML (month must be in 1..12)" in error


def test_what_yaml_merges_from_elsewhere_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("x-y: &kept {drafter: sufix}\n<<: *kept\n")
    config = read_config(tmp_path / "c.yaml", ["x_y", "drafter"])
    with pytest.raises(TraceError, match=r"c\.yaml: unknown drafter 'sufix'"):
        config.check("drafter", DRAFTERS.make)


def refused(*words: object) -> str:
    """The message of a command that must be refused."""
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert isinstance(done.exception, TraceError | ComponentError), done.output
    assert done.stdout == ""
    return str(done.exception)


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


def test_a_sweep_says_what_it_wrote_and_what_speed_ups_need(
    little_trace: Path, tmp_path: Path
) -> None:
    words = ["sweep", str(little_trace), "--drafter", "suffix:max=1..30", "--jobs", "1"]
    short = CliRunner().invoke(cli, words).output
    assert "add --drafter none" in short and "; -o FILE writes all" in short
    file = tmp_path / "s.csv"
    long = CliRunner().invoke(cli, [*words, "--drafter", "none", "-o", str(file)]).output
    assert f"{file}: " in long and "-o FILE" not in long and "add --drafter" not in long
    assert any(line.strip("│ ").startswith("none") for line in long.splitlines())  # slow, but shown


def test_pictures_that_cannot_be_are_refused_before_the_work(little_trace: Path) -> None:
    with pytest.raises(TraceError, match="choose another folder"):
        CliRunner().invoke(
            cli,
            ["sweep", str(little_trace), "--plots", str(little_trace / "p")],
            catch_exceptions=False,
        )
