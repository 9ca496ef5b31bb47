"""One YAML file for what the command line takes: the same keys, the command line wins."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ..traces.schema import TraceError


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The file's options by their Python names; `-` and `_` are the same in a key.

    Raises TraceError for a file that is no YAML mapping and for an unknown key.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    if not isinstance(loaded, dict):
        raise TraceError("not a YAML mapping", file=path, remedy="write `key: value` lines")
    options = {}
    for key, value in loaded.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise TraceError(f"unknown key '{key}'", file=path, remedy=remedy)
        options[name] = [_inline(v) for v in value] if isinstance(value, list) else _inline(value)
    return options


def _inline(value: Any) -> Any:
    """A component written as a mapping, in the inline form; anything else as it is."""
    if not isinstance(value, dict) or "name" not in value:
        return value
    options = {k: v for k, v in value.items() if k != "name"}
    words = [
        f"{k}={'/'.join(map(str, v)) if isinstance(v, list) else v}" for k, v in options.items()
    ]
    return str(value["name"]) + (":" + ",".join(words) if words else "")
