"""An advice in plain words: what to do, what it rests on, when it would be wrong, why not else."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...engine.versions import TRIED
from ...policies.latency.presets import PRESETS, make_latency, name_latency
from ...sim.limits import Limits
from ..show import caption
from .advise import Advice
from .choices import ANY_BUDGET, CACHED, LONGTAIL, MODEL, VLLM, Choice
from .decide import clearly
from .intervals import LEVEL, Ratio
from .sensitivity import Case

HOST_DRAFTS = ("ngram", "suffix")


def times(ratio: Ratio, than: str = "") -> str:
    """A speed-up with its interval."""
    words = f"{ratio.value:.2f} times as fast{than}"
    if not math.isfinite(ratio.high):
        return f"{words} (how far that holds, one prompt does not tell)"
    return f"{words} ({LEVEL:.0%}: {ratio.low:.2f} to {ratio.high:.2f})"


def headline(advice: Advice) -> str:
    """The recommendation, in a sentence or two."""
    best, found = advice.verdict.recommended, advice.measured
    choice, none_s, seconds = advice.recommended, found.total_s[0], found.total_s[best]
    if choice.speculates:
        took = "by itself" if choice.engine == VLLM else "with longtail's plug-in"
        return (
            f"Turn on {choice.name} (vLLM {took}): {seconds:.1f} s instead of {none_s:.1f} s for "
            f"{_steps(advice)}, {times(advice.speed_up(best))}."
        )
    words = "Leave speculation off:"
    if choice.changed:
        words = (
            f"Leave speculation off, and set max_num_seqs={choice.max_num_seqs} ({seconds:.1f} s "
            f"instead of {none_s:.1f} s for {_steps(advice)}, {times(advice.speed_up(best))}):"
        )
    drafting = [i for i, c in enumerate(found.choices) if c.speculates]
    if not drafting:
        return f"{words} there is nothing here that could be judged ({_first_left_out(advice)})."
    nearest = min(drafting, key=lambda i: found.total_s[i])
    ratio = found.ratio(best, nearest)
    comes = f"{found.choices[nearest].name} comes nearest, {times(ratio)}"
    if ratio.value <= 1:
        return f"{words} nothing is faster; {comes}."
    why = "that is within noise" if ratio.low <= 1 else "that is less than 1 %"
    return f"{words} {comes}, and {why}."


def _first_left_out(advice: Advice) -> str:
    return advice.found.left_out[0] if advice.found.left_out else "no drafter was named"


def runner_up(advice: Advice) -> str:
    """The best of the others, and why not that."""
    other = advice.verdict.runner_up
    if other is None:
        return "Nothing else was measured."
    found, best = advice.measured, advice.verdict.recommended
    choice = found.choices[other]
    ratio = found.ratio(best, other)
    words = f"Runner-up: {choice.name}"
    if choice.speculates:
        words += f", {times(advice.speed_up(other), ' as no speculation')}"
    if ratio.value > 1:
        margin = f"{ratio.value - 1:.1%} faster than what is recommended"
        if math.isfinite(ratio.high):
            margin += f" ({LEVEL:.0%}: {ratio.low - 1:+.1%} to {ratio.high - 1:+.1%})"
        why = "too little to tell from chance" if ratio.low <= 1 else "less than 1 %"
        return f"{words}. It is {margin}: {why}, and {_more(advice.recommended, choice)}."
    margin = f"{1 / ratio.value - 1:.1%} slower than what is recommended"
    sure = clearly(found.total_s, found.spread, other, best)
    if sure:
        return f"{words}. It is {margin}."
    same = advice.recommended.rank == choice.rank
    return f"{words}. It is {margin}: a toss-up{', of equal effort' if same else ''}."


def _more(simple: Choice, other: Choice) -> str:
    """What `other` asks for that `simple` does not."""
    if not simple.speculates:
        return "no speculation is simpler"
    if other.engine == LONGTAIL and simple.engine == VLLM:
        return "it takes the plug-in where vLLM alone will do"
    return "what is recommended is simpler"


def without_plugin(advice: Advice) -> str:
    """What vLLM reaches by itself, where the plug-in is recommended; else nothing."""
    if advice.recommended.engine != LONGTAIL:
        return ""
    found = advice.measured
    own = [i for i, c in enumerate(found.choices) if c.speculates and c.engine == VLLM]
    if not own:
        return ""
    best = min(own, key=lambda i: found.total_s[i])
    return f"Without the plug-in: {found.choices[best].name}, {times(advice.speed_up(best))}."


def _steps(advice: Advice) -> str:
    steps = advice.bench.steps
    return f"RL step {steps[0]}" if len(steps) == 1 else f"{len(steps)} RL steps"


def conditions(advice: Advice) -> str:
    """RL steps, latency and limits, in one line."""
    steps, limits = advice.bench.steps, advice.bench.setup.limits
    told = _steps(advice) if len(steps) == 1 else f"{_steps(advice)}, {steps[0]}–{steps[-1]}"
    return f"{told}; latency {name_latency(advice.bench.setup.latency)}; {_limits(limits)}"


def _limits(limits: Limits) -> str:
    names = {"max_num_seqs": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
             "kv_tokens": "KV tokens"}  # fmt: skip
    told = [f"{words} {getattr(limits, name)}" for name, words in names.items()
            if getattr(limits, name) is not None]  # fmt: skip
    told += [f"{limits.replicas} replicas"] if limits.replicas > 1 else []
    return ", ".join(told) or "no engine limits: all requests of an RL step at once"


def rests_on(advice: Advice) -> list[str]:
    """What the recommendation stands on, the weightiest first."""
    return list(_rests_on(advice))


def _rests_on(advice: Advice) -> Iterator[str]:
    choice, bench = advice.recommended, advice.bench
    drafting = [c for c in advice.measured.choices if c.speculates]
    yield f"The trace: {caption(advice.load)}."
    if advice.load.provenance["origin"] == "synthetic":
        yield "These rollouts were made up: no model wrote them, and nothing here is a finding."
    history = advice.load.rl_steps[0] < bench.steps[0]
    told = "with all earlier RL steps as history" if history else "the first without any history"
    yield f"Judged: {_steps(advice)}, {told}; {_limits(bench.setup.limits)}."
    present = len(set(advice.load.lengths.prompt.tolist()))
    if bench.prompts < present:
        yield f"Of {present:,} prompts {bench.prompts:,}, drawn at random, stand for all."
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


def wrong_when(advice: Advice) -> list[str]:
    """When something else would be recommended, and at which point."""
    tested = advice.sensitivity
    told = []
    for dial in dict.fromkeys(case.dial for case in tested.cases):
        changed = [c for c in tested.cases if c.dial is dial and c.best != tested.recommended]
        for side in (-1, 1):
            beyond = [c for c in changed if (c.value - dial.neutral) * side > 0]
            if beyond:
                nearest = min(beyond, key=lambda case: abs(case.value - case.dial.neutral))
                told.append(_changes(advice, nearest))
    if advice.recommended.speculates:
        told.append(
            "With another policy than the one that wrote the trace: acceptance is the trace's."
        )
    return told


def _changes(advice: Advice, case: Case) -> str:
    tested = advice.sensitivity
    best, usual = tested.choices[case.best], tested.recommended
    speeds = case.seconds[0] / case.seconds
    told = f"{speeds[usual]:.2f}x"
    if best.speculates or best.changed:
        told = f"{speeds[case.best]:.2f}x, against {told}"
    return f"{_sentence(case.words)}: {best.name} ({told})."


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def holds_when(advice: Advice) -> list[str]:
    """What was varied without changing the recommendation, with its speed-ups."""
    tested = advice.sensitivity
    told = []
    for dial in dict.fromkeys(case.dial for case in tested.cases):
        cases = [c for c in tested.cases if c.dial is dial]
        if all(c.best == tested.recommended for c in cases):
            ends = [cases[0], *cases[1:][-1:]]
            at = tested.recommended
            words = _sentence(dial.tell(*(case.value for case in ends)))
            if len(ends) == 1 and ends[0].value > dial.neutral:
                words = words.replace("With ", "With up to ", 1)
            if advice.recommended.speculates:
                speeds = (f"{case.seconds[0] / case.seconds[at]:.2f}x" for case in ends)
                words += f": {' to '.join(speeds)}"
            told.append(f"{words}.")
    return told


def turning_on(advice: Advice) -> list[str]:
    """What to know when turning it on."""
    choice = advice.recommended
    if not choice.speculates:
        return ["Give vLLM no --speculative-config, and no policy."]
    told = []
    if choice.engine == LONGTAIL:
        told.append(
            f"Install longtail beside vLLM ({' or '.join(TRIED)}); LONGTAIL_POLICY before any "
            'program that starts vLLM, or LLM(..., additional_config={"longtail": policy}), policy '
            "being the file's keys."
        )
        if choice.drafter.history_steps != 0:
            told.append(
                "`history: TRACE` in the policy begins with the rollouts of a trace; without it "
                "the first RL step has none."
            )
        if choice.rank[0] == ANY_BUDGET:
            prior = advice.bench.setup.latency.name != "calibrated"
            words = "give your calibration there" if prior else "an engine has to find that file"
            told.append(f"Budgets that ask for seconds are told the policy's `latency`: {words}.")
    elif choice.drafter.name == "suffix":
        told.append("vLLM's suffix method needs: pip install arctic-inference")
    elif choice.drafter.name == "learned":
        told.append(f"Put your draft model's path in place of {MODEL}.")
    return told
