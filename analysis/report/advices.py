"""What `longtail advise -o` wrote: the recommendation first, then what it rests on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import yaml

from .folder import UNREADABLE, Folder, Item
from .leftovers import picture_of
from .page import Block, Facts, Figure, Items, Part, Table, Text, Verbatim
from .points import FORMS, named

KEYS = {"recommendation", "expected", "rests_on", "wrong_when", "candidates"}
TOLD = {
    "rests_on": "What it rests on",
    "wrong_when": "When it would be wrong",
    "holds_when": "It holds",
    "left_out": "Not judged",
    "untried": "Not tried",
}
PARTS = ("drafter", "budget", "placement", "max_num_seqs", "engine")
MEASURED = ["name", "makespan_s", "speed_up", "low", "high", "draft_tokens", "wasted", "tail_s"]
RATIOS = FORMS | {"low": "{:.2f}x", "high": "{:.2f}x"}
BESIDE = {"advice.md": "the words of", "candidates.csv": "the candidates of"}


def read_advices(folder: Folder) -> Iterator[Part]:
    """A part for each, and what lies beside it."""
    for item in folder.find("json", where=_is_advice):
        try:
            part = _part(folder, item, item.content)
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "advice of `longtail advise`")
        for name, what in BESIDE.items():
            other = folder.at(item.beside(name))
            if other is not None:
                folder.take(other, f"{what} {item.name}")
        yield part


def _is_advice(item: Item) -> bool:
    return isinstance(item.content, dict) and item.content.keys() >= KEYS


def _part(folder: Folder, item: Item, content: Mapping[str, Any]) -> Part:
    chosen, expected = content["recommendation"], content["expected"]
    words, origin = str(chosen["words"]), str(content.get("origin"))
    trace = str(content.get("trace")).rpartition("/")[2]
    candidates = _table(content["candidates"])
    measured = candidates
    if "stage" in candidates:
        measured = candidates[candidates.stage == "measured"]
    finalists = Table("What was measured", measured[[c for c in MEASURED if c in measured]], RATIOS)
    blocks: list[Block] = [
        Text(words, "lead"),
        Facts({**_seconds(expected), **_brief(chosen), "conditions": content.get("conditions")}),
        *_figure(folder, item, "speed_up", "Expected speed-up over no speculation", finalists),
        *_turn_on(content.get("turn_on") or {}),
    ]
    other = content.get("runner_up") or {}
    if other.get("words"):
        blocks.append(Text(str(other["words"])))
    blocks += [
        Items(title, _lines(content[key])) for key, title in TOLD.items() if content.get(key)
    ]
    tested = content.get("sensitivity")
    if tested:
        varied = Table("With one thing otherwise", _table(tested), RATIOS)
        blocks += _figure(folder, item, "sensitivity", "Speed-up with one thing otherwise", varied)
    blocks.append(Table("All candidates", candidates, RATIOS, folded=True, source=item.name))
    latency = content.get("latency")
    return Part(
        f"Advice: {item.name}",
        blocks,
        headlines=[words],
        limitations=[
            f"The advice would be another {line[:1].lower()}{line[1:]}"
            for line in _lines(content["wrong_when"])
        ],
        traces={trace: origin},
        latencies=[str(latency)] if latency else [],
        first=True,
    )


def _table(rows: Any) -> pd.DataFrame:
    """Records, components in brief. Raises ValueError for anything else."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("candidates that are no records")
    table = pd.DataFrame(rows)
    if {"draft_tokens", "accepted_tokens"} <= set(table):
        drafted = pd.to_numeric(table.draft_tokens)
        accepted = pd.to_numeric(table.accepted_tokens)
        table["wasted"] = 1 - accepted / drafted.where(drafted > 0)
    return named(table)


def _brief(choice: Mapping[str, Any]) -> dict[str, object]:
    """A choice's parts for people."""
    parts = {key: _flat(choice[key]) for key in PARTS if choice.get(key) is not None}
    return dict(named(pd.DataFrame([parts])).iloc[0]) if parts else {}


def _figure(
    folder: Folder, item: Item, name: str, title: str, numbers: Table
) -> Iterator[Figure | Table]:
    """The picture beside the advice with its numbers, or these alone."""
    picture = picture_of(folder, item.beside(name), title)
    if picture is not None:
        yield Figure(title, picture, [numbers])
    elif len(numbers.frame):
        yield numbers


def _seconds(expected: Mapping[str, Any]) -> dict[str, object]:
    told: dict[str, object] = {}
    for key, name in (("makespan_s", "expected makespan"), ("none_s", "without speculation")):
        if expected.get(key) is not None:
            told[name] = f"{expected[key]:,.1f} s"
    if expected.get("speed_up") is not None:
        told["speed-up"] = f"{expected['speed_up']:.2f}x"
    low, high = expected.get("low"), expected.get("high")
    if low is not None and high is not None:
        told[f"interval of it, {expected.get('level', 0.95):.0%}"] = f"{low:.2f}x to {high:.2f}x"
    return told


def _turn_on(how: Mapping[str, Any]) -> Iterator[Block]:
    arguments, policy = how.get("vllm_args"), how.get("policy")
    if how.get("command"):
        yield Verbatim("To turn it on", str(how["command"]))
    elif arguments:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield Verbatim("To turn it on: vLLM's arguments", text)
    if policy:
        text = policy if isinstance(policy, str) else yaml.safe_dump(policy, sort_keys=False)
        yield Verbatim("The policy file", text)
    if how.get("words"):
        yield Items("", _lines(how["words"]))


def _lines(said: Any) -> list[str]:
    return [said] if isinstance(said, str) else [str(_flat(line)) for line in said or ()]


def _flat(value: Any) -> Any:
    """In one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_flat(each)}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
