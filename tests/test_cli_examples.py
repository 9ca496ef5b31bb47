"""Every verb's help shows how it is called, and what it shows works.

Examples run in one process, in a folder where the files that they name are small ones made here:
`sample` there is a file of that name, which goes before the bundled trace.
"""

from __future__ import annotations

import gzip
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from longtail.cli import cli
from longtail.traces.formats import FORMATS
from longtail.traces.synth import LogNormal, Recipe, synthesize

sys.path.insert(0, str(Path(__file__).parent / "traces"))
sys.path.insert(0, str(Path(__file__).parent / "analysis"))
from dumps import WRITERS, lines
from made_runs import Making, write_run
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

# What needs an engine, live runs, a GPU or minutes: only its options are read.
READ_ONLY = {"calibrate", "demo", "record tiny", "record vllm", "reproduce", "run", "validate"}


def verbs(
    group: click.Group = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every verb, and every group of verbs, by the words that call it."""
    for name, command in group.commands.items():
        path = (*words, name)
        yield " ".join(path), command
        if isinstance(command, click.Group):
            yield from verbs(command, path)


def examples(command: click.Command) -> list[str]:
    """The lines of a verb's help that call longtail, continuations joined."""
    text = (command.help or "").replace("\\\n", " ")
    found = (line.strip() for line in text.splitlines())
    return [f for f in found if f.startswith("longtail ") or " | longtail " in f]


VERBS = dict(verbs())


def words_of(line: str) -> tuple[list[str], str | None]:
    """longtail's arguments, and the file that is piped to it, if one is."""
    before, pipe, after = line.rpartition(" | ")
    return shlex.split(after)[1:], shlex.split(before)[-1] if pipe else None


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name. A dump's DIR is of the format that the example imports."""
    folder = tmp_path_factory.mktemp("examples")
    law = LogNormal(20, 0.8)
    recipe = Recipe(rl_steps=10, prompts=3, samples=2, cap=60, prompt_len=8, vocab=500, lengths=law)
    synthesize(folder / "T.parquet", recipe)
    shutil.copy(folder / "T.parquet", folder / "sample")

    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(100)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))

    texts = [
        {"prompt": "w1 w2", "output": "w3 w4", "problem_id": f"aime{p}", "sample_index": 0,
         "checkpoint": at, "max_tokens": 8}
        for at in ("base", "step-1") for p in (1, 2)
    ]  # fmt: skip
    for name in ("rollouts", "evals"):
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines(texts)))
    ids = lines([{"prompt_tokens": [1, 2], "output_tokens": [3, 151643]}])
    (folder / "ids.jsonl.gz").write_bytes(gzip.compress(ids))
    table = "run_id,task,problem_id,epoch,output_tokens\n1,t,a,0,5\n1,t,a,1,7\n"
    (folder / "tokens.csv.gz").write_bytes(gzip.compress(table.encode()))
    (folder / "sweep.yaml").write_text("trace: T.parquet\ndrafter: [none, suffix]\n")

    for number, drafter in enumerate(("none", "ngram:k=4")):
        making = Making(noise=0.05, seed=number, requests=32)
        write_run(folder / "runs" / drafter.partition(":")[0], drafter, making)
    shutil.copytree(folder / "runs" / "none", folder / "steps")
    for words in (
        ["sweep", f"{folder}/T.parquet", "--budget", "fixed:k=1", "-o", f"{folder}/sweep.parquet"],
        ["calibrate", f"{folder}/runs", "-o", f"{folder}/model.json"],
    ):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
    (folder / "recorded").mkdir()
    shutil.copy(folder / "T.parquet", folder / "recorded" / "T.parquet")
    return folder


@pytest.fixture
def place(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own with all that is on the shelf."""
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", [v for v in VERBS if not isinstance(VERBS[v], click.Group)])
def test_every_verb_has_an_example_of_itself(verb: str) -> None:
    shown = examples(VERBS[verb])
    assert any(words_of(line)[0][: len(verb.split())] == verb.split() for line in shown), shown


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in READ_ONLY and examples(VERBS[v])])
def test_examples_work(verb: str, place: Path) -> None:
    """One after the other: a later one may read what an earlier one wrote."""
    if verb.startswith("trace import"):
        name = verb.split()[-1]
        for folder in ("DIR", "rollouts"):
            (place / folder).mkdir()
            WRITERS[name if name in FORMATS else "verl"](place / folder)
    for line in examples(VERBS[verb]):
        words, piped = words_of(line)
        taken = gzip.decompress((place / piped).read_bytes()) if piped else None
        if reads_only(words):
            read(words)
            continue
        done = CliRunner().invoke(cli, words, input=taken)
        assert done.exit_code == 0, f"{line}: {done.output} {done.exception!r}"


@pytest.mark.parametrize("verb", sorted(READ_ONLY))
def test_options_of_costly_examples_are_read(verb: str, place: Path) -> None:
    for line in examples(VERBS[verb]):
        read(words_of(line)[0])


def reads_only(words: list[str]) -> bool:
    return any(words[: len(verb.split())] == verb.split() for verb in READ_ONLY)


def read(words: list[str]) -> None:
    """Parse an example as click would before the verb runs; raises what click would say."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


def test_what_is_wrong_would_be_seen(place: Path) -> None:
    with pytest.raises(click.NoSuchOption):
        read(["run", "sample", "--polisy", "suffix/das", "-o", "runs"])
    with pytest.raises(click.BadParameter):
        read(["validate", "sample", "--repeats", "none"])
