"""Length predictors on recorded rollouts: how good they are, and what they buy.

`python -m tests.bench.lengths T.parquet …` takes other traces than the bundled sample. All RL steps
but the first are judged, with the ones before as history. First the pinball loss: all rollouts of
an RL step begin at once and grow by a token per forward; at some moments, those still running are
foreseen (mean loss of the quantiles, percent of the mean that is really left). Then the regret of
the budget `tail` with each of them, as `longtail budgets` simulates it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import longtail
from longtail.analysis.budgets import BEST, Plan, study
from longtail.analysis.budgets_page import ranked
from longtail.policies.batch import DECODING, empty_batch
from longtail.policies.lengths import PREDICTORS
from longtail.policies.lengths.ahead import left_of
from longtail.policies.lengths.known import SCENES
from longtail.policies.profile import blank_profile
from longtail.policies.view import StepView
from longtail.sim.workload import Workload
from longtail.traces import find_trace

DRAFTER = "suffix:scope=both,max=16"
OTHERS = ("tail:lengths=oracle,trust=1", "tail:trust=0")
DONE = (0.0, 0.5, 0.9, 0.99)  # shares of the requests that have finished
LEVELS = (np.arange(SCENES) + 0.5) / SCENES


def main(traces: list[str]) -> None:
    """Two tables for each trace, a row per predictor."""
    for name in traces:
        load = Workload.from_trace(longtail.read_trace(str(find_trace(name))))
        print(f"\n{Path(name).name} ({load.provenance['origin']}): pinball loss in %")
        head("", [f"{share:.0%} done" for share in DONE])
        head("tokens really left", [f"{left:.0f}" for _, left in losses(load, "oracle")])
        for each in PREDICTORS.classes:
            show(each, [loss / max(left, 1e-9) for loss, left in losses(load, each)])
        budgets = [f"tail:lengths={each}" for each in PREDICTORS.classes]
        found = study(Plan.of([load], drafters=[DRAFTER], budgets=[*budgets, *OTHERS]))
        regret = ranked(found, load.provenance["trace"], DRAFTER).drop(BEST).sort_index(axis=1)
        print(f"\nregret in %, drafter {DRAFTER}")
        print((100 * regret).to_string(float_format="{:.1f}".format))


def show(name: str, cells: list[float]) -> None:
    """One line of percentages."""
    head(name, [f"{100 * cell:.1f}" for cell in cells])


def head(name: str, cells: list[str]) -> None:
    """One line of words."""
    print(f"{name:18}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def losses(load: Workload, spec: str) -> list[tuple[float, float]]:
    """For each moment of DONE the mean pinball loss and what is really left, tokens; NaN where
    nobody is left.
    """
    predictor, totals = PREDICTORS.make(spec), np.zeros((len(DONE), 3))
    profile = blank_profile(load.lengths.output_len)
    for step in load.rl_steps[1:]:
        requests = load.requests(step)
        length = requests.output_len
        view = StepView(
            step, requests.prompt, requests.prompt_len, requests.cap, 0,
            load.past(step, profile), lambda tokens, count: 0.0, recorded_len=length,
        )  # fmt: skip
        plan = predictor.plan(view)
        for row, share in zip(totals, DONE, strict=True):
            done = int(np.ceil(share * len(length)))
            now = int(np.sort(length)[done - 1]) if done else 0
            running = np.flatnonzero(length > now)
            batch = empty_batch(requests.prompt_len, requests.cap, requests.prompt)
            batch.generated[:] = np.minimum(length, now)
            batch.ended[:] = np.where(length > now, 0, length)
            batch.slots[: len(running)], batch.counts[DECODING] = running, len(running)
            real = (length[running] - now)[:, None]
            row += pinball(left_of(plan, batch), real), real.sum(), len(running)
    means = totals[:, :2] / np.where(totals[:, 2:], totals[:, 2:], np.nan)
    return [(float(loss), float(left)) for loss, left in means]


def pinball(left: np.ndarray, real: Any) -> float:
    """The sum over requests of the mean loss of their quantiles, tokens."""
    over = real - np.sort(left, axis=1)
    return float(np.maximum(LEVELS * over, (LEVELS - 1.0) * over).mean(axis=1).sum())


if __name__ == "__main__":
    main(sys.argv[1:] or ["sample"])
