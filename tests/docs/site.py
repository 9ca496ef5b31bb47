"""What the site has besides `docs/`: pages of all commands and all components, made from them, and
the project's other pages under names that links within the site can reach.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from html import escape
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from longtail.cli import cli
from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.policies.latency.presets import LATENCIES, PRESETS
from longtail.policies.lengths import PREDICTORS
from longtail.policies.registry import Registry, describe
from longtail.tests.docs.page import ROOT
from longtail.traces.formats import FORMATS

ELSEWHERE = {
    "README.md": "start.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changes.md",
    "traces/README.md": "sample.md",
    "examples/tour.ipynb": "tour.ipynb",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in `docs/`."""
    for source, name in ELSEWHERE.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=content))
    for name, content in (("commands", commands()), ("components", components())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave `docs/` in the repository, or lead into it, stay within the site; what is
    said of a console (tests/docs/page.py) is for the tools.
    """
    markdown = re.sub(r"^```console .*$", "```console", markdown, flags=re.M)
    for source, name in ELSEWHERE.items():
        markdown = re.sub(rf"\]\((\.\./)?{re.escape(source)}\)", f"]({name})", markdown)
    return markdown.replace("](docs/", "](")


def commands() -> str:
    """What `--help` says of every verb."""
    lines = ["# Commands\n", "What `--help` prints.\n"]
    for path, command in _verbs("longtail", cli):
        context = click.Context(command, info_name=path, terminal_width=88, **cli.context_settings)
        title = f"{'#' * min(path.count(' ') + 2, 3)} {path}"
        lines += [f"{title}\n", f"```text\n{command.get_help(context)}\n```\n"]
    return "\n".join(lines)


def _verbs(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _verbs(f"{path} {name}", inner)


def components() -> str:
    """Every component with its options, from its class."""
    kinds = (
        ("Drafters", DRAFTERS),
        ("Budgets", BUDGETS),
        ("Placements", PLACEMENTS),
        ("Latencies", LATENCIES),
        ("Length predictors", PREDICTORS),
    )
    lines = [
        "# Components\n",
        "A component is named with its options, `name:key=value,…`, on the command line, in YAML"
        " and in Python; `longtail list` prints the same in a terminal.\n",
    ]
    for title, registry in kinds:
        lines += [f"## {title}\n", *_of_kind(registry)]
    presets = ((_code(name), _code(spec), _text(why)) for name, (spec, why) in PRESETS.items())
    formats = ((_code(f.name), _text(f.about), _text(f.source)) for f in FORMATS.values())
    lines += ["## Latency presets\n", *_table(("preset", "is", "from"), presets)]
    lines += ["## Formats of dumps\n", *_table(("format", "what", "from"), formats)]
    return "\n".join(lines)


def _of_kind(registry: Registry) -> Iterator[str]:
    for name, cls in registry.classes.items():
        yield f"### {name}\n\n{_text(inspect.getdoc(cls) or '')}\n"
        if source := getattr(cls, "source", ""):
            yield f"*Source:* {_text(source)}\n"
        options = [(_code(key), _code(value), _text(help)) for key, value, help in describe(cls)]
        if options:
            yield from _table(("option", "default", "what"), options)


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows)] + [""]


def _code(words: str) -> str:
    return f"<code>{escape(words).replace('|', '&#124;')}</code>" if words else ""


def _text(words: str) -> str:
    """Not markup, but for code: what looks like a tag, emphasis or a cell's end is not one."""
    parts = re.split(r"(`[^`]*`)", words)
    shown = (
        _code(p[1:-1]) if p[:1] == "`" else escape(p, quote=False).replace("*", "&#42;")
        for p in parts
    )
    return "".join(part.replace("|", "&#124;") for part in shown)
