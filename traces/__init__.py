"""Traces: what an RL run recorded, stored as one Parquet file with one row per rollout.

This room knows files and arrays; it knows nothing of drafters, schedulers or time to come. Names
are loaded when first used, so that importing the package stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rollouts import Lengths, Rollouts, Tokens
    from .sample import find_trace, sample_path
    from .schema import TraceError, TraceMeta
    from .store import Trace, open_trace
    from .writer import TraceWriter, rollout_table

_HOMES = {
    "Lengths": "rollouts",
    "Rollouts": "rollouts",
    "Tokens": "rollouts",
    "find_trace": "sample",
    "sample_path": "sample",
    "TraceError": "schema",
    "TraceMeta": "schema",
    "Trace": "store",
    "open_trace": "store",
    "TraceWriter": "writer",
    "rollout_table": "writer",
}

__all__ = [
    "Lengths",
    "Rollouts",
    "Tokens",
    "Trace",
    "TraceError",
    "TraceMeta",
    "TraceWriter",
    "find_trace",
    "open_trace",
    "rollout_table",
    "sample_path",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
