"""How vLLM's own methods are extended: once, whoever asks for it and how often."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def wrap_once(owner: type, name: str, extended: Callable[[Callable[..., Any]], Any]) -> None:
    """Replace `owner.name` by what `extended` makes of it, unless that was done already."""
    original = getattr(owner, name)
    if not getattr(original, "longtail", False):
        wrapped = functools.wraps(original)(extended(original))
        wrapped.longtail = True  # type: ignore[attr-defined]
        setattr(owner, name, wrapped)
