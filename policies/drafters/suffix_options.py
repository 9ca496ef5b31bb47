"""Options that every drafter has that looks things up by SuffixDecoding's rule."""

from __future__ import annotations

from typing import Any

from ..registry import option


def depth() -> Any:
    """How far a suffix tree reaches."""
    help = "longest string counted, match and draft together"
    return option(24, help, low=2, high=256, unit="tokens")


def factor() -> Any:
    """How far a match carries."""
    return option(1.0, "draft at most factor x match length", low=0.0)


def min_prob() -> Any:
    """Where a draft ends."""
    return option(0.1, "stop a draft when its probability falls below", low=0.0, high=1.0)


def longest() -> Any:
    """K."""
    return option(16, "longest draft", low=0, high=128, unit="tokens")


def paths() -> Any:
    """How much a draft branches."""
    help = "continuations drafted at once; above 1 a draft is a tree"
    return option(1, help, low=1, high=128)
