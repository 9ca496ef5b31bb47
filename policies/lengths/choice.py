"""The options of a policy that looks ahead: which predictor, and the predictor's own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..registry import option
from . import PREDICTORS
from .mixture import Mixture


@dataclass(frozen=True)
class Foresight:
    """To be inherited from by such a policy, whose `plan` asks `predictor` for its own."""

    lengths: str = option(
        "mixture", "what foresees lengths: policies/lengths", choices=tuple(PREDICTORS.classes)
    )
    general: float = option(
        Mixture.general,
        "mixture: weight of everybody's lengths beside the prompt's own",
        low=0.0,
        high=0.99,
    )
    spread: float = option(
        Mixture.spread, "mixture: of lengths around known ones, standard deviation of log", low=0.0
    )
    seed: int = option(0, "noise: another one, other lengths", low=0)

    @property
    def predictor(self) -> Any:
        """The one chosen, with those of these options that it has."""
        cls = PREDICTORS.classes[self.lengths]
        return cls(**{f.name: getattr(self, f.name) for f in fields(cls) if hasattr(self, f.name)})

    @property
    def knows_lengths(self) -> bool:
        """Whether it has to be told how long every rollout will be (`StepView.recorded_len`)."""
        return bool(getattr(self.predictor, "knows_lengths", False))

    @property
    def in_engine(self) -> bool:
        """Whether an engine can do it: none knows how long rollouts will be."""
        return not self.knows_lengths

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of results with it."""
        told = f"lengths={self.lengths}: the budget is told how long every rollout will be"
        return (f"{told}, which no engine knows; a bound, not a policy",) * self.knows_lengths
