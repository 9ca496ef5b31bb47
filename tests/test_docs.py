"""README and docs say nothing that no command prints, and lead everywhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from .docs import page as docs_page
from .docs.page import GENERATED, PAGES, ROOT, Console, Prose, blocks, commands, consoles
from .docs.run import can_run, main, output_of, replaced
from .test_cli_examples import read

KINDS = {"slow", "timed", "live"}
QUICK = [
    console for console in consoles() if not console.words and "$TRACES" not in console.command
]


@pytest.mark.parametrize("console", QUICK, ids=lambda console: console.place)
def test_what_is_shown_is_what_is_printed(console: Console, tmp_path: Path) -> None:
    assert output_of(console, tmp_path) == console.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text("trace: T.parquet\n")  # the one file that is read with options
    for command in commands(page):
        read(shlex.split(command, comments=True)[1:])


def test_there_are_quick_ones() -> None:
    assert {console.page.name for console in QUICK} >= {"README.md", "method.md"}


def test_every_console_shows_something_and_is_of_a_known_kind() -> None:
    for console in consoles():
        assert console.words <= KINDS, console.place
        shown = (
            console.output.strip() or "timed" in console.words
        )  # those may await a quiet machine
        assert shown, f"{console.place}: `python -m tests.docs.run` fills it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_have_a_source(page: Path) -> None:
    for block in blocks(page):
        if isinstance(block, Prose):
            assert not block.unfounded(), (
                f"{block.place}: in none of {block.sources or 'no source'}"
            )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 1.4x as fast", ["1.4"]),
        ("12,000 tokens and 7 % of 31 of 33 cells", ["12000", "7 %", "31"]),
        ("vLLM 0.26.0, Python 3.11+, arXiv 2511.13841 eq. 7 and Fig. 10 to 13", []),
        ("`k=4.5` and [2.5x](page-3.5.md)", ["2.5"]),
        ("| a | b |\n|---|---|\n| `x8` | 3 to 4 |", ["3", "4"]),
        ("    longtail simulate --cap 3.5\n", []),
    ],
)
def test_figures_are_seen(text: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    seen = [f for block in blocks(tmp_path / "page.md") for f in block.unfounded()]
    assert seen == found


def test_a_source_vouches_for_rounded_figures_of_the_next_block_only(tmp_path: Path) -> None:
    page, source = tmp_path / "page.md", tmp_path / "source.py"
    source.write_text("SHARE = 0.9394\n")
    page.write_text(f"<!-- figures of: {source} -->\n\n94 % and 95 %.\n\n94 %.\n")
    assert [block.unfounded() for block in blocks(page)] == [["95 %"], ["94 %"]]


def test_data_vouch_for_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- figures of: docs/policies-claims.csv -->\n\n94 % of cells\n")
    with pytest.raises(ValueError, match=r"policies-claims\.csv vouches for nothing"):
        next(block for block in blocks(page) if isinstance(block, Prose)).unfounded()


def test_a_console_is_run_and_printed_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before\n\n```console timed\n$ echo a \\\n    b\nold\n```\n\nAfter\n")
    (console,) = [block for block in blocks(page) if isinstance(block, Console)]
    assert (console.command, console.output) == ("echo a \\\n    b", "old\n")
    assert console.words == {"timed"} and can_run(console, live=False)
    fresh = replaced(page.read_text(), console, output_of(console, tmp_path))
    assert fresh == page.read_text().replace("old\n", "a b\n")
    with pytest.raises(ValueError, match="cannot be replaced"):
        replaced(fresh, console, "a b\n")


@pytest.mark.parametrize(
    ("words", "shown", "code"), [("", "old", 1), ("", "new", 0), ("timed", "old", 0)]
)
def test_check_fails_where_what_is_shown_has_changed(
    words: str, shown: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_page, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"```console {words}\n$ echo new\n{shown}\n```\n")
    before = page.read_text()
    assert CliRunner().invoke(main, ["--check", str(page)]).exit_code == code
    assert page.read_text() == before
    assert CliRunner().invoke(main, [str(page)]).exit_code == 0
    assert "\nnew\n" in page.read_text()


@pytest.mark.parametrize("page", [*PAGES, GENERATED], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)#]+)", text):
        made = Path(link).name in {"commands.md", "components.md"}  # by tests/docs/site.py
        assert made or "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_site_and_reached_from_the_index() -> None:
    def leaves(nav: object) -> set[str]:
        if isinstance(nav, str):
            return {nav}
        return set().union(*map(leaves, nav.values() if isinstance(nav, dict) else nav))

    inside = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in inside
        assert name == "index.md" or f"]({name})" in index, name
