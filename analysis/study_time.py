"""How long a study of budgets would take, from a few points of each of its parts run now."""

from __future__ import annotations

from dataclasses import dataclass

from .budgets import Plan
from .sweep_time import SweepTime, clock, sweep_time


@dataclass(frozen=True)
class StudyTime:
    """What a study is made of, and the seconds expected of it."""

    parts: tuple[tuple[str, SweepTime], ...]  # by trace and requests at once

    @property
    def seconds(self) -> float:
        """Reading and compiling not included: they were done to know this."""
        return sum(time.seconds for _, time in self.parts)

    def __str__(self) -> str:
        lines = [
            f"{name}: {time.points:,} points ({time.drafters:,} drafters), RL steps: "
            f"{time.rl_steps:,}, bounds: {time.bounds:,}"
            for name, time in self.parts
        ]
        points, measured, profiles_s = (
            sum(getattr(time, name) for _, time in self.parts)
            for name in ("points", "measured", "profiles_s")
        )
        lines.append(
            f"expected: {points:,} points in about {clock(self.seconds)} with "
            f"{self.parts[0][1].jobs} jobs, of which profiles {clock(profiles_s)} "
            f"(from {measured} points run now); nothing written"
        )
        return "\n".join(lines)


def study_time(plan: Plan, *, jobs: int | None = None) -> StudyTime:
    """Run a few points of each part, see `sweep_time`. Raises what `study` raises for them."""
    times = [
        (part.name, sweep_time(part.load, part.setups, rl_steps=part.rl_steps, jobs=jobs))
        for part in plan.parts
    ]
    return StudyTime(tuple(times))
