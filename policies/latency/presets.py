"""Named latency models. Each is a prior read off a paper, never a calibration, and says from
where.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..registry import ComponentError, Registry, brief

LATENCIES = Registry("latency", "longtail.policies.latency")

PRESETS: dict[str, tuple[str, str]] = {
    "h100-7b": (
        "linear:base=9.5e-3,token=25e-6",
        "DAS Fig. 8, global fit 0-3,600 tokens, R1-Distill-Qwen-7B on H100 (prior)",
    ),
    "h100-7b-points": (
        "piecewise",
        "DAS Fig. 8, its digitized points with the knee near 512 tokens (prior)",
    ),
}


def make_latency(spec: str | Mapping[str, Any]) -> Any:
    """A latency model from `name:key=value,…`, a preset in place of the name, or a mapping.

    Raises ComponentError for an unknown name or option.
    """
    if isinstance(spec, Mapping) and spec.get("name") in PRESETS:
        options = ",".join(f"{key}={value}" for key, value in spec.items() if key != "name")
        spec = f"{spec['name']}:{options}" if options else str(spec["name"])
    if isinstance(spec, str):
        name, _, options = spec.partition(":")
        if name in PRESETS:
            base = PRESETS[name][0]
            spec = f"{base}{',' if ':' in base else ':'}{options}" if options else base
        elif name not in LATENCIES.classes:
            near = difflib.get_close_matches(name, [*PRESETS, *LATENCIES.classes], n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ComponentError(
                f"unknown latency '{name}'{hint}; presets: {', '.join(PRESETS)}; "
                f"models: {', '.join(LATENCIES.classes)}"
            )
    return LATENCIES.make(spec)


def name_latency(latency: Any) -> str:
    """What to call a latency model for people: its preset, else what was configured."""
    for name in PRESETS:
        if make_latency(name) == latency:
            return f"{name} (prior)"
    return brief(latency)
