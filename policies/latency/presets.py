"""Named latency models. Each is a prior from a paper or a datasheet, never a calibration, and says
from where.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..registry import ComponentError, Registry, brief

LATENCIES = Registry("latency", "longtail.policies.latency")

TLT = "TLT Table 2 (Qwen2.5-7B, one request, no speculation; transcribed) for the base"
PRESETS: dict[str, tuple[str, str]] = {
    "h100-7b": (
        "linear:base=9.5e-3,token=25e-6",
        "DAS Fig. 8, global fit 0-3,600 tokens, R1-Distill-Qwen-7B on H100 (prior)",
    ),
    "h100-7b-points": (
        "piecewise",
        "DAS Fig. 8, its digitized points with the knee near 512 tokens (prior)",
    ),
    "h200-7b": ("roofline:model=qwen2.5-7b,gpu=h200", "datasheet, Qwen2.5-7B on H200 (prior)"),
    "h200-32b": ("roofline:model=qwen2.5-32b,gpu=h200", "datasheet, Qwen2.5-32B on H200 (prior)"),
    "tlt-7b-b200": (
        "roofline:model=qwen2.5-7b,gpu=b200,base=1.91e-3",
        f"datasheet for the slopes, {TLT}: 259.71 tokens/s on B200 (prior)",
    ),
    "tlt-7b-h100": (
        "roofline:model=qwen2.5-7b,gpu=h100,base=1.44e-3",
        f"datasheet for the slopes, {TLT}: 164.65 tokens/s on H100 (prior)",
    ),
    "tlt-7b-a100": (
        "roofline:model=qwen2.5-7b,gpu=a100,base=3.15e-3",
        f"datasheet for the slopes, {TLT}: 92.83 tokens/s on A100 (prior)",
    ),
    "tlt-32b": (
        "linear:base=8.2e-3,token=13.1e-6",
        "TLT Table 4 over Fig. 13a (Qwen2.5-32B, TP 4; transcribed): a token costs 0.0016 of the "
        "base (24 points, 5 % mean error, a drafting round being 1.24 of it); the base is the "
        "roofline's for H100 (prior)",
    ),
}


def make_latency(spec: Any) -> Any:
    """A latency model from `name:key=value,…`, a preset in place of the name, a calibration's path,
    or a mapping; one that is made already is itself.

    Raises ComponentError for an unknown name or option.
    """
    if hasattr(spec, "seconds"):
        return spec
    if isinstance(spec, Mapping) and spec.get("name") in PRESETS:
        options = ",".join(f"{key}={value}" for key, value in spec.items() if key != "name")
        spec = f"{spec['name']}:{options}" if options else str(spec["name"])
    if isinstance(spec, str):
        if spec.endswith(".json") and (
            ":" not in spec or Path(spec).is_file()
        ):  # what `longtail calibrate` wrote
            return LATENCIES.make({"name": "calibrated", "file": str(Path(spec).absolute())})
        name, _, options = spec.partition(":")
        if name in PRESETS:
            base = PRESETS[name][0]
            spec = f"{base}{',' if ':' in base else ':'}{options}" if options else base
        elif name not in LATENCIES.classes:
            near = difflib.get_close_matches(name, [*PRESETS, *LATENCIES.classes], n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ComponentError(
                f"unknown latency '{name}'{hint}; presets: {', '.join(PRESETS)}; "
                f"models: {', '.join(LATENCIES.classes)}; or a calibration, as in model.json"
            )
    return LATENCIES.make(spec)


def name_latency(latency: Any) -> str:
    """What to call a latency model for people: its preset, else what was configured."""
    if latency.name == "calibrated":
        return f"calibration {Path(latency.file).name}"
    for name in PRESETS:
        if make_latency(name) == latency:
            return f"{name} (prior)"
    return brief(latency)
