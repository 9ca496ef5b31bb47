"""DAS: seconds of an RL step's rollouts with and without it (Fig. 10 to 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...policies.latency.presets import make_latency
from ..claim import Claim, at_least, at_most, near
from .lab import Lab, part, shortened, size
from .published import published

LATENCY = "h100-7b-points"
FIGURES = {  # of the paper, with the claim beside it
    "das_fig10": "math, 7B, 256 requests per GPU",
    "das_fig11": "code, 8B, 32 requests, cap 16k",
    "das_fig13_cap": "code, cap 8k",
    "das_fig13_batch": "code, 16 requests",
}
VISIBLE = 24  # RL steps within Fig. 10's axis
MATH, CODE, HALF = 256, 32, 16  # requests at once: per GPU in math, per GPU in code, ablated
POLICIES = {
    "das": ("das", "das"),
    "unlimited": ("das", "unlimited"),
    "suffix, das": ("suffix:scope=both", "das"),
    "das as printed": ("das", "das:form=printed"),
    "classes 24/8/0": ("das", "classes"),
}
SUMMED = {
    "drafted": "draft_tokens", "accepted": "accepted_tokens", "forwards": "forwards",
    "output": "output_tokens", "processed": "processed_tokens",
}  # fmt: skip
SIZES = (512, 256, 128, 64, 32, 16)


@dataclass(frozen=True)
class Savings:
    """Theirs by figure, ours by number of requests and cap, and of each RL step."""

    theirs: pd.DataFrame
    unlimited: pd.DataFrame  # Fig. 12
    ours: pd.DataFrame
    steps: pd.DataFrame
    half: int  # cap, tokens

    @property
    def claims(self) -> list[Claim]:
        """The text's, against both."""
        return savings_claims(self.theirs, self.unlimited, self.ours, self.half)


def compare(lab: Lab) -> Savings:
    """Their figures, and ours by batch size and length cap."""
    theirs = pd.DataFrame([published_saving(name) for name in FIGURES])
    unlimited = published("das_fig12").frame.set_index(["policy", "against"])
    steps = pd.concat([our_steps(lab, batch, None) for batch in batches(lab)])
    half = half_cap(lab)
    steps = pd.concat([steps, *(our_steps(lab, batch, half) for batch in batches(lab))])
    return Savings(theirs, unlimited, our_savings(steps), steps, half)


def batches(lab: Lab) -> list[int]:
    """Numbers of requests at once that the trace has, as wanted, or all it has."""
    largest = size(lab.load)
    fitting = [n for n in SIZES if n <= largest]
    return fitting if near_size(largest, fitting) else [largest, *fitting]


def near_size(wanted: int, sizes: Sequence[int]) -> int | None:
    """The number of requests nearest to the one wanted, if it is within a tenth of it."""
    best = min(sizes, key=lambda n: abs(n - wanted), default=0)
    return best if abs(best - wanted) <= 0.1 * wanted else None


def half_cap(lab: Lab) -> int:
    """Half of the longest rollout, tokens."""
    return max(1, int(lab.load.lengths.output_len.max()) // 2)


def published_saving(name: str) -> dict[str, float | str]:
    """Means of a figure over the RL steps that both curves have, and how many save more than half;
    of Fig. 10 those within its axis, and all of them besides.
    """
    frame = published(name).frame.dropna()
    shown = frame[frame.rl_step <= VISIBLE] if name == "das_fig10" else frame
    saved = 1 - shown.das_seconds / shown.verl_seconds
    return {
        "figure": name,
        "setting": FIGURES[name],
        "steps": len(shown),
        "VeRL s": shown.verl_seconds.mean(),
        "DAS s": shown.das_seconds.mean(),
        "saving": 1 - shown.das_seconds.mean() / shown.verl_seconds.mean(),
        "steps above 50 %": int((saved > 0.5).sum()),
        "saving of all drawn": 1 - frame.das_seconds.mean() / frame.verl_seconds.mean(),
    }


def our_steps(lab: Lab, requests: int, cap: int | None) -> pd.DataFrame:
    """One row per RL step judged: seconds under each policy. cap: tokens, the trace's if None."""
    load = part(lab.load, requests)
    if cap is not None:
        load = shortened(load, cap)
    table = {"none": lab.run(load, latency=LATENCY)}
    for name, (drafter, budget) in POLICIES.items():
        table[name] = lab.run(load, drafter=drafter, budget=budget, latency=LATENCY)
    rows = {name: [step.makespan_s for step in steps] for name, steps in table.items()}
    rows["clairvoyant"] = lab.bounds(load, drafter="das", latency=LATENCY)
    count = size(load)
    index = {"requests": count, "cap": cap or 0, "rl_step": lab.judged}
    more = {
        f"{name} {column}": [getattr(step, field) for step in table[name]]
        for name in ("das", "unlimited")
        for column, field in SUMMED.items()
    }
    return pd.DataFrame({**index, **rows, **more})


def our_savings(steps: pd.DataFrame) -> pd.DataFrame:
    """Savings of the means, one row per number of requests and cap (0: the trace's)."""
    sums = steps.drop(columns="rl_step").groupby(["requests", "cap"], sort=False).sum()
    savings = 1 - sums[[*POLICIES, "clairvoyant"]].div(sums["none"], axis=0)
    savings["seconds"] = sums["none"]
    savings["das over unlimited"] = 1 - sums["das"] / sums["unlimited"]
    for name in ("das", "unlimited"):
        output, drafted = sums[f"{name} output"], sums[f"{name} drafted"]
        accepted = sums[f"{name} accepted"]
        savings[f"{name} drafts"] = drafted / output
        savings[f"{name} rejected"] = 1 - accepted / drafted.clip(lower=1)
        savings[f"{name} gain"] = output / (output - accepted)  # tokens per round of a request
        savings[f"{name} tokens"] = sums[f"{name} processed"] / sums[f"{name} forwards"]
    above = (1 - steps["das"] / steps["none"] > 0.5).groupby([steps.requests, steps["cap"]])
    savings["steps above 50 %"] = above.sum()
    savings["of"] = above.size()
    return savings.reset_index()


def saving_at(ours: pd.DataFrame, requests: int, cap: int = 0, column: str = "das") -> float | None:
    """Ours, if the trace has about so many requests at once."""
    found = near_size(requests, ours.requests.tolist())
    row = ours[(ours.requests == found) & (ours["cap"] == cap)].to_dict("records")
    return row[0][column] if row else None


def minus(a: float | None, b: float | None) -> float | None:
    """The difference, unless one of them is missing."""
    return None if a is None or b is None else a - b


def savings_claims(
    theirs: pd.DataFrame, unlimited: pd.DataFrame, ours: pd.DataFrame, half: int
) -> list[Claim]:
    """The text's claims against its figures and against ours."""
    drawn = dict(zip(theirs.figure, theirs.saving, strict=True))
    most = int(ours.requests.max())
    math, code, fewer = (saving_at(ours, n) for n in (MATH, CODE, HALF))
    whole, cut = (saving_at(ours, CODE, cap, "seconds") for cap in (0, half))
    short = saving_at(ours, CODE, half) if whole != cut else None
    against = saving_at(ours, CODE, column="das over unlimited")
    longer, apart = minus(code, short), minus(code, fewer)
    few = f"the trace has at most {most} requests at once"
    same = few if code is None else f"none of these is longer than {half:,} tokens here"

    def why(value: float | None, words: Callable[[], str]) -> str:
        return few if value is None else words()

    return [
        Claim(f"Math: more than 50 % less rollout time ({MATH} requests at once)",
              "abstract, Fig. 10", at_least(0.5, "{:.0%}"), drawn["das_fig10"], math, "{:.1%}",
              why(math, lambda: bound_words(ours, MATH))),
        Claim(f"Code: about 25 % less ({CODE} requests at once)", "Fig. 11",
              near(0.25, 0.2, "{:.0%}"), drawn["das_fig11"], code, "{:.1%}",
              why(code, lambda: bound_words(ours, CODE))),
        Claim(f"An unlimited budget is slower than DAS, by up to 15 % ({CODE} requests, mean time "
              "saved over it)", "Fig. 12", at_least(0, "{:.0%}"),
              unlimited["mean_saving"]["das", "unlimited"], against, "{:.1%}",
              why(against, lambda: budget_words(ours, half))),
        Claim("Half the length cap: still more than 30 % less", "Fig. 13 left",
              at_least(0.3, "{:.0%}"), drawn["das_fig13_cap"], short, "{:.1%}",
              same if short is None else bound_words(ours, CODE, half)),
        Claim("Half the length cap saves less than the whole (difference)", "Fig. 11, 13 left",
              at_least(0, "{:.0%}"), drawn["das_fig11"] - drawn["das_fig13_cap"], longer, "{:.1%}",
              same if longer is None else "what is cut off was not easier to draft than the rest"),
        Claim("Half the batch saves as much (difference)", "Fig. 11, 13 right",
              at_most(0.05, "{:.0%}"), abs(drawn["das_fig13_batch"] - drawn["das_fig11"]),
              None if apart is None else abs(apart), "{:.1%}",
              why(apart, lambda: "half the batch are the first prompts only: other rollouts")),
    ]  # fmt: skip


def bound_words(ours: pd.DataFrame, requests: int, cap: int = 0) -> str:
    """Of what a saving is made: how far drafts get, here and there, and what is left to save."""
    figure = published("das_fig4").frame
    gain, bound = (
        saving_at(ours, requests, cap, column) for column in ("unlimited gain", "clairvoyant")
    )
    assert gain is not None and bound is not None
    return (
        f"our drafter, unlimited, has {gain - 1:.1f} tokens accepted per round of a request here; "
        f"theirs has {figure.suffix_tree.iloc[0]} at RL step {figure.rl_step.iloc[0]} and "
        f"{figure.suffix_tree.iloc[1]} at RL step {figure.rl_step.iloc[1]} (Fig. 4). Drafting "
        f"nothing in vain, it would save {bound:.1%} here"
    )


def budget_words(ours: pd.DataFrame, half: int) -> str:
    """What the two budgets did."""
    found = near_size(CODE, ours.requests.tolist())
    row = ours[(ours.requests == found) & (ours["cap"] == 0)].iloc[0]
    model = make_latency(LATENCY)
    empty, full = (
        float(model.seconds(int(n), 1, 0, 0, 0, 0, model.params))
        for n in (1, row["unlimited tokens"])
    )
    crowd = ours[ours.requests == ours.requests.max()].set_index("cap")["das over unlimited"]
    return (
        f"DAS drafts {row['das drafts']:.2f} tokens per output token, an unlimited budget "
        f"{row['unlimited drafts']:.2f}, of which {row['unlimited rejected']:.0%} are rejected; "
        f"but its forwards of {row['unlimited tokens']:.0f} tokens on average take "
        f"{1e3 * full:.1f} ms, where one of a single token takes {1e3 * empty:.1f} ms. At "
        f"{ours.requests.max()} requests DAS saves {crowd.get(0, np.nan):+.1%} over unlimited, and "
        f"{crowd.get(half, np.nan):+.1%} with half the cap"
    )
