"""Named latency models. Each is a prior read off a paper, never a calibration, and says from
where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...policies.registry import Registry

LATENCIES = Registry("latency", "longtail.sim.latency")

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
    """A latency model from a preset's name, `name:key=value,…`, or a mapping with the key
    `name`.
    """
    if isinstance(spec, str) and spec in PRESETS:
        spec = PRESETS[spec][0]
    return LATENCIES.make(spec)
