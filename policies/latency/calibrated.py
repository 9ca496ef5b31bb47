"""What `longtail calibrate` measured, as a latency model: a file per engine, model, machine."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..drafters.none import NoDrafter
from ..measured import checked_digest
from ..registry import ComponentError, brief, option
from . import ARGUMENTS
from .linear import Linear
from .piecewise import Piecewise
from .table import Table

NOTHING = Linear(base=0.0, token=0.0)
NO_DRAFTS = NoDrafter()
FORMS: dict[str, Any] = {form.name: form for form in (Linear, Piecewise, Table)}
VERSION = 1
SLOW = 1.1
DRAFT = ("base", "request", "draft")
NEEDED = (
    "forward", "host", "draft", "speculating", "all_speculate", "captured", "covered", "probe",
    "engine", "runs",
)  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """A measured model for one drafter: `seconds` and `params` as any latency model's."""

    seconds: Any
    params: np.ndarray
    covered: np.ndarray  # float64[5, 2], see policies/latency
    notes: tuple[str, ...]  # what of it was not measured
    host: Linear  # the host's part of it, drafting included

    def host_s(self, *counts: int) -> float:
        """Seconds of the host's part, of the same counts as `seconds`."""
        return float(self.host.seconds(*counts, self.host.params))


@dataclass(frozen=True)
class Calibrated:
    """Seconds fitted to live runs: the forward, the host's part, and what each drafter costs.

    A calibration's path alone is the same as `calibrated:file=PATH`. Results say how many of their
    forwards lie outside what was measured.
    """

    name: ClassVar[str] = "calibrated"
    source: ClassVar[str] = "longtail calibrate: the engine, model and machine named in the file"

    file: str = option("", "what `longtail calibrate` wrote", always=True)
    digest: str = option("", "of the file; another content is refused")

    def __post_init__(self) -> None:
        if not self.file:
            return  # listed, not used
        remedy = "write it with `longtail calibrate`"
        found = checked_digest(self.file, self.digest, remedy, reserved=",")
        object.__setattr__(self, "digest", found)
        _read(self.file, found)

    @property
    def content(self) -> Mapping[str, Any]:
        """What is in the file."""
        if not self.file:
            raise ComponentError("calibrated: give the file, as in calibrated:file=model.json")
        return _read(self.file, self.digest)

    def bind(self, drafter: Any) -> Bound:
        """With the cost of this drafter, or of no speculation for one that never drafts."""
        return bind_content(self.content, drafter)

    @property
    def seconds(self) -> Any:
        """The compiled function, see policies/latency."""
        return FORMS[self.content["forward"]["name"]].seconds

    @property
    def params(self) -> np.ndarray:
        """Those of no speculation."""
        return self.bind(NO_DRAFTS).params


def kind(speculates: bool) -> str:
    """Of an engine: whether it was started to verify drafts."""
    return "speculating" if speculates else "plain"


def bind_content(content: Mapping[str, Any], drafter: Any) -> Bound:
    """What is in a file, for one drafter."""
    notes = []
    speculates = drafter.longest_draft > 0
    extra = content["speculating"]
    if extra is None and speculates != content["all_speculate"]:
        which = "that verifies drafts" if speculates else "without speculation"
        notes.append(f"an engine {which} was not measured")
    slow = content["probe"]["slow"]
    if slow > SLOW and content["probe"]["follows"]["model"]:
        notes.append(
            f"seconds are those of the quiet machine; it was {slow:.2f} times slower on average "
            "while it was calibrated"
        )
    draft, note = _draft_cost(content["draft"], drafter)
    notes += [note] if note else []
    given: dict[str, Any] = content["forward"]
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    captured: Mapping[str, list[float]] = content["captured"]
    sizes = captured.get(kind(speculates)) or next(iter(captured.values()), [])
    if "capture" in options:
        options["capture"] = tuple(sizes)
    model = FORMS[str(options.pop("name"))](**options)
    if extra is not None and speculates:
        model = plus(model, **extra)
    host = plus(plus(NOTHING, **content["host"]), **draft)
    model = plus(plus(model, **content["host"]), **draft)
    covered = np.array([content["covered"][name] for name in ARGUMENTS], float)
    return Bound(model.seconds, model.params, covered, tuple(notes), host)


def plus(
    model: Any, base: float = 0.0, token: float = 0.0, request: float = 0.0, draft: float = 0.0
) -> Any:
    """The model with so much more for each."""
    terms = {"request": model.request + request, "draft": model.draft + draft}
    if isinstance(model, Linear):
        return replace(model, base=model.base + base, token=model.token + token, **terms)
    nodes = np.repeat(model.tokens, len(model.time) // len(model.tokens))
    time = tuple(float(t + base + token * x) for t, x in zip(model.time, nodes, strict=True))
    return replace(model, time=time, **terms)


def _draft_cost(costs: Mapping[str, Mapping[str, float]], drafter: Any) -> tuple[dict, str]:
    """Of this drafter; of its kind, or of all kinds on average, where it was not measured itself;
    and a note if so.
    """
    name = brief(drafter)
    if name in costs:
        return dict(costs[name]), ""
    if drafter.longest_draft == 0 or not getattr(drafter, "needs_tokens", True):
        return {}, ""  # a model's cost is the drafter's own
    if hasattr(drafter, "members"):
        parts = [_draft_cost(costs, member) for member in drafter.members]
        added = {key: sum(cost.get(key, 0.0) for cost, _ in parts) for key in DRAFT}
        return added, "; ".join(note for _, note in parts if note)
    others = {key: cost for key, cost in costs.items() if key != "none"}
    alike = {key: cost for key, cost in others.items() if key.partition(":")[0] == drafter.name}
    if not others:
        return {}, f"what drafting with {name} costs was not measured: it is taken to be free"
    used = alike or others
    mean = {key: float(np.mean([cost[key] for cost in used.values()])) for key in DRAFT}
    return mean, f"what drafting with {name} costs was not measured: as with {', '.join(used)}"


def _sound(value: Any) -> bool:
    """Whether all numbers in it are seconds that can be: a clock that stands still never ends."""
    if isinstance(value, Mapping):
        return all(map(_sound, value.values()))
    if isinstance(value, list):
        return all(map(_sound, value))
    if isinstance(value, int | float):
        return math.isfinite(value) and value >= 0
    return True


@functools.lru_cache(maxsize=16)
def _read(path: str, digest: str) -> Mapping[str, Any]:
    try:
        content = json.loads(Path(path).read_text())
        version = content["longtail_calibration"]
        whole = version == VERSION and _whole(content)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        version, whole = VERSION, False
    if version != VERSION:
        raise ComponentError(
            f"{path} is of version {version}, this reads {VERSION}: calibrate again"
        )
    if not whole:
        raise ComponentError(f"{path} is no calibration; write one with `longtail calibrate`")
    return dict(content)


def _whole(content: Mapping[str, Any]) -> bool:
    """Whether everything is there that a clock needs; raises where something is of another kind."""
    form = FORMS[content["forward"]["name"]]
    parts = [
        {*NEEDED} <= {*content},
        {*ARGUMENTS} <= {*content["covered"]},
        {*content["forward"]} == {"name", *(f.name for f in dataclasses.fields(form))},
        all({*DRAFT} <= {*cost} for cost in content["draft"].values()),
        all(_sound(content[part]) for part in ("forward", "host", "draft", "speculating")),
    ]
    return all(parts) and bool(bind_content(content, NO_DRAFTS))
