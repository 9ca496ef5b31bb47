"""A calibration for people: what was chosen, its parameters, and how far to trust it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from .calibrate import Calibration
from .show import WIDTH, Output, table

TERMS = {
    "base": "every forward",
    "tokens": "a forward up to so many tokens (of so much context)",
    "token": "a token",
    "request": "a request",
    "kv_token": "a token of context, once per request",
    "pair": "a query-key pair: contexts once per token, drafts included",
    "prefill": "a prompt token",
    "speculates": "every forward of an engine that verifies drafts",
    "speculates_request": "a request there",
    "live": "every forward of a live engine, not of a bench",
    "live_request": "a request there",
    "draft": "a draft token",
}
"""What a parameter is paid for."""


def show_calibration(made: Calibration) -> None:
    """Print what `longtail calibrate` found."""
    content, out = made.content, Output()
    engine, runs = content["engine"], content["runs"]
    out.print(
        f"{engine['hardware']}, {engine['engine']}, {', '.join(engine['architecture'] or [])}: "
        f"{sum(run['forwards'] for run in runs):,} forwards of {len(runs)} runs",
        style="bold",
    )
    rows = [
        [name, f"{score['error']:.2%}", f"{score['standard_error']:.2%}",
         "chosen" if name == content["forward"]["name"] else ""]
        for name, score in content["choice"].items()
    ]  # fmt: skip
    out.show(table(["form", "held-out error", "+-", ""], rows, "Cross-validation"))
    out.print(_wrap(
        "error of 20 forwards together that the fit did not see (whole policies, where there are "
        "three); chosen: the simplest form that none beats by two standard errors"
    ), style="dim")  # fmt: skip
    _show_parameters(out, made)
    if content["verify"]:
        out.print(_verify(content["verify"]))
    rows = [
        [run["name"], run["policy"], f"{run['forwards']:,}", f"{run['seconds']:.2f}",
         f"{run['fitted_over_measured'] - 1:+.1%}"]
        for run in runs
    ]  # fmt: skip
    columns = ["run", "policy", "forwards", "measured s", "fitted, over it"]
    out.show(table(columns, rows, "Runs it was fitted to"))
    out.print(_trust(content), markup=False)
    if content["bench"]:
        rows = [
            [case["case"], f"{1e3 * case['measured_s']:.3f}", f"{1e3 * case['fitted_s']:.3f}"]
            for case in content["bench"]
        ]
        out.show(table(["case", "measured ms", "fitted ms"], rows, "vllm bench forward"))


def _show_parameters(out: Output, made: Calibration) -> None:
    content = made.content
    rows, shown = [], set()
    values = dict(zip(made.names, made.fit.coefficients, strict=True))
    parts = (("forward", values), ("host", content["host"]))
    for part, found in parts:
        for name, (low, high) in content["intervals"][part].items():
            shown.add(re.split("[<=]", name)[0])
            rows.append([f"{part}: {name}", _us(found[name]), f"{_us(low)} to {_us(high)}"])
    for drafter, cost in content["draft"].items():
        for name, value in cost.items():
            if value:
                shown.add(name)
                rows.append([f"drafting, {drafter}: {name}", _us(value), ""])
    columns = ["on the quiet machine", "us", "95 % interval"]
    out.show(table(columns, rows, "Parameters"))
    terms = "; ".join(f"{name}: {TERMS[name]}" for name in TERMS if name in shown)
    out.print(
        _wrap(
            "forward: what the model takes; host: scheduler, bookkeeping, between forwards; each "
            f"is the sum of its rows. {terms}; 0: nothing found"
        ),
        style="dim",
    )


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _us(value: float) -> str:
    return f"{1e6 * value:,.4g}"


def _verify(verify: Mapping[str, Any]) -> str:
    if verify["share"] is None:
        return "Verifying drafts: these contexts are too short for their reading to show."
    low, high = verify["interval"]
    words = (
        "Verifying drafts: of what a KV token costs a request without a draft, "
        f"{verify['share']:.0%} ({low:.0%} to {high:.0%}) is paid again for every draft token; "
        "0 %: read once per request, 100 %: once per token. "
        f"Reading contexts takes {verify['context']:.0%} of the seconds of these forwards."
    )
    return words + ("" if verify["settled"] else " These runs do not settle it.")


def _trust(content: Mapping[str, Any]) -> str:
    covered = ", ".join(
        f"{name} {low:,.0f} to {high:,.0f}" for name, (low, high) in content["covered"].items()
    )
    probe, outliers = content["probe"], content["outliers"]
    lines = [
        f"Measured range (results say what share of their forwards is outside): {covered}.",
        f"Left out as outliers: {outliers['forwards']:.1%} of the forwards, "
        f"{outliers['seconds']:.1%} of the seconds. A forward scatters by {content['spread']:.0%}.",
    ]
    if probe["quiet_s"]:
        slower = ", ".join(
            f"{part} {probe['slow'] ** power:.2f}" for part, power in probe["follows"].items()
        )
        lines.append(
            f"By the probe the machine was {probe['slow']:.2f} times slower than when quiet, which "
            f"made slower by: {slower}."
        )
    if content["left_out"]:
        lines.append(f"Not used (vLLM's own methods): {', '.join(content['left_out'])}.")
    return "\n".join(lines)
