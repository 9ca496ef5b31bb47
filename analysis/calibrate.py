"""A latency model from live runs: fitted, chosen by cross-validation, with intervals.

A forward's seconds have three parts that are fitted apart: what the model takes (as a function of
what it processes), what the host adds (scheduler, bookkeeping, the time between forwards), and what
drafting costs, per drafter. See `regression` for how, and `forms` for what can be chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..policies.latency import ARGUMENTS
from ..policies.latency.calibrated import DRAFT, VERSION, kind, plus
from ..traces.schema import TraceError
from .clock import Clock
from .forms import Form
from .forward_bench import BenchCase, bench_rows
from .observations import LiveRun, observe, same_engine
from .regression import LEVEL, Fit, fit_robust, number_blocks
from .speed import WORST, find_follows, quiet_probe, slowness

CANDIDATES = ("linear", "piecewise", "table")  # the simplest first
FOLDS, CHUNK = 5, 20  # forwards in a row that are left out, and judged, together
GROUPS = 3  # policies from which whole policies are left out
FEWEST = 200  # forwards
CLEAR = 2.0
SLACK = 0.1
HOST = ("base", "request", "token")
SAMPLE = 2000  # residuals that are kept for pictures


@dataclass(frozen=True)
class Calibration:
    """What was fitted: `content` is the file, the rest is for tables."""

    content: dict[str, Any]
    names: tuple[str, ...]
    fit: Fit


def calibrate(
    runs: Sequence[LiveRun],
    bench: Sequence[BenchCase] = (),
    quiet_s: float | None = None,
) -> Calibration:
    """Fit the runs of one engine. Raises TraceError for runs of several, and for too few forwards.

    bench: forwards timed without scheduler and sampling (`vllm bench forward`). quiet_s: what the
    probe takes on the quiet machine, where more is known of it than these runs tell.
    """
    runs, left_out = _usable(runs)
    same_engine(runs)
    seen = observe(runs)
    if len(seen) < FEWEST:
        raise TraceError(
            f"{len(seen)} forwards in all, at least {FEWEST} are wanted",
            file=runs[0].folder,
            remedy="run more of them",
        )
    if quiet_s is None:
        quiet_s = quiet_probe(seen.probe_s.to_numpy())
    slow = slowness(seen.probe_s.to_numpy(), quiet_s)
    plain = Form.of("linear", seen).design(seen)
    follows = {
        part: find_follows(plain, seen[f"{part}_s"].to_numpy(), slow) for part in ("model", "host")
    }
    follows["draft"] = follows["host"]  # the same kind of work, and too little of it to tell
    for part, exponent in follows.items():  # from here on, seconds of the quiet machine
        seen[f"{part}_s"] /= slow**exponent

    timed = pd.concat([seen, bench_rows(bench)], ignore_index=True)
    group = _groups(runs, timed)
    scores = {name: _cross_validate(name, timed, group) for name in CANDIDATES}
    name = _simplest(scores)
    form = Form.of(name, timed)
    blocks, repeats = number_blocks(timed.run.to_numpy()), _repeats(runs, timed)
    fit = fit_robust(
        form.design(timed),
        timed.model_s.to_numpy(),
        blocks=blocks,
        repeats=repeats,
        smooth=form.smooth,
    )
    kept = fit.kept[: len(seen)]
    model_s = form.design(seen) @ fit.coefficients
    whole = model_s + float(np.median(seen.host_s + seen.draft_s))
    host = fit_robust(
        _linear(seen, HOST),
        seen.host_s.to_numpy(),
        scale=whole,
        blocks=blocks[: len(seen)],
        repeats=repeats[: len(seen)],
    )
    drafts = _fit_drafts(runs, seen, whole)
    values = dict(zip(form.columns, map(float, fit.coefficients), strict=True))
    extra = {n: {"base": values[n], "request": values[f"{n}_request"]} for n in form.extra}
    model = form.model(fit.coefficients)
    if "live" in extra:
        model = plus(model, **extra["live"])
    content: dict[str, Any] = {
        "longtail_calibration": VERSION,
        "forward": {"name": name, **_options(model)},
        "speculating": extra.get("speculates"),
        "all_speculate": bool((seen.speculates == 1).all()),
        "captured": {kind(run.speculates): run.captured for run in runs},
        "host": dict(zip(HOST, map(float, host.coefficients), strict=True)),
        "draft": drafts,
        "covered": {
            key: [float(timed[key][fit.kept].min()), float(timed[key][fit.kept].max())]
            for key in ARGUMENTS
        },
        "probe": {"quiet_s": quiet_s, "slow": float(np.mean(slow)), "follows": follows},
        "intervals": {
            "level": LEVEL,
            "forward": _intervals(form.columns, fit),
            "host": _intervals(HOST, host),
        },
        "choice": {
            key: {"error": float(np.mean(s)), "standard_error": _standard_error(s)}
            for key, s in scores.items()
        },
        "spread": fit.spread,
        "verify": measure_verify(seen, repeats[: len(seen)]),
        "bench": [case.compare(form.model(fit.coefficients)) for case in bench],
        "engine": {name: value for run in runs for name, value in run.identity.items()},
        "configuration": runs[0].run,
        "left_out": left_out,
    }
    clock = Clock(content)
    predicted = np.concatenate([clock.seconds(run) for run in runs])
    content["outliers"] = {
        "forwards": float(1 - kept.mean()),
        "seconds": float(seen.whole_s[~kept].sum() / seen.whole_s.sum()),
    }
    content["runs"] = [_describe(run, i, seen, predicted) for i, run in enumerate(runs)]
    content["residuals"] = _sample(seen, predicted)
    return Calibration(content, form.columns, fit)


def _usable(runs: Sequence[LiveRun]) -> tuple[list[LiveRun], list[str]]:
    """Runs that can be fitted, and the names of those of vLLM's own methods, which draft within
    what is the model's part in the log.
    """
    if not runs:
        raise TraceError("no live runs", remedy="name folders that `longtail run` has written")
    own = [run for run in runs if not run.drafter.startswith("vllm:")]
    if not own:
        raise TraceError(
            "only runs of vLLM's own methods, whose drafting cannot be told from the forward",
            file=runs[0].folder,
            remedy="name runs of longtail's policies, or without speculation",
        )
    return own, [run.name for run in runs if run not in own]


def _cross_validate(name: str, seen: pd.DataFrame, group: np.ndarray) -> np.ndarray:
    """float64[folds]: mean relative error of `CHUNK` forwards together that the fit did not see:
    what a makespan is made of, without the scatter of single ones. A fold is a group (a policy)
    or a run where there are enough of them, else a part of the blocks of forwards.
    """
    run = seen.run.to_numpy(int)
    if len(np.unique(group[group >= 0])) >= GROUPS:
        fold = group
    elif len(np.unique(run[run >= 0])) >= FOLDS:
        fold = run
    else:
        fold = number_blocks(run, CHUNK) % FOLDS
    chunk = number_blocks(run * FOLDS + fold, CHUNK)
    errors = []
    for left_out in np.unique(fold[fold >= 0]):
        test = fold == left_out
        form = Form.of(name, seen[~test])
        fit = fit_robust(
            form.design(seen[~test]), seen.model_s.to_numpy()[~test], smooth=form.smooth
        )
        sums = pd.DataFrame(
            {
                "predicted": form.design(seen[test]) @ fit.coefficients,
                "measured": seen.model_s.to_numpy()[test],
            }
        )
        sums = sums.groupby(chunk[test]).sum()
        errors.append((sums.predicted / sums.measured - 1).abs().clip(upper=WORST).mean())
    return np.array(errors)


def _groups(runs: Sequence[LiveRun], timed: pd.DataFrame) -> np.ndarray:
    """int[n]: the policy of each row; -1 without speculation (which is in every fit) and of what
    was timed alone.
    """
    policies = list(dict.fromkeys(run.policy for run in runs if run.speculates))
    number = [policies.index(run.policy) if run.speculates else -1 for run in runs]
    return np.array([number[n] if n >= 0 else -1 for n in timed.run.to_numpy(int).tolist()])


def _standard_error(scores: np.ndarray) -> float:
    return float(np.std(scores, ddof=1) / np.sqrt(len(scores)))


def _simplest(scores: dict[str, np.ndarray]) -> str:
    """The simplest form that is as good as the best, but for `CLEAR` standard errors of the
    difference: all forms are tried on the same forwards, so errors are compared fold by fold.
    """
    best = min(scores, key=lambda name: float(np.mean(scores[name])))
    for name in CANDIDATES:
        behind = scores[name] - scores[best]
        if name == best or np.mean(behind) <= CLEAR * _standard_error(behind):
            return name
    return best


def _linear(seen: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    columns = {"request": seen.requests, "token": seen.tokens, "draft": seen.drafted}
    one = np.ones(len(seen))
    return np.column_stack([columns.get(name, one) for name in names]).astype(float)


def _fit_drafts(
    runs: Sequence[LiveRun], seen: pd.DataFrame, whole: np.ndarray
) -> dict[str, dict[str, float]]:
    """Per drafter, what policy, drafting and indexing cost."""
    costs = {}
    for drafter in dict.fromkeys(run.drafter for run in runs):
        mine = seen.run.isin([i for i, run in enumerate(runs) if run.drafter == drafter]).to_numpy()
        fit = fit_robust(
            _linear(seen[mine], DRAFT), seen.draft_s.to_numpy()[mine], scale=whole[mine]
        )
        costs[drafter] = dict(zip(DRAFT, map(float, fit.coefficients), strict=True))
    return costs


def measure_verify(seen: pd.DataFrame, repeats: np.ndarray) -> dict[str, Any] | None:
    """Whether verifying a draft of d tokens reads each request's KV once or d + 1 times.

    Over forwards that only decode, seconds are fitted to the contexts (each once) and to the pairs
    of a query and a key. `share` is the pairs' part of what a KV token costs a request without a
    draft: 0, it is read once; 1, once per query. None without drafts.
    """
    chosen = ((seen.prefill_tokens == 0) & (seen.speculates > 0)).to_numpy()
    mine = seen[chosen]
    if len(mine) < FEWEST or not mine.drafted.any():
        return None
    form = Form.of("piecewise", mine)  # whatever tokens cost by themselves
    fit = fit_robust(
        form.design(mine),
        mine.model_s.to_numpy(),
        blocks=number_blocks(mine.run.to_numpy()),
        repeats=repeats[chosen],
    )
    terms = [form.columns.index(name) for name in ("kv_token", "pair")]
    kv, pair = fit.coefficients[terms]
    draws = fit.draws[:, terms]
    read = draws.sum(axis=1)
    if kv + pair <= 0 or (read <= 0).mean() > (1 - LEVEL) / 2:
        return {"share": None, "interval": None, "context": 0.0}
    shares = draws[read > 0, 1] / read[read > 0]
    share = float(pair / (kv + pair))
    edges = np.clip(np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), 0, 1)
    # What lies outside of 0 to 1 means that the form does not hold here, whatever the noise.
    sound = float(((shares >= -SLACK) & (shares <= 1 + SLACK)).mean())
    context = (mine.kv_tokens * kv + mine.pairs * pair).sum() / mine.model_s.sum()
    return {
        "share": share,
        "interval": [min(float(edges[0]), share), max(float(edges[1]), share)],
        "settled": sound > 0.5 and float(edges[1] - edges[0]) < 0.5,
        "context": float(context),  # of the forwards' seconds
        "kv_token": float(kv),
        "pair": float(pair),
    }


def _repeats(runs: Sequence[LiveRun], timed: pd.DataFrame) -> np.ndarray:
    """int[n, 2]: each row's run, and the first run that it repeats: of the same policy and work."""
    first: dict[tuple[str, str], int] = {}
    for index, run in enumerate(runs):
        first.setdefault((run.policy, str(run.job.work) if run.job else run.name), index)
    same = [first[run.policy, str(run.job.work) if run.job else run.name] for run in runs]
    number = timed.run.to_numpy(int)
    return np.column_stack([number, [same[n] if n >= 0 else n for n in number.tolist()]])


def _options(model: Any) -> dict[str, Any]:
    """A latency model's options as JSON."""
    options = vars(model).items()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options}


def _intervals(names: Sequence[str], fit: Fit) -> dict[str, list[float]]:
    return {
        name: [float(low), float(high)]
        for name, (low, high) in zip(names, fit.interval(), strict=True)
    }


def _describe(
    run: LiveRun, index: int, seen: pd.DataFrame, predicted: np.ndarray
) -> dict[str, Any]:
    mine = (seen.run == index).to_numpy()
    return {
        "name": run.name,
        "policy": run.policy,
        "digest": run.digest,
        "forwards": int(mine.sum()),
        "seconds": float(seen.whole_s[mine].sum()),
        "fitted_over_measured": float(predicted[mine].sum() / seen.whole_s[mine].sum()),
    }


def _sample(seen: pd.DataFrame, predicted: np.ndarray) -> dict[str, list]:
    """Forwards for the pictures, evenly spaced over all of them."""
    rows = np.unique(np.linspace(0, len(seen) - 1, min(SAMPLE, len(seen))).astype(int))
    part = seen.iloc[rows]
    counts = {name: part[name].astype(int).tolist() for name in ("tokens", "requests", "kv_tokens")}
    return counts | {
        "run": part.run.tolist(),
        "measured_s": [round(s, 9) for s in part.whole_s],
        "fitted_s": [round(s, 9) for s in predicted[rows].tolist()],
    }
