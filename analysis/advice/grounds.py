"""What an advice rests on, in plain words: trace, seconds, acceptance, interval, search."""

from __future__ import annotations

from collections.abc import Iterator

from ...policies.latency.presets import PRESETS, make_latency, name_latency
from ..show import caption
from .advise import Advice
from .choices import CACHED, LONGTAIL, VLLM, Choice
from .intervals import LEVEL
from .words import limits_kept, steps_judged

HOST_DRAFTS = ("ngram", "suffix")


def rests_on(advice: Advice) -> Iterator[str]:
    """What the recommendation stands on, the weightiest first."""
    choice, bench = advice.recommended, advice.bench
    drafting = [c for c in advice.measured.choices if c.speculates]
    yield f"The trace: {caption(advice.load)}."
    if advice.load.provenance["origin"] == "synthetic":
        yield "These rollouts were made up: no model wrote them, and nothing here is a finding."
    history = advice.load.rl_steps[0] < bench.steps[0]
    told = "with all earlier RL steps as history" if history else "the first without any history"
    yield f"Judged: {steps_judged(advice)}, {told}; {limits_kept(bench.setup.limits)}."
    present = len(set(advice.load.lengths.prompt.tolist()))
    if bench.prompts < present:
        yield (
            f"Of {present:,} prompts {bench.prompts:,}, drawn at random, stand for all, with "
            "their own rollouts as history."
        )
    yield from _clock(advice, drafting)
    named = choice if choice.speculates else (drafting[0] if drafting else None)
    if named is not None:
        yield (
            f"Acceptance: {named.drafter.acceptance}. It is the trace's: it holds for the policy "
            "that wrote it."
        )
    if any(c.engine == VLLM and c.drafter.name == "suffix" for c in drafting):
        yield (
            "vLLM's suffix method also drafts from what runs beside, and drops responses beyond "
            f"the last {CACHED:,}: here it knows all earlier RL steps and no more."
        )
    if any(c.drafter.timed for c in drafting):
        yield (
            "Drafts that depend on timing are as if an RL step's rollouts began together and grew "
            "alike."
        )
    yield (
        f"The interval ({LEVEL:.0%}) is over prompts and RL steps like these; how far off the "
        "latency or the acceptance may be is not in it."
    )
    if len(bench.steps) == 1:
        yield "One RL step: how much RL steps differ is not in the interval."
    if drafting:
        yield (
            f"What was measured are the best of {len(advice.found.seconds):,} choices, tried on "
            f"{advice.searched.prompts:,} of these prompts: the best of many looks a little better "
            "than it is."
        )
    yield from _varied(advice)
    notes = choice.setup(bench.setup).notes
    yield from (f"Note: {note}." for note in dict.fromkeys(notes))


def _clock(advice: Advice, drafting: list[Choice]) -> Iterator[str]:
    """What the seconds rest on."""
    latency = advice.bench.setup.latency
    looked_up = any(c.drafter.needs_tokens for c in drafting)
    if latency.name != "calibrated":
        sources = [source for name, (_, source) in PRESETS.items()
                   if make_latency(name) == latency] or [latency.source]  # fmt: skip
        words = f"Seconds: {name_latency(latency)}: {sources[0]}."
        yield f"{words} It is a prior: nothing of your engine was measured (longtail calibrate)."
        if looked_up:
            yield "What looking drafts up takes on the host is taken to be nothing."
        if any(c.engine == LONGTAIL or c.drafter.name in HOST_DRAFTS for c in drafting):
            yield (
                "vLLM schedules synchronously, with its first model runner, where drafts come from "
                "the host (ngram, suffix, the plug-in); what that costs against an engine without "
                "speculation no prior knows."
            )
        return
    content = latency.content
    error = content.get("choice", {}).get(content["forward"]["name"], {}).get("error")
    words = f"Seconds: {name_latency(latency)}"
    engine = content["engine"]
    names = [str(engine[key]) for key in ("engine", "model", "hardware") if engine.get(key)]
    words += f" ({', '.join(names)})" if names else ""
    words += f"; forwards that it had not seen were off by {error:.1%}" if error else ""
    yield f"{words}."
    results = advice.measured.results[advice.verdict.recommended]
    outside = sum(r.outside for r in results) / max(sum(r.forwards for r in results), 1)
    if outside:
        yield f"{outside:.1%} of the forwards are outside what was calibrated."


def _varied(advice: Advice) -> Iterator[str]:
    """What the speed-ups with one thing otherwise are to be compared with."""
    tested = advice.sensitivity
    if tested.cases and advice.recommended.speculates:
        steps, usual = tested.steps, tested.seconds[0] / tested.seconds[tested.recommended]
        where = f"RL step {steps[0]}" if len(steps) == 1 else f"the last {len(steps)} RL steps"
        yield (
            f"What would be otherwise was simulated on {where}, where as recorded and told the "
            f"speed-up is {usual:.2f}x; less history on {tested.history_prompts:,} prompts."
        )
    if any(case.dial.field == "longer" for case in tested.cases):
        yield "Rollouts that were cut are taken to go on as in their second half."
