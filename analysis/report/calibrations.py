"""Latency models that `longtail calibrate` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..calibration_figure import fit_quality
from ..show_calibration import TERMS
from .folder import UNREADABLE, Folder, Item
from .page import Block, Facts, Figure, Part, Table
from .picture import draw

KEY = "longtail_calibration"
CPU = "measured on a CPU, not on a GPU"


def read_calibrations(folder: Folder) -> Iterator[Part]:
    """A part for each."""
    for item in folder.find("json", where=_is_calibration):
        try:
            part = _part(item.content, item, f"calibration{item.number}")
        except UNREADABLE as error:
            folder.refuse(item, error)
            continue
        folder.take(item, "latency model of `longtail calibrate`")
        for ending in ("svg", "png"):  # what is drawn here anew
            picture = folder.at(f"{item.stem}.{ending}")
            if picture is not None:
                folder.take(picture, f"the picture of {item.name}, drawn anew")
        yield part


def _is_calibration(item: Item) -> bool:
    return isinstance(item.content, dict) and KEY in item.content


def _part(content: Mapping[str, Any], item: Item, name: str) -> Part:
    engine, runs, form = content["engine"], content["runs"], content["forward"]["name"]
    forwards = sum(run["forwards"] for run in runs)
    error = content["choice"][form]["error"]
    facts = {
        **{key: engine.get(key) for key in ("hardware", "engine", "architecture", "dtype")},
        "weights": engine.get("load_format"),
        "form": form,
        "forwards": forwards,
        "runs": len(runs),
        "left out as outliers": f"{content['outliers']['forwards']:.1%} of the forwards",
        "measured with": ", ".join(
            f"{key} {content['configuration'].get(key)}"
            for key in ("max_num_seqs", "max_num_batched_tokens")
        ),
    }
    residuals = pd.DataFrame(content["residuals"])
    percent = {"held-out error": "{:.2%}", "standard error": "{:.2%}", "fitted over it": "{:.3f}"}
    choice = [
        (key, score["error"], score["standard_error"], "chosen" if key == form else "")
        for key, score in content["choice"].items()
    ]
    fitted = [
        (run["name"], run["policy"], run["forwards"], run["seconds"], run["fitted_over_measured"])
        for run in runs
    ]
    covered = [(key, low, high) for key, (low, high) in content["covered"].items()]
    blocks: list[Block] = [
        Facts(facts),
        Table("Parameters, microseconds", _parameters(content)),
        Figure(
            "Fit of a forward's seconds",
            draw(lambda: fit_quality(content, item.base), name),
            [Table("Sampled forwards", residuals)],
        ),
        Table("Forms, by cross-validation", pd.DataFrame(
            choice, columns=["form", "held-out error", "standard error", ""]), percent),
        Table("Runs it was fitted to", pd.DataFrame(
            fitted, columns=["run", "policy", "forwards", "measured s", "fitted over it"]),
            percent),
        Table("Measured range", pd.DataFrame(covered, columns=["of", "from", "to"])),
    ]  # fmt: skip
    told = [f"{item.name}: {CPU}"] if "CPU" in str(engine.get("hardware")) else []
    if engine.get("load_format") == "dummy":
        told.append(f"{item.name}: the model's weights are dummies: seconds are those of its shape")
    headline = (
        f"{item.name}: a latency model ({form}) fitted to {forwards:,} forwards of {len(runs)} "
        f"live runs on {engine.get('hardware')}; {error:.1%} off what it was not fitted to."
    )
    return Part(f"Calibration: {item.name}", blocks, headlines=[headline], limitations=told)


def _parameters(content: Mapping[str, Any]) -> pd.DataFrame:
    """A row per parameter that has an interval."""
    rows = []
    for part in ("forward", "host"):
        values = dict(content[part])
        if part == "forward":
            more = content.get("speculating") or {}
            values |= {"speculates": more.get("base"), "speculates_request": more.get("request")}
            if "live" in content["intervals"][part]:
                values.pop("base")  # it has the live engine's part in it
        for name, (low, high) in content["intervals"][part].items():
            value: Any = values.get(name)
            known = isinstance(value, (int, float))
            term = name.partition("=")[0].partition("<")[0]
            rows.append(
                (part, name, 1e6 * value if known else None, 1e6 * low, 1e6 * high,
                 TERMS.get(term, ""))
            )  # fmt: skip
    for drafter, costs in content["draft"].items():
        rows += [
            (f"drafting, {drafter}", name, 1e6 * value, None, None, TERMS.get(name, ""))
            for name, value in costs.items()
        ]
    columns = ["part", "parameter", "value", "95 % from", "to", "for"]
    return pd.DataFrame(rows, columns=columns)
