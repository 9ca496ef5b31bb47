"""An advice as one JSON object: what `--json` prints and advice.json holds."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

from ...policies.latency.presets import name_latency
from ...policies.registry import spec_of
from .advise import Advice
from .choices import Choice
from .grounds import rests_on
from .intervals import LEVEL, Ratio
from .words import (
    conditions,
    headline,
    holds_when,
    runner_up,
    turning_on,
    without_plugin,
    wrong_when,
)


def document(advice: Advice) -> dict[str, Any]:
    """The object; JSON types only. Seconds, tokens; components as inline specifications; words are
    whole sentences. Its keys:

    - `recommendation`: {drafter, budget, placement, max_num_seqs, engine, name, speculates, words};
      engine: `vllm` (vLLM itself; also without speculation) or `longtail` (the plug-in)
    - `expected`: {makespan_s, none_s, speed_up, low, high, level}: of all RL steps judged; low and
      high: the interval of the speed-up, null where nothing tells it
    - `rests_on`, `wrong_when`, `holds_when`, `left_out`, `untried`: [sentence]
    - `runner_up`: as `recommendation`, and makespan_s, speed_up, low, high; null if there is none
    - `turn_on`: {vllm_args: engine arguments, policy: a policy file's keys or null, command, words:
      [sentence]}
    - `candidates`: [{stage, name, drafter, budget, placement, max_num_seqs, engine, makespan_s,
      none_s, speed_up, low, high, draft_tokens, accepted_tokens, tail_s}], stage `measured` (the
      finalists on all RL steps judged; no speculation among them) or `searched` (on part of the
      prompts and RL steps; from low on null)
    - `sensitivity`: [{about, words, value, name, makespan_s, speed_up, recommended}], a row for
      each variation and choice, `recommended` by then; about `recorded`: nothing varied
    - `trace`, `origin`, `latency`, `prior` (whether the latency is), `conditions`, `rl_steps`,
      `limits` {max_num_seqs, max_num_batched_tokens, kv_tokens, block_size, replicas}, `version`
    """
    found, best, other = advice.measured, advice.verdict.recommended, advice.verdict.runner_up
    setup = advice.bench.setup
    latency = setup.latency
    speed_up = advice.speed_up(best)
    return {
        "recommendation": {**_choice(advice.recommended), "words": headline(advice)},
        "expected": {
            "makespan_s": float(found.total_s[best]),
            "none_s": float(found.total_s[0]),
            **_ratio(speed_up),
            "level": LEVEL,
        },
        "rests_on": list(rests_on(advice)),
        "wrong_when": wrong_when(advice),
        "holds_when": holds_when(advice),
        "left_out": list(advice.found.left_out),
        "untried": list(advice.sensitivity.untried),
        "runner_up": None
        if other is None
        else {
            **_choice(found.choices[other]),
            "makespan_s": float(found.total_s[other]),
            **_ratio(advice.speed_up(other)),
            "words": " ".join(filter(None, [runner_up(advice), without_plugin(advice)])),
        },
        "turn_on": {**advice.recommended.turn_on(latency), "words": turning_on(advice)},
        "candidates": _candidates(advice),
        "sensitivity": _sensitivity(advice),
        **advice.load.provenance,
        "latency": spec_of(latency),
        "latency_name": name_latency(latency),
        "prior": latency.name != "calibrated",
        "conditions": conditions(advice),
        "rl_steps": list(advice.bench.steps),
        "limits": dict(vars(setup.limits)),
        "version": version("longtail"),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {**choice.row, "speculates": choice.speculates}


def _ratio(ratio: Ratio) -> dict[str, float | None]:
    known = math.isfinite(ratio.high)
    return {
        "speed_up": float(ratio.value),
        "low": float(ratio.low) if known else None,
        "high": float(ratio.high) if known else None,
    }


def _candidates(advice: Advice) -> list[dict[str, Any]]:
    """The measured, the fastest first, then what was only searched."""
    found = advice.measured
    rows = []
    for i in sorted(range(len(found.choices)), key=lambda i: found.total_s[i]):
        results = found.results[i]
        rows.append(
            {
                "stage": "measured",
                **found.choices[i].row,
                "makespan_s": float(found.total_s[i]),
                "none_s": float(found.total_s[0]),
                **_ratio(advice.speed_up(i)),
                "draft_tokens": sum(r.draft_tokens for r in results),
                "accepted_tokens": sum(r.accepted_tokens for r in results),
                "tail_s": float(sum(r.tail_s for r in results)),
            }
        )
    seconds = advice.found.seconds
    none_s = next(s for c, s in seconds.items() if not c.speculates and not c.changed)
    nothing = dict.fromkeys(("low", "high", "draft_tokens", "accepted_tokens", "tail_s"))
    rows += [
        {
            "stage": "searched",
            **choice.row,
            "makespan_s": seconds[choice],
            "none_s": none_s,
            "speed_up": none_s / seconds[choice],
            **nothing,
        }
        for choice in advice.found.best(lambda choice: True)
    ]
    return rows


def _sensitivity(advice: Advice) -> list[dict[str, Any]]:
    tested = advice.sensitivity
    usual = ("recorded", "as recorded and told", None, tested.seconds, tested.recommended)
    cases = [(c.dial.name, c.words, c.value, c.seconds, c.best) for c in tested.cases]
    return [
        {
            "about": about,
            "words": words,
            "value": value,
            "name": choice.name,
            "makespan_s": float(took),
            "speed_up": float(seconds[0] / took),
            "recommended": i == best,
        }
        for about, words, value, seconds, best in [usual, *cases]
        for i, (choice, took) in enumerate(zip(tested.choices, seconds, strict=True))
    ]
