"""DAS: forward latency (Fig. 8), the active batch (Fig. 1), savings (Fig. 10 to 13), eq. 7."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...policies.budgets.das_optimum import FORMS, draft_totals
from ...policies.components import DRAFTERS
from ...policies.latency.presets import make_latency
from ...sim.step import StepResult
from ..claim import Claim, at_least, at_most
from ..curves import active_curve
from ..page import Page, Picture, Section, Table
from ..style import look, new_figure
from . import das_savings, das_show
from .das_savings import LATENCY
from .lab import Lab, part, size
from .published import published

PRESETS = ("h100-7b", "h100-7b-points")
CURVE = 128  # requests of Fig. 1
CURVES = {"no speculation": ("none", "unlimited"), "DAS": ("das", "das")}
EXAMPLE = {"length": 8000.0, "capacity": 0.7, "alpha": 1.0, "forwards": 4000.0}  # of eq. 7


def reproduce_das(lab: Lab, command: str) -> Page:
    """The page. Raises what `simulate` raises, TraceError for a trace without tokens."""
    forward, curve = published("das_fig8").frame, published("das_fig1").frame
    latencies = latency_table(forward)
    load = part(lab.load, CURVE)
    steps = {
        name: lab.run(load, load.rl_steps[-1:], drafter=drafter, budget=budget, latency=LATENCY)[0]
        for name, (drafter, budget) in CURVES.items()
    }
    savings = das_savings.compare(lab)
    return Page(
        name="das",
        title="DAS beside our simulation",
        paper="DAS (Beat the long tail), arXiv 2511.13841, no official code found",
        command=command,
        setup=(
            f"Rollouts: {lab.caption}. Drafter `das` (suffix trees per problem over "
            f"{DRAFTERS.make('das').window} RL steps), budget `das` (eq. 6 solved as corrected, "
            "see the last section), all requests of an RL step at once on one replica, a forward "
            f"as in their Fig. 8 (`{LATENCY}`, a prior: KV caches cost nothing there, drafting "
            "neither). Acceptance is replayed on the rollouts. Their rollouts are of other "
            "models, prompts and lengths: seconds are theirs and ours, only shares can be "
            "compared."
        ),
        claims=[
            *latency_claims(latencies, forward),
            *draft_claims(published("das_fig5").frame),
            *curve_claims(curve, steps, size(load)),
            *savings.claims,
            *equation_claims(),
        ],
        sections=[
            latency_section(latencies, forward),
            curve_section(curve, steps, lab.caption),
            das_show.theirs_section(savings),
            das_show.ours_section(lab, savings),
            equation_section(),
        ],
        left_out=(
            "Fig. 4, 6 and 7 (acceptance by RL step, scope and window) and how long our drafter "
            "takes beside Fig. 5: `python -m tests.bench.drafters` measures these.",
            "Fig. 2 and 9, reward curves, and what updating the trees takes.",
        ),
    )


def latency_table(forward: pd.DataFrame) -> pd.DataFrame:
    """Fig. 8's points, our presets at them (milliseconds), and how far off each is."""
    table = forward.rename(columns={"tokens_in_forward": "tokens", "milliseconds": "theirs"})
    for name in PRESETS:
        model = make_latency(name)
        table[name] = [
            1e3 * model.seconds(int(n), 1, 0, 0, 0, 0, model.params) for n in table.tokens
        ]
        table[f"{name} error"] = table[name] / table.theirs - 1
    return table


def linear_fit(tokens: np.ndarray, milliseconds: np.ndarray) -> tuple[float, float]:
    """(c_base, c_tok) in milliseconds by least squares: eq. 1."""
    slope, base = np.polyfit(tokens, milliseconds, 1)
    return float(base), float(slope)


def latency_claims(table: pd.DataFrame, forward: pd.DataFrame) -> list[Claim]:
    """Eq. 1 on their points: fitted here, and as our preset has it."""
    tokens, theirs = (forward[c].to_numpy(float) for c in forward)
    base, slope = linear_fit(tokens, theirs)
    error = float(np.mean(np.abs((base + slope * tokens) / theirs - 1)))
    ours = float(table[f"{PRESETS[0]} error"].abs().mean())
    return [
        Claim("A forward is linear in its tokens, with a mean error of about 12 %", "eq. 1, Fig. 8",
              at_most(0.12, "{:.0%}"), error, ours, "{:.1%}",
              "few points were digitized, as many of them small as large; theirs are not known"),
    ]  # fmt: skip


def latency_section(table: pd.DataFrame, forward: pd.DataFrame) -> Section:
    """Points and presets."""
    base, slope = linear_fit(*(forward[c].to_numpy(float) for c in forward))
    forms = {f"{name} error": "{:+.1%}" for name in PRESETS} | dict.fromkeys(PRESETS, "{:.1f}")
    return Section(
        "Fig. 8: what a forward takes",
        f"{published('das_fig8').source}. A straight line through these points has a base of "
        f"{base:.1f} ms and {1e3 * slope:.1f} us per token: a base worth {base / slope:.0f} "
        "tokens. Our presets were read off this figure, so this only says how well.",
        [Table("fig8", "Milliseconds of a forward", table, None, forms)],
        [Picture("fig8", "Forward latency", lambda: draw_latency(forward))],
    )


def draw_latency(forward: pd.DataFrame) -> Figure:
    """Points and lines, all of them and the beginning."""
    figure, panels = new_figure(
        "Seconds of a forward by its tokens",
        "points: DAS Fig. 8, digitized (R1-Distill-Qwen-7B, H100); lines: our presets",
        width=10, panels=2, height=4,
    )  # fmt: skip
    for axes, most in zip(panels, (forward.tokens_in_forward.max(), 700), strict=True):
        tokens = np.arange(1, int(most) + 1, 2)
        for i, name in enumerate(PRESETS):
            model = make_latency(name)
            ms = [1e3 * model.seconds(int(n), 1, 0, 0, 0, 0, model.params) for n in tokens]
            axes.plot(tokens, ms, label=name, **look(i + 1))
        near_ones = forward[forward.tokens_in_forward <= most]
        axes.plot(near_ones.tokens_in_forward, near_ones.milliseconds, "o", color="#000000",
                  label="DAS Fig. 8")  # fmt: skip
        axes.set(xlabel="tokens in the forward", xlim=(0, None), ylim=(0, None))
    panels[0].set(ylabel="milliseconds", title="all")
    panels[1].set(title="up to 700 tokens")
    panels[0].legend(fontsize=8, loc="upper left")
    return figure


def draft_claims(draft: pd.DataFrame) -> list[Claim]:
    """Fig. 5: only their own figure can tell; seconds of drafting are not simulated."""
    ratio = draft.suffix_array_speculate_ms / draft.suffix_tree_speculate_ms
    return [
        Claim("Suffix trees draft 2 to 20 times as fast as suffix arrays (the smallest ratio; the "
              f"largest is {ratio.max():.1f}x)", "Fig. 5", at_least(2, "{:g}x"),
              float(ratio.min()), None, "{:.1f}x",
              "what drafting takes is measured, not simulated: `python -m tests.bench.drafters`"),
    ]  # fmt: skip


def area_under(seconds: np.ndarray, left: np.ndarray) -> float:
    """Request-seconds: what lies under a curve of points joined by straight lines."""
    return float(np.trapezoid(left, seconds))


def reach(curve: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A digitized curve up to where the last requests run: (seconds, requests). One is drawn to its
    zero and another is not.
    """
    there = curve[curve[name] > 0]
    return there.seconds.to_numpy(float), there[name].to_numpy(float)


def steps_of(step: StepResult) -> tuple[np.ndarray, np.ndarray]:
    """Our curve as corners of its steps."""
    seconds, left = active_curve(step)
    return np.repeat(seconds, 2)[1:], np.repeat(left, 2)[:-1]


def curve_numbers(curve: pd.DataFrame, steps: dict[str, StepResult]) -> pd.DataFrame:
    """Ends and areas of the curves, theirs and ours, in seconds and in shares of the baseline."""
    rows = []
    for who in ("theirs", "ours"):
        if who == "theirs":
            curves = [reach(curve, "baseline"), reach(curve, "das")]
        else:
            curves = [steps_of(step) for step in steps.values()]
        whole = area_under(*curves[0])
        end = curves[0][0][-1]
        for name, (seconds, left) in zip(steps, curves, strict=True):
            area = area_under(seconds, left)
            tail = seconds[np.argmax(left <= 0.1 * left[0])]
            rows.append(
                {"whose": who, "policy": name, "requests": left[0], "seconds": seconds[-1],
                 "of the baseline": seconds[-1] / end, "request-seconds": area,
                 "of its request-seconds": area / whole,
                 "mean active share": area / (left[0] * seconds[-1]),
                 "share of seconds with a tenth or less": 1 - tail / seconds[-1]}
            )  # fmt: skip
    return pd.DataFrame(rows)


def distance(curve: pd.DataFrame, step: StepResult) -> float:
    """Area between their baseline and ours, both from (0, 1) to the end of the baseline at 1."""
    grid = np.linspace(0, 1, 1001)
    seconds, left = reach(curve, "baseline")
    theirs = np.interp(grid, seconds / seconds[-1], left / left[0])
    ours_s, ours_left = steps_of(step)
    ours = np.interp(grid, ours_s / ours_s[-1], ours_left / ours_left[0])
    return float(np.trapezoid(np.abs(theirs - ours), grid))


def curve_claims(curve: pd.DataFrame, steps: dict[str, StepResult], count: int) -> list[Claim]:
    """Fig. 1."""
    numbers = curve_numbers(curve, steps)
    ratio = dict(zip(numbers.whose, numbers["of the baseline"], strict=True))  # DAS comes last
    enough = count >= CURVE
    return [
        Claim(f"{CURVE} requests end in half the time (or within a tenth of it)", "Fig. 1",
              at_most(0.55), ratio["theirs"], ratio["ours"] if enough else None,
              why="" if enough else f"the trace has {count} requests in its last RL step"),
    ]  # fmt: skip


def curve_section(curve: pd.DataFrame, steps: dict[str, StepResult], caption: str) -> Section:
    """Fig. 1 beside ours."""
    numbers, drawn = curve_numbers(curve, steps), curves_drawn(curve, steps)
    base = steps["no speculation"]
    forms = dict.fromkeys(map(str, numbers.columns[4:]), "{:.2f}") | {
        "seconds": "{:.1f}", "requests": "{:.0f}", "request-seconds": "{:,.0f}"
    }  # fmt: skip
    return Section(
        "Fig. 1: requests still running",
        f"{published('das_fig1').source}. Ours: RL step {base.rl_step}, its first {base.requests} "
        "requests on one replica. In shares of the baseline's time and requests, the area between "
        f"their baseline and ours is {distance(curve, base):.2f}: so far apart are the lengths of "
        "the rollouts, before anything is drafted.",
        [Table("fig1", "Ends and areas", numbers, None, forms)],
        [Picture("fig1", "Active requests", lambda: draw_curves(drawn, caption), drawn)],
    )


def curves_drawn(curve: pd.DataFrame, steps: dict[str, StepResult]) -> pd.DataFrame:
    """Columns whose, policy, seconds, requests: not yet finished from then on."""
    frames = []
    for column, (policy, step) in zip(("baseline", "das"), steps.items(), strict=True):
        for whose, found in (("theirs", reach(curve, column)), ("ours", active_curve(step))):
            columns = dict(zip(("seconds", "requests"), found, strict=True))
            frames.append(pd.DataFrame({"whose": whose, "policy": policy, **columns}))
    return pd.concat(frames, ignore_index=True)


def draw_curves(drawn: pd.DataFrame, caption: str) -> Figure:
    """Absolute, theirs and ours, and all in shares of the baseline."""
    figure, panels = new_figure(
        "Requests still running", f"DAS Fig. 1, digitized; ours: {caption}; {LATENCY} (prior)",
        width=12, panels=3, height=4.2,
    )  # fmt: skip
    both = panels[2]
    for shift, whose in enumerate(("theirs", "ours")):
        mine = drawn[drawn.whose == whose]
        plain = mine[mine.policy == mine.policy.iloc[0]]
        style = "steps-post" if whose == "ours" else "default"
        for i, (policy, line) in enumerate(mine.groupby("policy", sort=False)):
            x, y = line.seconds / plain.seconds.max(), line.requests / plain.requests.max()
            panels[shift].plot(
                line.seconds, line.requests, drawstyle=style, label=policy, **look(i)
            )
            both.plot(x, y, drawstyle=style, label=f"{policy}, {whose}", **look(i + 2 * shift))
        panels[shift].set(title=whose, xlabel="seconds")
    panels[0].set(ylabel="requests")
    both.set(title="both, in shares of the baseline", xlabel="share of its time",
             ylabel="share of its requests")  # fmt: skip
    for axes in panels:
        top = axes.dataLim.y1 * (1 + 0.1 * len(axes.lines))  # room for the legend
        axes.set(xlim=(0, None), ylim=(0, top))
        axes.legend(fontsize=8, loc="upper right")
    return figure


def reached(form: str) -> float:
    """Forwards that eq. 4 gives for the drafts that eq. 7 grants, over those it was asked for."""
    length, capacity, alpha, forwards = (EXAMPLE[k] for k in EXAMPLE)
    (total,) = draft_totals(
        np.array([length]), np.array([alpha]), np.array([capacity]), forwards, form
    )
    return float(length * (1 - capacity + capacity * np.exp(-alpha * total / length)) / forwards)


def equation_claims() -> list[Claim]:
    """Eq. 7 as printed does not meet eq. 6."""
    return [
        Claim("Eq. 7's drafts bring the forwards down to N (forwards over N, at the example below)",
              "eq. 6, 7", at_most(1 + 1e-9, "{:.0f}"), reached("printed"), reached("corrected")),
    ]  # fmt: skip


def equation_section() -> Section:
    """The erratum, by numbers."""
    rows = [{"form": form, "forwards over N": reached(form)} for form in FORMS]
    text = ", ".join(f"{name} {value:g}" for name, value in EXAMPLE.items())
    return Section(
        "Erratum: eq. 7 to 9",
        f"As printed, the solution does not meet its own constraint (eq. 6) unless the capacity is "
        f"1; with {text} it leaves more forwards than it was asked for. The budget `das` solves "
        "eq. 6 with the constraint tight (`form=corrected`); `form=printed` keeps the paper's for "
        "comparison, and stands among the savings above.",
        [Table("eq7", "Forwards that eq. 7's drafts lead to", pd.DataFrame(rows))],
    )
