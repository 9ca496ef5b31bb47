"""What a validation does not show; said with it, and kept with it."""

from __future__ import annotations

from collections.abc import Sequence

from .observations import LiveRun
from .ranking import rank
from .validate import Check

NOISY, SLOW, FAR = 0.05, 1.1, 0.05


def known_limitations(
    runs: Sequence[LiveRun], checks: Sequence[Check], left_out: Sequence[str]
) -> list[str]:
    """In plain words, the weightiest first."""
    told = []
    engine = runs[0].identity
    if "CPU" in str(engine["hardware"]):
        told.append(
            "measured on a CPU, where attention, scheduling and drafting have other proportions "
            "than on a GPU: nothing here was measured on a GPU"
        )
    if engine.get("load_format") == "dummy":
        told.append("the model's weights are dummies: seconds are those of its shape")
    if checks and len({check.cell[1:] for check in checks}) == 1:
        told.append("one set of rollouts and one batch size: only policies were held out")
    spreads = [c.spread for r in rank(checks) for c in r.cells if c.spread is not None]
    if checks and not spreads:
        told.append("no run was repeated: what part of an error is chance is not known")
    elif spreads and max(spreads) > NOISY:
        told.append(
            f"repeated runs differ by up to {max(spreads):.0%} (standard deviation), the machine's "
            "speed taken out: smaller errors may be chance"
        )
    slow = max((check.slow for check in checks), default=1.0)
    if slow > SLOW:
        told.append(
            f"other load slowed the machine up to {slow:.2f} times by the probe; makespans are "
            "compared at equal speed, and the probe is not exact"
        )
    seen = [abs(c.error) for r in rank(checks) for c in r.cells if not c.held_out]
    if seen and max(seen) > FAR:
        told.append(
            f"a policy that the calibration was fitted to is missed by {max(seen):.0%}, too: no "
            "fit of this form follows all of them"
        )
    outside = max((check.outside for check in checks), default=0.0)
    if outside:
        told.append(
            f"up to {outside:.1%} of a run's forwards are outside what its calibration measured"
        )
    told += sorted({note for check in checks for note in check.notes})
    late = [_before_first(run) for run in runs]
    if max(late, default=0.0) > FAR:
        told.append(
            "a makespan is from the first forward's begin to the last one's end; up to "
            f"{max(late):.0%} more passed in an RL step before and after (indexing of history, "
            "submission)"
        )
    if left_out:
        told.append(f"measured, not predicted (vLLM's own methods): {', '.join(left_out)}")
    if any(run.run.get("prefix_caching") for run in runs):
        told.append("the engine cached prefixes; the simulator computes every prompt whole")
    return told


def _before_first(run: LiveRun) -> float:
    """Share of the run's seconds, as its program counted them, that are in no forward."""
    total = sum(step["makespan_s"] for step in (run.summary or {}).get("steps", ()))
    inside = 0.0
    for _, log in run.forwards.groupby("rl_step"):
        inside += float((log.begin_s + log.forward_s).max() - log.begin_s.min())
    return max(total / inside - 1, 0.0) if inside and total else 0.0
