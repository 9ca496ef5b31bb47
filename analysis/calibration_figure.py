"""The picture of a calibration: what was fitted against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .style import COLOURS, look, new_figure


def fit_quality(content: Mapping[str, Any], name: str) -> Figure:
    """Fitted over measured seconds of sampled forwards, and the errors against tokens and KV."""
    kept, runs = content["residuals"], content["runs"]
    engine = content["engine"]
    caption = (
        f"{name}: {engine['hardware']}, {engine['engine']}, {content['forward']['name']} form, "
        f"{sum(run['forwards'] for run in runs):,} forwards of {len(runs)} runs; "
        f"{len(kept['run']):,} of them shown, at the speed the machine had"
    )
    figure, (parity, tokens, context) = new_figure(
        "Fit of a forward's seconds", caption, width=13, panels=3
    )
    measured, fitted = np.array(kept["measured_s"]), np.array(kept["fitted_s"])
    error = fitted / measured - 1
    policies = list(dict.fromkeys(run["policy"] for run in runs))
    which = np.array([policies.index(runs[i]["policy"]) for i in kept["run"]])
    for i, policy in enumerate(policies):
        mine = which == i
        style: dict[str, Any] = {"color": look(i)["color"], "s": 5, "alpha": 0.5, "linewidths": 0}
        parity.scatter(1e3 * measured[mine], 1e3 * fitted[mine], label=policy, **style)
        tokens.scatter(np.array(kept["tokens"])[mine], 100 * error[mine], **style)
        context.scatter(np.array(kept["kv_tokens"])[mine], 100 * error[mine], **style)
    edges = 1e3 * np.quantile(np.concatenate([measured, fitted]), [0.0, 1.0])
    parity.plot(edges, edges, color=COLOURS[0], linewidth=1)
    parity.set(
        xscale="log", yscale="log", xlabel="measured [ms]", ylabel="fitted [ms]",
        title="each forward, with the host's part",
    )  # fmt: skip
    for axis in (parity.xaxis, parity.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())
    for axes, label in ((tokens, "tokens in the forward"), (context, "KV tokens")):
        axes.axhline(0, color=COLOURS[0], linewidth=1)
        axes.set(xlabel=label, ylabel="fitted over measured, minus 1 [%]", ylim=(-100, 150))
    tokens.set(xscale="log")
    parity.legend(fontsize=7, markerscale=3)
    return figure
