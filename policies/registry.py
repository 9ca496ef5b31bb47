"""Components by name: `suffix:scope=problem,window=16` -> an object of the class that says so.

A component is a frozen dataclass in a file of its own. Its fields are its options, its docstring is
what `longtail list` prints, and it is found because its file lies in the folder of its kind: to
add one, add a file. Nothing else needs to know.
"""

import dataclasses
import difflib
import importlib
import inspect
import math
import pkgutil
from collections.abc import Mapping
from typing import Any

__all__ = ["ComponentError", "Registry", "brief", "describe", "option", "spec_of"]

KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a word",
    tuple: "a list of numbers a/b/c",
}


class ComponentError(ValueError):
    """A component was named or configured in a way that cannot be used; `key`: by which option."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    always: bool = False,
) -> Any:
    """A dataclass field that is an option on the command line, with its bounds.

    always: shown even at its default where options are abbreviated for people.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "low": low,
            "high": high,
            "unit": unit,
            "always": always,
        },
    )


class Registry:
    """The components of one kind: the dataclasses with a `name` found in one package."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._found: dict[str, Any] | None = None

    @property
    def classes(self) -> dict[str, Any]:
        """Name -> class, in alphabetical order of the names."""
        if self._found is None:
            package = importlib.import_module(self._package)
            found: dict[str, Any] = {}
            for module in pkgutil.iter_modules(package.__path__):
                loaded = importlib.import_module(f"{self._package}.{module.name}")
                for member in list(vars(loaded).values()):
                    cls: Any = member
                    if (
                        inspect.isclass(member)
                        and dataclasses.is_dataclass(member)
                        and member.__module__ == loaded.__name__
                        and "name" in vars(member)
                    ):
                        found[cls.name] = cls
            self._found = dict(sorted(found.items()))
        return self._found

    def make(self, spec: str | Mapping[str, Any]) -> Any:
        """Build a component from `name:key=value,…` or from a mapping with the key `name`.

        Raises ComponentError naming the nearest known name or key.
        """
        name, given = _parse(spec, self.kind)
        if name not in self.classes:
            raise ComponentError(
                f"unknown {self.kind} '{name}'{nearest(name, self.classes)}; "
                f"known: {', '.join(self.classes)}"
            )
        cls = self.classes[name]
        fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
        values = {}
        for key, value in given.items():
            if key not in fields:
                known = ", ".join(fields) or "none"
                raise ComponentError(
                    f"{self.kind} '{name}' has no option '{key}'{nearest(key, fields)}; "
                    f"its options: {known}",
                    key,
                )
            values[key] = _convert(value, fields[key], f"{self.kind} {name}:{key}")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ComponentError(f"{self.kind} {name}: {error}") from error


def spec_of(component: Any) -> str:
    """The inline form of a component, defaults included: equal specs mean equal behaviour."""
    options = ",".join(
        f"{f.name}={_text(getattr(component, f.name))}"
        for f in dataclasses.fields(component)
        if f.init
    )
    return component.name + (f":{options}" if options else "")


def brief(component: Any) -> str:
    """The inline form without what is at its default: for people, not for files."""
    options = ",".join(
        f"{f.name}={_text(getattr(component, f.name))}"
        for f in dataclasses.fields(component)
        if f.init and (f.metadata.get("always") or getattr(component, f.name) != f.default)
    )
    return component.name + (f":{options}" if options else "")


def describe(cls: type) -> list[tuple[str, str, str]]:
    """(option, default, help) for each option of a component class."""
    rows = []
    for f in dataclasses.fields(cls):
        if f.init:
            choices = f.metadata.get("choices") or ()
            unit = f.metadata.get("unit")
            help = f.metadata.get("help", "")
            help += f" ({' | '.join(choices)})" if choices else ""
            help += f" [{unit}]" if unit else ""
            rows.append((f.name, _text(f.default), help))
    return rows


def _parse(spec: str | Mapping[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, Mapping):
        given = dict(spec)
        if "name" not in given:
            raise ComponentError(f"{kind}: a mapping needs the key 'name'")
        return str(given.pop("name")), given
    name, _, rest = str(spec).partition(":")
    given = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ComponentError(f"{kind} '{spec}': write options as key=value, got '{part}'")
        given[key.strip()] = value.strip()
    return name.strip(), given


def _convert(value: Any, field: dataclasses.Field, where: str) -> Any:
    kind: Any = type(field.default)
    try:
        if kind is bool:
            text = str(value).lower()
            if text not in {"true", "false", "1", "0", "yes", "no"}:
                raise ValueError
            converted: Any = text in {"true", "1", "yes"}
        elif kind is tuple:
            items = filter(None, value.split("/")) if isinstance(value, str) else value
            converted = tuple(float(item) for item in items)
        elif kind is int:
            converted = int(value)
            if isinstance(value, float) and value != converted:
                raise ValueError
        else:
            converted = kind(value)
            if kind is float and not math.isfinite(converted):
                raise ValueError
    except (TypeError, ValueError):
        raise ComponentError(f"{where}: '{value}' is not {KINDS[kind]}", field.name) from None
    choices = field.metadata.get("choices")
    if choices and converted not in choices:
        raise ComponentError(f"{where}: '{value}' is not one of {', '.join(choices)}", field.name)
    low, high = field.metadata.get("low"), field.metadata.get("high")
    for item in converted if kind is tuple else (converted,):
        if (low is not None and not item >= low) or (high is not None and not item <= high):
            bounds = (("at least", low), ("at most", high))
            words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
            raise ComponentError(f"{where}: {value} must be {' and '.join(words)}", field.name)
    return converted


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        short = [f"{item:.12g}" for item in value]
        return "/".join(
            text if float(text) == item else repr(item)
            for text, item in zip(short, value, strict=True)
        )
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r}" if isinstance(value, float) else str(value)


def nearest(word: object, known: Any) -> str:
    """The name that was meant, as the end of an error; nothing where none is near."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
