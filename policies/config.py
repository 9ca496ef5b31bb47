"""One YAML file for what the command line takes: the same keys, the command line wins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml

from ..traces.schema import TraceError
from .registry import ComponentError


class Config(dict[str, Any]):
    """A YAML file's options by their Python names, and the rows they stand in."""

    def __init__(self, path: Path, root: yaml.MappingNode) -> None:
        super().__init__()
        self.path = path
        self._nodes: dict[str, yaml.Node] = {}
        self._rows: dict[str, int | None] = {}
        for key, value in root.value:
            name = _name(key.value)
            if name in self._rows:
                raise self.error(
                    f"'{key.value}' is given twice", _row(key), f"first in row {self._rows[name]}"
                )
            self._nodes[name], self._rows[name] = value, _row(key)

    def error(self, problem: str, at: str | int | None, remedy: str | None = None) -> TraceError:
        """What is wrong with the key `at`, or with a row, to be raised."""
        row = self._rows.get(at) if isinstance(at, str) else at
        return TraceError(problem, file=self.path, row=row, remedy=remedy)

    def check(self, key: str, make: Callable[[Any], object]) -> None:
        """Raise TraceError, naming the row, for the first specification of `key` of which `make`
        cannot make components.
        """
        specs = self[key] if isinstance(self[key], list) else [self[key]]
        node = self._nodes.get(key)  # none of what YAML merged from elsewhere
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node] * len(specs)
        for spec, each in zip(specs, nodes, strict=True):
            if spec is None:
                remedy = "name a component, or remove the key"
                raise self.error(f"'{key}' has no value", _row(each), remedy)
            try:
                make(spec)
            except ComponentError as error:
                options = each.value if isinstance(each, yaml.MappingNode) else []
                rows = {name.value: _row(name) for name, _ in options}
                raise self.error(str(error), rows.get(error.key, _row(each))) from None


def read_config(path: Path, known: Collection[str]) -> Config:
    """The file's options by their Python names; `-` and `_` are the same in a key.

    Raises TraceError, with the row where that can be told, for a file that is no YAML mapping and
    for a key that is unknown or given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root, loaded = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except OSError as error:
        raise TraceError(
            f"cannot be read ({error.strerror})", file=path, remedy="name a YAML file"
        ) from None
    except UnicodeDecodeError:
        raise TraceError("is not UTF-8 text", file=path, remedy="save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise TraceError(
            str(problem), file=path, row=mark.line + 1 if mark else None, remedy="correct the YAML"
        ) from None
    except (ValueError, RecursionError) as error:  # a date that is none; nested without end
        raise TraceError(f"not YAML ({error})", file=path, remedy="correct the YAML") from None
    if not isinstance(root, yaml.MappingNode):
        raise TraceError("not a YAML mapping", file=path, remedy="write `key: value` lines")
    config = Config(path, root)
    for key, value in loaded.items():
        name = _name(key)
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise config.error(f"unknown key '{key}'", name, remedy)
        config[name] = [_inline(v) for v in value] if isinstance(value, list) else _inline(value)
    return config


def _name(key: object) -> str:
    return str(key).replace("-", "_")


def _row(node: yaml.Node | None) -> int | None:
    return None if node is None else int(node.start_mark.line) + 1


def _inline(value: Any) -> Any:
    """A component written as a mapping, in the inline form; anything else as it is."""
    if not isinstance(value, dict) or "name" not in value:
        return value
    options = {k: v for k, v in value.items() if k != "name"}
    words = [
        f"{k}={'/'.join(map(str, v)) if isinstance(v, list) else v}" for k, v in options.items()
    ]
    return str(value["name"]) + (":" + ",".join(words) if words else "")
