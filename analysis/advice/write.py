"""An advice as files, each whole or absent: advice.json, advice.md, candidates.csv, the policy to
run live if one is recommended, and pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...engine.settings import LiveSettings
from ...sim.sweep import write_table
from ...traces.whole import whole
from ..page import markdown_table
from .advise import Advice
from .choices import POLICY_FILE
from .figures import draw_advice
from .show import COLUMNS, measured_rows, paragraphs

REMEDY = "choose another folder with -o"
DOCUMENT = "advice.json"  # written last: a folder that has it has everything


def write_advice(advice: Advice, told: dict[str, Any], title: str, folder: Path) -> list[Path]:
    """Write `told`, the advice's document, and what goes with it; the paths written.

    A policy is written only if a live engine would take it. Raises TraceError.
    """
    pictures = draw_advice(advice, folder)
    paths = [folder / "advice.md", folder / "candidates.csv"]
    names = [path.name for path in pictures if path.suffix == ".png"]
    _write(paths[0], "\n".join(_page(told, title, names)))
    write_table(pd.DataFrame(told["candidates"]).assign(**advice.load.provenance), paths[1])
    policy = folder / POLICY_FILE
    if told["turn_on"]["policy"]:
        with whole(policy, REMEDY) as partial:
            partial.write_text(_policy(told), encoding="utf-8")
            LiveSettings.read(partial)
        paths.append(policy)
    else:
        policy.unlink(missing_ok=True)  # of an earlier advice
    _write(folder / DOCUMENT, json.dumps(told, indent=1, allow_nan=False) + "\n")
    return [folder / DOCUMENT, *paths, *pictures]


def _write(path: Path, text: str) -> None:
    with whole(path, REMEDY) as partial:
        partial.write_text(text, encoding="utf-8")


def _policy(told: dict[str, Any]) -> str:
    """A policy file: what it is as a comment, then its keys."""
    about = f"{told['recommendation']['name']}, as longtail advise {told['version']} recommends it "
    about += f"for {told['trace']} ({told['origin']}), latency {told['latency_name']}"
    more = ("history: T.parquet  # a trace to begin with", "log: steps/  # a row per forward",
            "record: rollouts/  # a trace per RL step")  # fmt: skip
    keys = yaml.safe_dump(told["turn_on"]["policy"], sort_keys=False, width=1000)
    return f"# {' '.join(about.split())}\n{keys}" + "".join(f"# {line}\n" for line in more)


def _page(told: dict[str, Any], title: str, pictures: list[str]) -> Iterator[str]:
    yield from ("# What to turn on", "", f"{title}; {told['conditions']}.", "")
    yield from (f"**{told['recommendation']['words']}**", "")
    if told["runner_up"]:
        yield from (told["runner_up"]["words"], "")
    yield from ("```", told["turn_on"]["command"], "```", "")
    if told["turn_on"]["policy"]:
        yield from (f"{POLICY_FILE}:", "", "```yaml")
        yield yaml.safe_dump(told["turn_on"]["policy"], sort_keys=False, width=1000).rstrip()
        yield from ("```", "")
    yield from (f"- {line}" for line in told["turn_on"]["words"])
    for heading, lines in paragraphs(told):
        yield from ("", f"## {heading}", "")
        yield from (f"- {line}" for line in lines)
    yield from ("", "## What was measured", "")
    columns = ["choice", *COLUMNS[1:]]
    yield from markdown_table(pd.DataFrame(measured_rows(told), columns=columns))
    yield from ("", "All that was tried: [candidates.csv](candidates.csv).", "")
    for name in pictures:
        yield from (f"![{Path(name).stem.replace('_', ' ')}]({name})", "")
