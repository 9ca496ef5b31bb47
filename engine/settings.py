"""What the live engine is told: one policy file, or the same keys as a mapping.

In: YAML such as

    drafter: suffix:scope=both,window=8
    budget: das
    latency: h100-7b        # what the budget is told a forward costs
    log: steps/             # one row per forward
    record: rollouts/       # a trace per RL step
    history: earlier.parquet # a trace, or a folder of them, to learn from at the start
    coupled: true           # sampled tokens are a function of (seed, prompt, position)
    longest_draft: 8        # K, at most the drafter's own
    rl_step_file: step.txt  # holds the current RL step; replace it, do not rewrite it in place

Paths are relative to the working directory of the program that starts vLLM.

Out: the same drafter, budget, placement and latency objects that the simulator runs. Needs no vLLM.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..policies.batch import MAX_DRAFT
from ..policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from ..policies.config import read_config
from ..policies.latency.presets import make_latency
from ..policies.registry import ComponentError, brief, spec_of
from ..traces.schema import TraceError
from ..traces.select import traces_in
from ..traces.store import Trace, open_trace

MAKE = {
    "drafter": DRAFTERS.make,
    "budget": BUDGETS.make,
    "placement": PLACEMENTS.make,
    "latency": make_latency,
}


@dataclass(frozen=True)
class LiveSettings:
    """A policy and what to keep of its run; components by name or ready made."""

    drafter: Any = "none"
    budget: Any = "unlimited"
    placement: Any = "fcfs"
    latency: Any = "h100-7b"
    longest_draft: int | None = None  # K, at most the drafter's own (its default) and 128
    coupled: bool = False  # sampled tokens are a function of (seed, prompt, position)
    log: Path | None = None  # folder of the step log
    record: Path | None = None  # folder of the recorded rollouts, a trace per RL step
    history: Path | None = None  # a trace, or a folder of traces, to learn from at the start
    rl_step_file: Path | None = None  # a file whose content is the current RL step
    source: str = field(default="arguments", compare=False)  # where this was read

    def __post_init__(self) -> None:
        for name, make in MAKE.items():
            value = getattr(self, name)
            if isinstance(value, str | Mapping):
                object.__setattr__(self, name, make(value))
            elif not hasattr(value, "name"):
                raise ComponentError(
                    f"{name} must be written as name:key=value,… or as a mapping, got {value!r}"
                )
        for name in ("log", "record", "history", "rl_step_file"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, str | Path) or not str(value):
                    raise ComponentError(f"{name} must be a path, got {value!r}")
                try:
                    object.__setattr__(self, name, Path(value).expanduser())
                except RuntimeError as error:
                    raise ComponentError(f"{name}: {value}: {error}") from None
        self._check_drafter()
        if getattr(self.budget, "knows_lengths", False):
            raise ComponentError(
                f"budget '{brief(self.budget)}' knows how long rollouts will be, which no engine "
                "can: choose other lengths, or simulate it"
            )
        if not getattr(self.budget, "in_engine", True):
            raise ComponentError(
                f"budget '{self.budget.name}' prefills everybody again when it switches, which no "
                "engine can be asked to do: use switch=free, or simulate it"
            )
        if not isinstance(self.coupled, bool):
            raise ComponentError(f"coupled must be true or false, got {self.coupled!r}")
        k = self.longest_draft
        if k is None:
            object.__setattr__(self, "longest_draft", self.drafter.longest_draft)
        elif not isinstance(k, int) or isinstance(k, bool) or not 0 <= k <= MAX_DRAFT:
            raise ComponentError(
                f"longest_draft must be an integer from 0 to {MAX_DRAFT} (the longest draft that "
                f"vLLM verifies), got {k!r}"
            )
        else:
            object.__setattr__(self, "longest_draft", min(k, self.drafter.longest_draft))
        if self.k > MAX_DRAFT:
            raise ComponentError(
                f"drafter '{self.drafter.name}' drafts up to {self.k} tokens; vLLM verifies at "
                f"most {MAX_DRAFT}"
            )

    def _check_drafter(self) -> None:
        """Refuse what cannot draft in an engine."""
        name = self.drafter.name
        if not getattr(self.drafter, "in_engine", True):
            raise ComponentError(
                f"drafter '{name}' cannot draft in an engine: it is a table in place of a model, "
                "or verifies whole responses; simulate it, or run vLLM's own method"
            )
        if getattr(self.drafter, "trees", False):
            raise ComponentError(
                f"drafter '{name}' drafts trees, and vLLM verifies chains: use paths=1"
            )

    @property
    def k(self) -> int:
        """The longest draft, tokens; 0 is no speculation."""
        assert self.longest_draft is not None
        return self.longest_draft

    @classmethod
    def read(cls, path: str | Path) -> LiveSettings:
        """From a policy file. Raises TraceError or ComponentError naming what is wrong with it."""
        path = Path(path)
        values = read_config(path, KEYS)
        try:
            return cls(**values, source=str(path))
        except ComponentError as error:
            for name, make in MAKE.items():
                if name in values:
                    values.check(name, make)  # which names the row
            raise ComponentError(f"{path}: {error}") from None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> LiveSettings:
        """From a mapping with the keys of a policy file. Raises ComponentError."""
        if not isinstance(values, Mapping):
            raise ComponentError(f"a policy is a mapping of {', '.join(KEYS)}; got {values!r}")
        for key in values:
            if key not in KEYS:
                near = difflib.get_close_matches(str(key), KEYS, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(KEYS)}"
                raise ComponentError(f"unknown key '{key}' of a policy; {hint}")
        return cls(**values)

    def open_history(self) -> list[Trace]:
        """The traces to learn from. Raises TraceError where `history` names none."""
        if self.history is None:
            return []
        paths = traces_in(self.history) if self.history.is_dir() else [self.history]
        if not paths:
            raise TraceError(
                "no traces here to learn from",
                file=self.history,
                remedy="name a trace, or a folder that a policy has recorded to",
            )
        return [open_trace(path) for path in paths]

    def to_dict(self) -> dict[str, Any]:
        """The mapping that `of` takes back; JSON types only."""
        values: dict[str, Any] = {
            name: spec_of(getattr(self, name))
            for name in ("drafter", "budget", "placement", "latency")
        }
        for name in ("longest_draft", "coupled"):
            values[name] = getattr(self, name)
        for name in ("log", "record", "history", "rl_step_file"):
            value = getattr(self, name)
            values |= {name: str(value.absolute())} if value is not None else {}
        return values


KEYS = [f.name for f in fields(LiveSettings) if f.name != "source"]
