"""Specifications of components for people, as far as they can be made out here."""

from __future__ import annotations

import re
from pathlib import Path

from ...policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from ...policies.latency.presets import LATENCIES, make_latency, name_latency
from ...policies.registry import Registry, brief
from .folder import UNREADABLE

REGISTRIES = {
    "drafter": DRAFTERS, "budget": BUDGETS, "placement": PLACEMENTS, "latency": LATENCIES,
}  # fmt: skip
MEASURED = "calibrat"  # how the name of a latency that was measured begins


def short(kind: str, spec: object) -> str:
    """A component without what is at its default; as it stands where that is not known here."""
    text = str(spec)
    file = re.search(r"(?:^calibrated:(?:.*,)?file=|^)([^,:]*\.json)(?:,|$)", text)
    if kind == "latency" and file:
        return f"calibration {Path(file[1]).name}"
    registry: Registry | None = REGISTRIES.get(kind)
    if registry is None or not can_be_made(text):
        return text
    try:
        return name_latency(make_latency(text)) if kind == "latency" else brief(registry.make(text))
    except UNREADABLE:
        return text


def can_be_made(spec: str) -> bool:
    """Whether what a specification names as a file, if anything, can be opened without waiting."""
    for value in re.findall(r"=([^,]+)", spec):
        try:
            if Path(value).exists() and not Path(value).is_file():
                return False
        except UNREADABLE:
            return False
    return True


def is_prior(latency: str) -> bool:
    """Whether a latency's name says that nobody measured it here."""
    return not latency.startswith(MEASURED)


def policy(drafter: object, budget: object) -> str:
    """Both in one, as the command line takes them; a budget means nothing without a drafter."""
    named = short("drafter", drafter)
    return named if named == "none" else f"{named}/{short('budget', budget)}"
