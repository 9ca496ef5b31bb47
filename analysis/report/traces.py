"""Traces: how long their rollouts are, RL step by RL step, and some of them to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ...traces.rollouts import Lengths, Rollouts
from ...traces.schema import FINISH_REASONS, METADATA_KEY
from ...traces.store import Trace, open_trace
from ...traces.summary import summarize
from ..curves import survival_curve
from ..figures import survival
from .folder import UNREADABLE, Folder, Item
from .page import Block, Facts, Figure, Fold, Part, Table, Text, Verbatim
from .picture import draw
from .tokenizers import Decode, Tokenizers

PROMPT, BEGIN, END = 400, 200, 100  # tokens shown of a prompt, of an output's begin and end
AS_IDS = 4  # times fewer where they are shown as numbers
NO_TEXT = "The tokens are shown as ids: give the model's tokenizer.json with --tokenizer."
LONGEST = 4000  # characters shown of a text
CURVE = 200  # points of the survival curve in its table
STEP_FORMS = {"longest/median": "{:.2f}", "mean reward": "{:.3f}", "cut": "{:.1%}"}


def read_traces(folder: Folder, tokenizers: Tokenizers) -> Iterator[Part]:
    """A part for each."""
    for item in folder.find("parquet", where=_is_trace):
        try:
            trace = open_trace(item.path)
            decode = tokenizers.decoder(trace.meta)
            part = _part(trace, item, decode, f"trace{item.number}")
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, f"trace ({trace.meta.origin})")
        yield part


def _is_trace(item: Item) -> bool:
    return METADATA_KEY in (pq.read_metadata(item.path).metadata or {})


def _part(trace: Trace, item: Item, decode: Decode | None, name: str) -> Part:
    told, lengths = summarize(trace), trace.lengths()
    meta, size, out = told["meta"], told["group_size"], told["output_len"]
    origin = "SYNTHETIC" if told["synthetic"] else told["origin"]
    cut = "not known" if set(told["finish_reasons"]) == {"unknown"} else (
        f"{told['cut_by_length']:,} ({told['cut_by_length'] / told['rollouts']:.1%})"
    )  # fmt: skip
    facts: dict[str, object] = {
        "origin": origin,
        "rollouts": told["rollouts"],
        "RL steps": told["rl_steps"],
        "prompts": told["prompts"],
        "groups": f"{told['groups']:,} of {size['min']} to {size['max']} samples",
        "output tokens": out["sum"],
        "finish reasons": ", ".join(f"{k} {n:,}" for k, n in told["finish_reasons"].items()),
        "cut by length": cut,
        "mean reward": told["reward_mean"],
        "tokens stored": "yes" if told["tokens"] else "no, lengths only",
        **{key: meta[key] for key in ("source", "model", "engine", "hardware", "licence")},
        "tokenizer": (meta["tokenizer"] or {}).get("name"),
        "sampling": ", ".join(f"{k}={v}" for k, v in meta["sampling"].items()),
    }
    rows = [("prompt", *told["prompt_len"].values()), ("output", *told["output_len"].values())]
    columns = ["of a rollout", *told["output_len"]]
    caption = f"{item.base} ({origin}): {told['rollouts']:,} rollouts"
    blocks: list[Block] = [
        Facts(facts),
        Table("Tokens", pd.DataFrame(rows, columns=columns)),
        Figure(
            "How long the rollouts are",
            draw(lambda: survival(lengths, caption), name),
            [Table("Share of rollouts at least so long", _curve(lengths), {"share": "{:.2%}"})],
        ),
        Table("RL steps", _steps(told), STEP_FORMS),
        *(_examples(trace, decode) if told["tokens"] else ()),
    ]
    headline = (
        f"{item.name} ({origin}): {told['rollouts']:,} rollouts in {told['rl_steps']:,} RL steps; "
        f"the longest output is {out['max']:,} tokens, the median {out['p50']:,.0f}."
    )
    limits = [f"{item.name}: {note}" for note in meta["notes"]]
    if not told["tokens"]:
        limits.append(f"{item.name}: lengths only, so that drafts cannot be replayed")
    if cut == "not known":
        limits.append(f"{item.name}: how its rollouts ended is not known")
    return Part(f"Trace: {item.name}", blocks, [headline], limits, {item.name: told["origin"]})


def _steps(told: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "RL step": step["rl_step"],
            "name": step["name"],
            "rollouts": step["rollouts"],
            "prompts": step["prompts"],
            "output tokens": step["output_len"]["sum"],
            **{key: step["output_len"][key] for key in ("p50", "p90", "p99", "max")},
            "longest/median": step["tail"],
            "cut": step["cut_by_length"] / step["rollouts"],
            "mean reward": step["reward_mean"],
        }
        for step in told["by_rl_step"]
    ]
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def _curve(lengths: Lengths) -> pd.DataFrame:
    x, share = survival_curve(lengths.output_len)
    keep = np.unique(np.linspace(0, len(x) - 1, min(CURVE, len(x))).astype(int))
    return pd.DataFrame({"output tokens": x[keep], "share": share[keep]})


def _examples(trace: Trace, decode: Decode | None) -> Iterator[Block]:
    """The longest, the median and the shortest rollout of the last RL step."""
    step = next(trace.iter_steps(rl_steps=trace.rl_steps[-1:]))
    order = np.argsort(step.output_len, kind="stable")
    rows = {"longest": order[-1], "median": order[len(order) // 2], "shortest": order[0]}
    chosen = {word: int(row) for word, row in rows.items()}
    reasons = trace.lengths([step.rl_step]).finish
    yield Table(
        f"Examples from RL step {step.rl_step}",
        pd.DataFrame(
            {
                "rollout": list(chosen),
                "prompt_id": [trace.prompt_ids[step.prompt[i]] for i in chosen.values()],
                "sample": [int(step.sample[i]) for i in chosen.values()],
                "prompt tokens": [int(step.prompt_len[i]) for i in chosen.values()],
                "output tokens": [int(step.output_len[i]) for i in chosen.values()],
                "finish": [FINISH_REASONS[reasons[i]] for i in chosen.values()],
                "reward": [float(step.reward[i]) for i in chosen.values()],
            }
        ),
    )
    if decode is None:
        yield Text(NO_TEXT, "note")
    for word, row in chosen.items():
        prompt, output = _tokens(step, row)
        texts = [
            Verbatim("Prompt", _text(prompt, decode, PROMPT, 0)),
            Verbatim("Output", _text(output, decode, BEGIN, END)),
        ]
        yield Fold(f"The {word} rollout: prompt and output", texts)


def _tokens(step: Rollouts, row: int) -> tuple[list[int], list[int]]:
    found = []
    for values, offsets in (
        (step.prompt_tokens, step.prompt_offsets),
        (step.output_tokens, step.output_offsets),
    ):
        assert values is not None and offsets is not None
        found.append(values[offsets[row] : offsets[row + 1]].tolist())
    return found[0], found[1]


def _text(ids: list[int], decode: Decode | None, begin: int, end: int) -> str:
    """The first and last tokens, as text where that can be had, and how many lie between."""
    if decode is None:
        begin, end = begin // AS_IDS, end // AS_IDS
    left = len(ids) - begin - end
    parts = [ids] if left <= 0 else [ids[:begin], ids[len(ids) - end :]]
    words = [" ".join(map(str, part)) if decode is None else decode(part) for part in parts]
    shown = [text[:LONGEST] + ("…" if len(text) > LONGEST else "") for text in words]
    return f"\n[… {left:,} tokens …]\n".join(shown)
