"""`python -m tests.docs.run`: print the consoles of README and docs anew.

Everything that is not `live`, and with `--all` that too; `--check` writes nothing, and fails where
something that is not `timed` is printed otherwise now. Commands run in one empty folder for each
page, top to bottom, so that a later one finds what an earlier one wrote.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from .page import PAGES, ROOT, Console, blocks


def output_of(console: Console, folder: Path) -> str:
    """What its command prints on standard output. Raises CalledProcessError."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plain = {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "PATH": path}
    command = ["bash", "-c", f"set -o pipefail; {console.command}"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **plain},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def can_run(console: Console, live: bool) -> bool:
    """Whether what it needs is here."""
    return ("live" not in console.words or live) and (
        "$TRACES" not in console.command or "TRACES" in os.environ
    )


def replaced(text: str, console: Console, output: str) -> str:
    """The page with another output. Raises ValueError where it does not show the console."""
    shown = f"$ {console.command}\n"
    if f"{shown}{console.output}```" not in text:
        raise ValueError(f"{console.page}:{console.line}: cannot be replaced; is it indented?")
    return text.replace(f"{shown}{console.output}```", f"{shown}{output}```")


@click.command()
@click.argument("pages", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--all", "live", is_flag=True, help="Also what needs vLLM.")
@click.option("--check", is_flag=True, help="Write nothing; fail where what is shown has changed.")
def main(pages: tuple[Path, ...], live: bool, check: bool) -> None:
    """Print the consoles of PAGES (of all, if none are named) anew.

    One whose command fails stays as it is; the exit code is then 1.
    """
    failed = 0
    for page in [page.resolve() for page in pages] or PAGES:
        with tempfile.TemporaryDirectory() as folder:
            for console in [block for block in blocks(page) if isinstance(block, Console)]:
                if not can_run(console, live):
                    click.echo(f"{console.place}: left as it is: {console.command}")
                    continue
                try:
                    output = output_of(console, Path(folder))
                except subprocess.CalledProcessError as error:
                    failed += 1
                    click.echo(f"{console.place}: exit code {error.returncode}: {console.command}")
                    continue
                if output == console.output or (check and "timed" in console.words):
                    continue
                if check:
                    failed += 1
                    click.echo(f"{console.place}: prints something else now: {console.command}")
                else:
                    text = page.read_text(encoding="utf-8")
                    page.write_text(replaced(text, console, output), encoding="utf-8")
                    click.echo(f"{console.place}: printed anew")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
