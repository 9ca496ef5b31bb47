"""An advice in plain words: what to do, when that would be wrong, why not else."""

from __future__ import annotations

import math

from ...engine.versions import TRIED
from ...policies.latency.presets import name_latency
from ...sim.limits import Limits
from .advise import Advice
from .choices import ANY_BUDGET, LONGTAIL, MODEL, VLLM, Choice
from .decide import clearly
from .intervals import LEVEL, Ratio
from .sensitivity import Case


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
            f"{steps_judged(advice)} (simulated), {times(advice.speed_up(best))}."
        )
    words = "Leave speculation off:"
    if choice.changed:
        words = (
            f"Leave speculation off, and set max_num_seqs={choice.max_num_seqs} ({seconds:.1f} s "
            f"instead of {none_s:.1f} s for {steps_judged(advice)}, simulated, "
            f"{times(advice.speed_up(best))}):"
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


def steps_judged(advice: Advice) -> str:
    """How many RL steps, or which."""
    steps = advice.bench.steps
    return f"RL step {steps[0]}" if len(steps) == 1 else f"{len(steps)} RL steps"


def conditions(advice: Advice) -> str:
    """RL steps, latency and limits, in one line."""
    steps, setup = advice.bench.steps, advice.bench.setup
    told = steps_judged(advice) + (f", {steps[0]}–{steps[-1]}" if len(steps) > 1 else "")
    return f"{told}; latency {name_latency(setup.latency)}; {limits_kept(setup.limits)}"


def limits_kept(limits: Limits) -> str:
    """The engine's, in words."""
    names = {"max_num_seqs": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
             "kv_tokens": "KV tokens"}  # fmt: skip
    told = [f"{words} {getattr(limits, name)}" for name, words in names.items()
            if getattr(limits, name) is not None]  # fmt: skip
    told += [f"{limits.replicas} replicas"] if limits.replicas > 1 else []
    return ", ".join(told) or "no engine limits: all requests of an RL step at once"


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
        if speeds[case.best] < speeds[usual]:
            told += ": faster still, but no clear gain over what is simpler"
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
    at_once = -(-max(advice.bench.count.values()) // advice.bench.setup.limits.replicas)
    told = []
    if choice.max_num_seqs is None:
        told.append(
            f"As many as {at_once:,} requests ran at once: vLLM's own default of max_num_seqs may "
            "be lower. Set it that high, or ask again with --max-num-seqs."
        )
    if not choice.speculates:
        return ["Give vLLM no --speculative-config, and no policy.", *told]
    if choice.engine == LONGTAIL:
        told.append(
            f"Install longtail beside vLLM ({' or '.join(TRIED)}); LONGTAIL_POLICY before any "
            'program that starts vLLM, or LLM(..., additional_config={"longtail": policy}), policy '
            "being the file's keys."
        )
        if choice.drafter.history_steps != 0:
            told.append(
                "'history: TRACE' in the policy begins with the rollouts of a trace; without it "
                "the first RL step has none."
            )
        if choice.rank[0] == ANY_BUDGET:
            prior = advice.bench.setup.latency.name != "calibrated"
            words = "give your calibration there" if prior else "an engine has to find that file"
            told.append(f"Budgets that ask for seconds are told the policy's latency: {words}.")
    elif choice.drafter.name == "suffix":
        told.append("vLLM's suffix method needs: pip install arctic-inference")
    elif choice.budget.name == "schedule":
        told.append(
            "A draft length by batch size: vLLM ignores it with data parallelism, and its first "
            "model runner then captures CUDA graphs piecewise, which no prior knows."
        )
    if choice.engine == VLLM and choice.drafter.name == "learned":
        told.append(f"Put your draft model's path in place of {MODEL}.")
    return told
