"""TLT: a rollout with its switch at 32 requests, static table and bandit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...sim.step import StepResult
from ...sim.workload import Workload
from ..claim import Claim, near
from ..curves import active_curve
from ..page import Part, Picture, Section, Table
from ..style import COLOURS, MARKERS, look, new_figure
from .lab import Lab, part
from .tlt_bandit import ARMS, BANDITS, arms_pulled
from .tlt_grid import Grid

CASE, CASE_SPEEDUP = 128, 2.44  # the paper's case study: requests, speed-up
LIMIT = 32
NONE, ALWAYS = "no drafts", "48 always"
PAPER_SWITCH = f"48 below {LIMIT} requests (paper)"
REPREFILL = f"48 from {LIMIT} requests, prefilled again"
FREE = f"48 from {LIMIT} requests, switched for nothing"
LEARNING = f"bandit from {LIMIT} requests, as released"
SHIPPED, STATIC = f"static table from {LIMIT} requests (released)", "static table always"


def rollout_part(lab: Lab, setting: Mapping[str, Any], theirs: Grid, ours: Grid) -> Part:
    """theirs, ours: Table 4; setting: latency, and drafter with trees of the most tokens."""
    found = rollouts(lab, part(lab.load, CASE), setting, schedules(theirs, ours))
    words = limit_words(found[NONE], float(theirs.values.max()))
    return Part(case_claims(found, words), [case_section(lab, found, words)])


def case_claims(found: Mapping[str, StepResult], words: str) -> list[Claim]:
    """The case study."""
    count, enough = found[NONE].requests, found[NONE].requests >= CASE
    gain = found[NONE].makespan_s / found[PAPER_SWITCH].makespan_s
    return [
        Claim(f"Case study: {CASE} requests, drafts for the last {LIMIT - 1} only", "case study",
              near(CASE_SPEEDUP, 0.2, "{:.2f}x"), CASE_SPEEDUP, gain if enough else None,
              "{:.2f}x",
              words if enough else f"the trace has {count} requests in its last RL step"),
    ]  # fmt: skip


def limit_words(plain: StepResult, best: float) -> str:
    """How much a switch can gain here, and how much there has to be for theirs."""
    return (
        f"a switch at {LIMIT} requests can only speed up what comes after it: "
        f"{tail_share(plain, LIMIT):.0%} of the seconds without drafts here. Even at {best:.2f}x, "
        f"the best of Table 4, {CASE_SPEEDUP}x needs {needed_share(CASE_SPEEDUP, best):.0%}"
    )


def schedules(theirs: Grid, ours: Grid) -> dict[str, str]:
    """The best of either Table 4 at each batch size, as budgets."""
    return {
        f"best of {who} at each batch": "schedule:ranges=" + ranges(grid)
        for who, grid in (("theirs", theirs), ("ours", ours))
    }


def ranges(grid: Grid) -> str:
    """`1-1:63_2-3:47_…`: from each batch size up to the next one its best draft length."""
    ends = [batch - 1 for batch in grid.batches[1:]] + [4096]
    return "_".join(
        f"{start}-{end}:{best - 1}"
        for start, end, best in zip(grid.batches, ends, grid.bests, strict=True)
    )


def rollouts(
    lab: Lab, load: Workload, setting: Mapping[str, Any], more: Mapping[str, str]
) -> dict[str, StepResult]:
    """The last RL step of the trace under each policy."""
    switch = f"threshold:k=47,limit={LIMIT}"
    budgets = {
        ALWAYS: "fixed:k=47",
        PAPER_SWITCH: f"threshold:k=47,limit={LIMIT - 1},patience=1,switch=free",
        REPREFILL: switch,
        FREE: f"{switch},switch=free",
        SHIPPED: f"beg_mab:limit={LIMIT}",
        STATIC: "beg_mab",
        **{f"bandit from {LIMIT} requests, as {form}": f"{budget},limit={LIMIT},switch=free"
           for form, budget in BANDITS.items()},
        **more,
    }  # fmt: skip
    last = lab.load.rl_steps[-1:]
    (plain,) = lab.run(load, last, latency=setting["latency"])
    found = {NONE: plain}
    for name, budget in budgets.items():
        (found[name],) = lab.run(load, last, log=name == LEARNING, budget=budget, **setting)
    return found


def tail_share(step: StepResult, limit: int) -> float:
    """Share of the makespan with fewer than `limit` requests left."""
    seconds, left = active_curve(step)
    return float(1 - seconds[np.argmax(left < limit)] / step.makespan_s)


def needed_share(speedup: float, inside: float) -> float:
    """Share of the seconds that must become `inside` times faster for all to be `speedup` times."""
    return (1 - 1 / speedup) / (1 - 1 / inside)


def case_section(lab: Lab, rollout: Mapping[str, StepResult], words: str) -> Section:
    """Makespans, and who is left when."""
    plain = rollout[NONE].makespan_s
    best = min(step.makespan_s for step in rollout.values())
    rows = [
        {"policy": name, "seconds": step.makespan_s, "speed-up": plain / step.makespan_s,
         "over the best": step.makespan_s / best - 1,
         "draft tokens per output token": step.draft_tokens / step.output_tokens}
        for name, step in rollout.items()
    ]  # fmt: skip
    count = rollout[NONE].requests
    forms = {"seconds": "{:.2f}", "speed-up": "{:.2f}x", "over the best": "{:.1%}",
             "draft tokens per output token": "{:.1f}"}  # fmt: skip
    drawn = rollout_drawn({name: rollout[name] for name in (NONE, PAPER_SWITCH, SHIPPED, STATIC)},
                          rollout[LEARNING])  # fmt: skip
    return Section(
        f"A rollout: the switch at {LIMIT} requests",
        f"The last RL step of the trace ({lab.caption}), its first {count} requests on one "
        f"replica. The paper's case study has {CASE}, and reports {CASE_SPEEDUP}x; {words}. The "
        "last two rows "
        f"go on beyond {LIMIT} requests with what is best at {LIMIT}. " + tried(rollout[LEARNING]),
        [Table("rollout", f"{count} requests", pd.DataFrame(rows), None, forms)],
        [Picture("rollout", "Requests left over time, and the bandit's sizes",
                 lambda: draw_rollout(drawn, lab.caption), drawn)],
    )  # fmt: skip


def tried(step: StepResult) -> str:
    """How much there was to learn, and to learn it in."""
    assert step.log is not None
    drafting = step.log[step.log.drafted > 0]
    sizes = drafting.requests.nunique()
    return (
        f"The released bandit keeps what it learns by batch size: it met {sizes} of them in "
        f"{len(drafting)} forwards with drafts, {len(ARMS) * sizes} pairs of batch size and arm."
    )


def rollout_drawn(found: Mapping[str, StepResult], learning: StepResult) -> pd.DataFrame:
    """Columns policy, seconds, requests, verify: requests not yet finished from then on; of the
    bandit those in each forward with drafts, and how many tokens it verified.
    """
    frames = []
    for name, step in found.items():
        seconds, left = active_curve(step)
        frames.append(pd.DataFrame({"policy": name, "seconds": seconds, "requests": left}))
    assert learning.log is not None
    log = learning.log[learning.log.drafted > 0]
    pulls = log[["begin_s", "requests"]].rename(columns={"begin_s": "seconds"})
    frames.append(pulls.assign(policy=LEARNING, verify=arms_pulled(log)))
    return pd.concat(frames, ignore_index=True)


def draw_rollout(drawn: pd.DataFrame, caption: str) -> Figure:
    """Requests not yet finished over time, and beside it what the bandit verified when."""
    figure, (axes, arms) = new_figure(
        "TLT's switch, static table and bandit on a rollout",
        f"{caption}; simulated, Qwen2.5-32B's roofline (prior) and TLT's acceptance",
        width=11, panels=2,
    )  # fmt: skip
    pulls = drawn[drawn.policy == LEARNING]
    for i, (name, mine) in enumerate(drawn.drop(pulls.index).groupby("policy", sort=False)):
        words = f"{name}  {mine.seconds.max():.1f} s"
        axes.plot(mine.seconds, mine.requests, drawstyle="steps-post", label=words, **look(i))
    axes.set(ylabel="requests not yet finished", xlim=(0, None), title="requests left")
    axes.legend(fontsize=8, loc="upper right")
    for i, verify in enumerate(ARMS):
        mine = pulls[pulls.verify == verify]
        arms.plot(mine.seconds, mine.requests, linestyle="none", marker=MARKERS[i + 1],
                  markersize=4, color=COLOURS[i + 1], label=f"{verify} tokens")  # fmt: skip
    arms.set(ylabel="requests in the forward", title=LEARNING)
    arms.legend(fontsize=8, loc="upper right", title="tokens to verify", title_fontsize=8)
    for panel in (axes, arms):
        panel.set(xlabel="time since the RL step began [s]", ylim=(0, 1.4 * panel.dataLim.y1))
        if panel.dataLim.y1 >= LIMIT:
            panel.axhline(LIMIT, color="#888888", linewidth=1)
    return figure
