"""`longtail report` as its users give it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from longtail.cli import cli, main
from longtail.traces.synth import Recipe, synthesize

Longtail = Callable[..., tuple[int, str, str]]


@pytest.fixture
def longtail(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Longtail:
    """The command, in this process: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["longtail", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        return code, *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands wrote, in a folder of its own."""
    folder = tmp_path_factory.mktemp("cli")
    synthesize(folder / "T.parquet", Recipe(rl_steps=2, prompts=2, samples=3, cap=200))
    words = ["sweep", str(folder / "T.parquet"), "--drafter", "none", "--drafter", "suffix",
             "--budget", "fixed:k=2", "--jobs", "1", "-o", str(folder / "sweep.csv")]  # fmt: skip
    assert CliRunner().invoke(cli, words).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but a table cut short."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "sweep.parquet").write_bytes(b"PAR1 and no more")
    return folder


def test_from_a_folder_to_a_page(
    folder: Path, tmp_path: Path, longtail: Longtail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, _ = longtail("report", folder)
    assert code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>") and str(folder.parent) not in text
    assert shown.startswith("report.html (")
    assert shown.endswith("2 sections of 2 files, 0 skipped\n")


def test_the_same_folder_the_same_file_and_no_report_of_reports(
    folder: Path, tmp_path: Path, longtail: Longtail
) -> None:
    pages = [tmp_path / name for name in ("a.html", "b.html")]
    for page in pages:
        assert longtail("report", folder, "-o", page)[0] == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()
    code, _, said = longtail("report", tmp_path, "-o", tmp_path / "c.html")
    assert code == 2 and "nothing here that longtail writes, in 2 files" in said
    assert sorted(tmp_path.iterdir()) == pages


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/nothing"], "no such folder; name the folder that longtail wrote to"),
        (["{tmp}"], "nothing here that longtail writes, in 0 files"),
        (["{folder}/T.parquet"], "is not a folder"),
        (["{folder}", "-o", "{tmp}/no/r.html"], "no such folder; make it, or choose another"),
        (["{folder}", "-o", "{tmp}"], "is a directory"),
        (["{broken}"], "nothing here can be read: sweep.parquet ("),
        (["{folder}", "--tokenizer", "{tmp}/t.json"], "the tokenizer cannot be read"),
        ([], "Missing argument"),
    ],
)
def test_unusable_input_is_one_line_and_writes_nothing(
    folder: Path, broken: Path, tmp_path: Path, longtail: Longtail, words: list[str], message: str
) -> None:
    given = [word.format(tmp=tmp_path, folder=folder, broken=broken) for word in words]
    if "-o" not in given:
        given += ["-o", str(tmp_path / "r.html")]
    code, shown, said = longtail("report", *given)
    lines = [line for line in said.splitlines() if not line.startswith("Compiling")]
    assert code == 2 and not shown and len(lines) == 1
    assert lines[0].startswith("error: ") and message in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_it_is_in_the_help() -> None:
    assert "longtail report DIR" in CliRunner().invoke(cli, ["--help"]).output
    assert "--tokenizer" in CliRunner().invoke(cli, ["report", "--help"]).output
