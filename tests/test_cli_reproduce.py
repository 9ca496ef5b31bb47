"""`longtail reproduce` as its users give it, on a small synthetic trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from longtail.analysis.claim import Verdict
from longtail.analysis.reproduction import nemo_rl as nemo_rl_page
from longtail.analysis.reproduction import respec, tlt, tlt_bandit
from longtail.analysis.reproduction.papers import PAPERS
from longtail.cli import cli
from longtail.cli_reproduce import NAMES
from longtail.traces import TraceError
from longtail.traces.synth import LogNormal, Recipe, synthesize


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["reproduce", *map(str, words)])


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reproduce") / "t.parquet"
    synthesize(path, Recipe(rl_steps=3, prompts=5, samples=4, lengths=LogNormal(80, 0.7), cap=300))
    return path


def test_the_command_knows_every_paper() -> None:
    assert set(NAMES) == set(PAPERS)
    assert "longtail reproduce" in CliRunner().invoke(cli, ["--help"]).output


@pytest.fixture(scope="module", autouse=True)
def short_simulations() -> Iterator[None]:
    """Of equal requests: the pages are the same, on fewer tokens."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (tlt, respec, nemo_rl_page):
            patch.setattr(module, "OUTPUT", 48)
        patch.setattr(tlt_bandit, "LEARN", 256)
        yield


@pytest.fixture(scope="module")
def nemo_rl(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that is there already."""
    folder = tmp_path_factory.mktemp("there")
    assert command("nemo-rl", "-o", folder, "--trace", trace).exit_code == 0
    return folder


@pytest.mark.parametrize("paper", NAMES)
def test_from_a_trace_to_a_page(paper: str, trace: Path, tmp_path: Path, nemo_rl: Path) -> None:
    folder = tmp_path / "new" / "pages"
    done = command(paper, "-o", folder, "--trace", trace)
    assert done.exit_code == 0, (done.output, done.exception)
    page = (folder / f"{paper}.md").read_text()
    assert "SYNTHETIC" in page and f"longtail reproduce {paper} --trace t.parquet" in page
    assert str(trace.parent) not in page and "nan" not in page
    named = set(re.findall(r"\]\(([^)]+)\)", page))
    written = {p.name for p in folder.iterdir()}
    assert named < written and all(name.startswith(f"{paper}-") for name in named)
    assert all(str(folder / name) in done.output for name in written)
    for name in named:
        if name.endswith(".csv"):
            assert len(pd.read_csv(folder / name)) > 0
    claims = pd.read_csv(folder / f"{paper}-claims.csv")
    assert set(claims.ours_verdict) | set(claims.theirs_verdict) <= {str(v) for v in Verdict}
    unknown = claims.ours_verdict == str(Verdict.UNKNOWN)
    assert (claims.ours.isna() == unknown).all()
    for verdict, count in claims.ours_verdict.value_counts().items():
        assert page.count(f"| **{verdict}** |") == count
    if paper == "nemo-rl":  # the same page twice, to the byte
        for path in nemo_rl.iterdir():
            assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dsa"], "'das'"),
        (["tlt", "--trace", "nothing.parquet"], "no such file"),
        (["respec", "-o", "{file}/below"], "choose another folder"),
    ],
)
def test_unusable_input_is_refused_before_anything_is_written(
    trace: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    words = [word.format(file=trace) for word in words]
    words += [] if "--trace" in words else ["--trace", str(trace)]
    words += [] if "-o" in words else ["-o", str(tmp_path / "pages")]
    done = command(*words)
    if isinstance(done.exception, TraceError):
        said = str(done.exception)
    else:
        assert done.exit_code == 2
        said = done.output
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "pages").exists()


def test_lengths_only(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    synthesize(path, Recipe(rl_steps=2, prompts=2, samples=2, cap=200, tokens=False))
    for paper in ("das", "seer"):
        done = command(paper, "--trace", path, "-o", tmp_path / "pages")
        assert done.exit_code == 1 and "needs tokens" in str(done.exception)
    assert not (tmp_path / "pages").exists()
    assert command("respec", "--trace", path, "-o", tmp_path / "pages").exit_code == 0
