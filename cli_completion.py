"""Shell completion: the script that a shell reads, and what stands for which parameter.

Names of components are read from their files as text: a shell asks at every key, and importing
them takes a second.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

POLICIES = Path(__file__).with_name("policies")
FOLDERS = {
    "drafter": "drafters",
    "budget": "budgets",
    "placement": "placement",
    "latency": "latency",
}
NAME = re.compile(r'^    name: ClassVar\[str\] = "(.+)"$', re.MULTILINE)
PRESET = re.compile(r'^    "([^"]+)": \(', re.MULTILINE)
INSTALL = {
    "bash": 'Put into ~/.bashrc: eval "$(longtail completion bash)"',
    "zsh": 'Put into ~/.zshrc, after compinit: eval "$(longtail completion zsh)"',
    "fish": "Keep as ~/.config/fish/completions/longtail.fish",
}
FILES = {"output", "tokenizer", "bench", "live"}  # options that name files, though typed as text


def component_names(kind: str) -> list[str]:
    """Names of the components of a kind, presets of latencies among them, in order."""
    names = set()
    for file in (POLICIES / FOLDERS[kind]).glob("*.py"):
        source = file.read_text(encoding="utf-8")
        names.update(NAME.findall(source))
        if file.name == "presets.py":
            names.update(PRESET.findall(source))
    return sorted(names)


class Component(click.types.StringParamType):
    """A specification of a component; its name completes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin so; files too where a latency may be a calibration."""
        found = _items(component_names(self.kind), incomplete)
        return found or (_files(incomplete) if self.kind == "latency" else [])


class Policy(click.types.StringParamType):
    """DRAFTER[/BUDGET]; each part completes."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Drafters, and budgets after the slash."""
        drafter, slash, _ = incomplete.rpartition("/")
        names = component_names("budget" if slash else "drafter")
        return _items([f"{drafter}{slash}{name}" for name in names], incomplete)


class Files(click.types.StringParamType):
    """A file; the shell completes it."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Left to the shell."""
        return _files(incomplete)


class TraceName(Files):
    """A trace: a file, or the bundled `sample`."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """`sample` where that is begun and no file is (bash takes either names or files)."""
        begun = incomplete and "sample".startswith(incomplete)
        if begun and not any(Path().glob(f"{incomplete}*")):
            return [CompletionItem("sample", help="the bundled recorded trace")]
        return _files(incomplete)


def complete_names(group: click.Group) -> None:
    """Have every verb's parameters complete, by what they are called."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            complete_names(command)
        for parameter in command.params:
            if type(parameter.type) is click.types.StringParamType:
                parameter.type = _type_of(parameter)


def _type_of(parameter: click.Parameter) -> click.ParamType:
    name, argument = parameter.name or "", isinstance(parameter, click.Argument)
    if name in FOLDERS:
        return Component(name)
    if name == "policy":
        return Policy()
    traces = {"trace", "traces"} | ({"source", "path"} if argument else set())
    if name in traces or str(parameter.metavar).startswith("TRACE"):
        return TraceName()
    return Files() if argument or name in FILES else parameter.type


def _items(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


@click.command()
@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes verbs, options and names of components.

    Put `eval "$(longtail completion bash)"` into ~/.bashrc; the script's last line says how for
    each shell.

    \b
    longtail completion bash
    longtail completion fish
    """
    made = get_completion_class(shell)
    assert made is not None  # one of click's own
    script = made(ctx.find_root().command, {}, "longtail", "_LONGTAIL_COMPLETE").source()
    click.echo(f"{script.strip()}\n\n# {INSTALL[shell]}")
