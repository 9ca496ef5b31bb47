"""Shell completion through click's own interface, as a shell would ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete
from click.testing import CliRunner

from longtail.cli import cli
from longtail.cli_completion import INSTALL, component_names
from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.policies.latency.presets import LATENCIES, PRESETS


def asked(*words: str) -> list[CompletionItem]:
    """What completes the last word after the others."""
    *before, last = words
    return ShellComplete(cli, {}, "longtail", "_LONGTAIL_COMPLETE").get_completions(before, last)


def values(*words: str) -> list[str]:
    return [item.value for item in asked(*words)]


def test_names_are_the_registries() -> None:
    for kind, registry in (("drafter", DRAFTERS), ("budget", BUDGETS), ("placement", PLACEMENTS)):
        assert component_names(kind) == list(registry.classes)
    assert component_names("latency") == sorted({*LATENCIES.classes, *PRESETS})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["swe"], ["sweep"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["simulate", "sample", "--drafter", "suf"], ["suffix"]),
        (["sweep", "sample", "--drafter", "none", "--budget", "da"], ["das"]),
        (["simulate", "sample", "--placement", ""], component_names("placement")),
        (["advise", "sample", "--latency", "h200"], ["h200-32b", "h200-7b"]),
        (["trace", "export", "frontier", "sample", "--drafter", "ng"], ["ngram"]),
        (["run", "sample", "--policy", "suf"], ["suffix"]),
        (["plot", "sample", "--policy", "suffix:scope=both/fi"], ["suffix:scope=both/fixed"]),
        (["simulate", "sa"], ["sample"]),
        (["budgets", "sample", "s"], ["sample"]),
        (["trace", "info", "sam"], ["sample"]),
        (["reproduce", "tlt", "--trace", "sam"], ["sample"]),
    ],
)
def test_names_complete(
    words: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert values(*words) == expected


def test_files_are_left_to_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (["simulate", ""], ["trace", "import", "verl", "d"], ["trace", "synth", "-o", "t"])
    for each in (*words, ["simulate", "sample", "--latency", "model.j"]):
        assert [item.type for item in asked(*each)] == ["file"], each
    (tmp_path / "samples.parquet").touch()
    assert [item.type for item in asked("simulate", "sa")] == ["file"]


def test_what_is_typed_is_still_taken_as_it_is(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["trace", "info", str(tmp_path / "no.parquet")])
    assert "no.parquet: no such file" in str(done.exception)


def test_completing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.shell_completion import ShellComplete;"
        "from longtail.cli import cli;"
        "found = ShellComplete(cli, {}, 'longtail', 'X')"
        ".get_completions(['simulate', 'sample', '--latency'], 'h');"
        "print(len(found), sorted({'numba', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, heavy = done.stdout.split(maxsplit=1)
    assert int(count) >= 2 and heavy == "[]\n"


@pytest.mark.parametrize("shell", INSTALL)
def test_the_script_is_one_that_the_shell_reads(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0 and "_LONGTAIL_COMPLETE=" in done.output
    assert done.output.splitlines()[-1] == f"# {INSTALL[shell]}"
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.output, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_a_shell_that_is_not_known_is_refused() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2


def test_bash_asks_the_command_itself(tmp_path: Path) -> None:
    """As the script does: words and position in the environment, one item per line."""
    code = "import sys; sys.argv = ['longtail']; from longtail.cli import main; main()"
    asking = {
        "_LONGTAIL_COMPLETE": "bash_complete",
        "COMP_WORDS": "longtail simulate sample --drafter su",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asking}, capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split() == ["plain,suffix"]
