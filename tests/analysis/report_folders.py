"""Folders to report on: a small honest one, and one in which everything that can be text is
hostile.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from longtail.analysis.demo import compare
from longtail.sim.grid import Grid
from longtail.sim.limits import Limits
from longtail.sim.sweep import sweep, write_table
from longtail.sim.workload import Workload
from longtail.traces import TraceMeta, TraceWriter, open_trace
from longtail.traces.synth import LogNormal, Recipe, synthesize
from longtail.traces.vocabulary import Vocabulary

RUN = "window.owned=(window.owned||0)+1"
HOSTILE = (
    f"</script><script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f"<svg onload={RUN}>",
    f"\"'><iframe srcdoc='<script>parent.{RUN}</script>'>",
    "</td></table></details><style>*{display:none}</style>",
    "\u202egnirts\u2066",
)
GRID = {"drafter": ["none", "suffix:scope=own+both"], "budget": ["fixed:k=1+4", "das"]}


def make_trace(path: Path) -> Path:
    """Synthetic, two RL steps of twelve rollouts."""
    synthesize(path, Recipe(rl_steps=2, prompts=3, samples=4, lengths=LogNormal(60, 0.8), cap=300))
    return path


def fill(folder: Path) -> Path:
    """A trace, its sweep, two simulations and an advice."""
    load = Workload.from_trace(open_trace(make_trace(folder / "T.parquet")))
    table = sweep(load, Grid(**GRID, max_num_seqs=[None, 8]).setups(), jobs=1)
    write_table(table, folder / "sweep.parquet")
    policies = ("none", "suffix:scope=both/fixed:k=2")
    for name, result in compare(load, policies, limits=Limits(max_num_seqs=8), log=False).items():
        text = json.dumps(result.to_json())
        (folder / f"simulated-{name.partition(':')[0]}.json").write_text(text)
    (folder / "advice.json").write_text(json.dumps(advice()))
    (folder / "policy.yaml").write_text("drafter: suffix:scope=both\nbudget: das\n")
    (folder / "notes.bin").write_bytes(b"\x00\x01nothing")
    return folder


def advice(**changed: Any) -> dict[str, Any]:
    """In the form of `longtail advise -o`."""
    chosen = {"name": "suffix:scope=both/das", "drafter": "suffix:scope=both", "budget": "das",
              "placement": "fcfs", "max_num_seqs": 8, "engine": "longtail"}  # fmt: skip
    plain = {"name": "no speculation", "drafter": "none", "budget": "unlimited"}
    made: dict[str, Any] = {
        "recommendation": {**chosen, "speculates": True, "words": "Turn on suffix with das."},
        "expected": {"makespan_s": 8.25, "none_s": 12.5, "speed_up": 1.5152, "low": 1.4,
                     "high": 1.6, "level": 0.95},
        "rests_on": ["24 rollouts"],
        "wrong_when": ["With no history at all: no speculation."],
        "holds_when": [], "left_out": ["specrl: another model's table"], "untried": [],
        "runner_up": {**plain, "words": "Runner-up: no speculation."},
        "turn_on": {"vllm_args": {"max_num_seqs": 8}, "policy": {"drafter": "suffix"},
                    "command": "vllm serve MODEL", "words": ["Install longtail beside vLLM."]},
        "candidates": [
            {"stage": "measured", **chosen, "makespan_s": 8.25, "speed_up": 1.5152, "low": 1.4,
             "high": 1.6, "draft_tokens": 40, "accepted_tokens": 30},
            {"stage": "measured", **plain, "makespan_s": 12.5, "speed_up": 1.0, "low": 1.0,
             "high": 1.0, "draft_tokens": 0, "accepted_tokens": 0},
            {"stage": "searched", **plain, "makespan_s": 12.0, "speed_up": 1.0},
        ],
        "sensitivity": [{"about": "history", "words": "with none", "value": 0.0,
                         "name": "no speculation", "makespan_s": 12.5, "speed_up": 1.0}],
        "trace": "T.parquet", "origin": "synthetic", "latency": "h100-7b", "version": "0.1.0",
    }  # fmt: skip
    return made | changed


def fill_hostile(folder: Path) -> Path:
    """Hostile in prompts, names, cells, Markdown, JSON and pictures, as far as each can hold it."""
    words = [word.replace(" ", "\u00a0") for word in HOSTILE]  # a token each
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    fingerprint = Vocabulary(folder / "tokenizer.json").fingerprint
    meta = TraceMeta(
        origin="imported", source=HOSTILE[0], model=HOSTILE[1], tokenizer=fingerprint,
        vocab_size=len(words), notes=(HOSTILE[0],), sampling={HOSTILE[1]: HOSTILE[2]},
        rl_steps={"0": HOSTILE[0]},
    )  # fmt: skip
    tokens = list(range(len(words)))
    with TraceWriter(folder / "T.parquet", meta) as writer:
        writer.write(
            {
                "rl_step": 0, "prompt_id": text, "sample": i, "prompt_tokens": tokens,
                "output_tokens": tokens * (i + 1), "prompt_len": len(tokens),
                "output_len": len(tokens) * (i + 1), "finish_reason": "stop", "reward": 1.0,
            }
            for i, text in enumerate(HOSTILE)
        )  # fmt: skip
    load = Workload.from_trace(open_trace(folder / "T.parquet"))
    table = sweep(load, Grid(**GRID).setups(), jobs=1)
    write_table(table.assign(trace=HOSTILE[0], notes=HOSTILE[1]), folder / "sweep.csv")
    named = advice(rests_on=list(HOSTILE), wrong_when=list(HOSTILE), latency=HOSTILE[0])
    named["recommendation"]["words"] = HOSTILE[0]
    named["candidates"][0]["name"] = HOSTILE[1]
    named["turn_on"] = {"vllm_args": HOSTILE[0], "policy": HOSTILE[1]}
    (folder / "advice.json").write_text(json.dumps(named))
    cells = pd.DataFrame({HOSTILE[0]: HOSTILE, "n": range(len(HOSTILE)), HOSTILE[2]: HOSTILE})
    cells.to_csv(folder / "<img src=x onerror=owned()>.csv", index=False)
    (folder / "page.md").write_text(
        f"# Page {HOSTILE[1]}\n\n{HOSTILE[0]}\n\n[here](javascript:{RUN})\n\n"
        f"![p](http://127.0.0.1:9/x.png)\n\n![p](picture.svg)\n\n![q](data:image/svg+xml,x)\n\n"
        f"| a | b |\n|---|---|\n| {HOSTILE[1]} | 1 |\n"
    )
    (folder / "picture.svg").write_text(hostile_svg())
    return folder


def hostile_svg() -> str:
    """A picture that would run, load and style, were it obeyed."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 10 10" onload="{RUN}"><script>{RUN}</script>'
        "<style>*{display:none}@import url(http://127.0.0.1:9/x.css);</style>"
        '<image xlink:href="http://127.0.0.1:9/x.png" width="5" height="5"/>'
        f'<foreignObject><body xmlns="http://www.w3.org/1999/xhtml" onload="{RUN}"/>'
        "</foreignObject>"
        f'<a xlink:href="javascript:{RUN}"><text>no</text></a>'
        '<use xlink:href="http://127.0.0.1:9/x.svg#a"/>'
        '<rect id="kept" width="4" height="4" '
        'style="fill:#000000;background:url(http://127.0.0.1:9)"'
        f' onclick="{RUN}" fill="url(http://127.0.0.1:9/x)"/>'
        f'<text x="1" y="5">&lt;script&gt;{RUN}&lt;/script&gt;</text>'
        f'<animate attributeName="href" to="javascript:{RUN}"/></svg>'
    )
