"""`longtail drafters` as its users give it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from longtail.cli import cli
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError
from longtail.traces.synth import LogNormal, Recipe, synthesize

FILES = {"drafters.csv", "reliability.csv", "staleness.csv", "reliability.png", "reliability.svg"}
FILES |= {"staleness.png", "staleness.svg"}


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drafters") / "t.parquet"
    synthesize(path, Recipe(rl_steps=3, prompts=4, samples=4, seed=2, lengths=LogNormal(150, 0.6)))
    return path


def test_from_a_trace_to_a_sentence(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    done = command("drafters", trace, "--max-num-seqs", 8, "-o", folder)
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    for words in (
        "SYNTHETIC", "all but the first, which has no history", "at most 8 requests at once",
        "left out: diffusion", "left out: learned", "grouped: acceptance as if", "speed-up",
        "History of one RL step", "Decay per RL step",
    ):  # fmt: skip
        assert words in shown, words
    assert ("Choose " in shown) != ("Leave speculation off" in shown)
    assert {p.name for p in folder.iterdir()} == FILES

    rows = pd.read_csv(folder / "drafters.csv")
    assert (rows.makespan_s.diff().dropna() >= 0).all() and (rows.origin == "synthetic").all()
    assert (rows.rl_steps == "1 2").all() and (rows.max_num_seqs == 8).all()
    bins = pd.read_csv(folder / "reliability.csv")
    assert set(bins.drafter) <= set(rows.drafter)
    assert bins.predicted.between(bins.low - 1e-9, bins.high + 1e-9).all()
    assert bins.observed.between(0, 1).all()
    pairs = pd.read_csv(folder / "staleness.csv")
    assert set(pairs.age) == {1, 2} and (pairs.now - pairs.past == pairs.age).all()


def test_asked_for_without_files(trace: Path) -> None:
    done = command("drafters", trace, "--drafter", "learned", "--drafter", "suffix:scope=own+both",
                   "--rl-steps", "0,1", "--latency", "h200-7b")  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "left out: " not in shown and "the first has no history" in shown
    assert "learned:table=tlt: acceptance drawn at random" in shown and "not given" in shown
    assert "note: drafting with learned is taken to be free" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drafter", "sufix"], "did you mean 'suffix'"),
        (["--drafter", "diffusion"], "give rate= or table="),
        (["--rl-steps", "7"], "no RL step 7"),
        (["--latency", "nothing"], "nothing"),
    ],
)
def test_unusable_input_is_one_line(trace: Path, words: list[str], message: str) -> None:
    done = command("drafters", trace, *words)
    assert isinstance(done.exception, TraceError | ComponentError), done.output
    assert message in str(done.exception) and "\n" not in str(done.exception)
    assert done.stdout == ""


def test_a_folder_that_cannot_be(trace: Path) -> None:
    done = command("drafters", trace, "-o", trace / "below")
    assert done.exit_code == 1 and "is not a folder" in str(done.exception)


def test_lengths_only(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text(
        "rl_step,prompt_id,sample,prompt_len,output_len\n0,a,0,5,40\n0,a,1,5,60\n1,a,0,5,70\n"
    )
    path = tmp_path / "t.parquet"
    assert command("trace", "import", "lengths", source, "-o", path).exit_code == 0
    done = command("drafters", path)
    assert done.exit_code == 1 and "lengths only" in str(done.exception)
    done = command("drafters", path, "--drafter", "learned", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "How history ages is not seen here" in done.output
    assert not (tmp_path / "out" / "staleness.csv").exists()


def test_the_help_names_it() -> None:
    assert "longtail drafters" in command("--help").output
