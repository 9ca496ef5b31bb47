"""The forms that a forward's seconds can be fitted to; each is linear in its coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..policies.latency.linear import Linear
from ..policies.latency.piecewise import Piecewise
from ..policies.latency.table import Table

COMMON = ("kv_token", "pair", "request", "prefill")  # what every model adds
INDICATORS = ("speculates", "live")
"""What some measurements have and others have not: an engine that was started to verify drafts; a
scheduler and a sampler, which `vllm bench forward` is without. Each adds to a forward and to each
request in it.
"""
KNOTS, KV_KNOTS = 7, 4


@dataclass(frozen=True)
class Form:
    """A form with its knots; made from the measurements that it is to be fitted to."""

    name: str  # of the latency model
    tokens: tuple[float, ...] = ()  # knots
    kv: tuple[float, ...] = ()
    extra: tuple[str, ...] = ()  # those of INDICATORS that differ between measurements

    @classmethod
    def of(cls, name: str, seen: pd.DataFrame) -> Form:
        """Knots at quantiles of what was seen (`observations.observe`)."""
        extra = tuple(name for name in INDICATORS if seen[name].nunique() > 1)
        if extra == INDICATORS and (seen.speculates == seen.live).all():
            extra = ("live",)  # one and the same
        if name == "linear":
            return cls(name, extra=extra)
        tokens = _knots(seen.padded.to_numpy(), KNOTS)
        kv = _knots(seen.kv_tokens.to_numpy(float), KV_KNOTS) if name == "table" else ()
        return cls(name, tokens, kv, extra)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the coefficients are of."""
        if self.name == "linear":
            core: tuple[str, ...] = ("base", "token")
        elif self.name == "piecewise":
            core = ("base", *(f"tokens<={k:g}" for k in self.tokens[1:]))
        else:
            core = tuple(f"tokens={t:g},kv={k:g}" for t in self.tokens for k in self.kv)
        extra = (part for name in self.extra for part in (name, f"{name}_request"))
        return (*core, *self.common, *extra)

    @property
    def common(self) -> tuple[str, ...]:
        """The linear terms; a table has the KV tokens as an axis."""
        return COMMON[1:] if self.name == "table" else COMMON

    def design(self, seen: pd.DataFrame) -> np.ndarray:
        """float64[n, len(columns)]."""
        one = np.ones(len(seen))
        x = (seen.tokens if self.name == "linear" else seen.padded).to_numpy(float)
        if self.name == "linear":
            core = [one, x]
        elif self.name == "piecewise":
            # Ramps with slopes >= 0: a forward of more tokens is never cheaper.
            core = [one, *_ramps(x, self.tokens).T]
        else:
            hats = _hats(x, self.tokens)[:, :, None]
            over = _hats(seen.kv_tokens.to_numpy(float), self.kv)[:, None, :]
            core = list((hats * over).reshape(len(seen), -1).T)
        common = {
            "kv_token": seen.kv_tokens,
            "pair": seen.pairs,
            "request": seen.requests,
            "prefill": seen.prefill_tokens,
        }
        extra = [part for n in self.extra for part in (seen[n], seen[n] * seen.requests)]
        return np.column_stack([*core, *(common[n] for n in self.common), *extra]).astype(float)

    @property
    def smooth(self) -> np.ndarray | None:
        """float64[m, p] for `fit_robust`: a table bends no more than measurements ask for."""
        if self.name != "table":
            return None
        rows, columns = len(self.tokens), len(self.kv)
        node = np.eye(rows * columns).reshape(rows, columns, -1)
        bends = [np.diff(node, 2, axis=axis).reshape(-1, rows * columns) for axis in (0, 1)]
        steps = [0.1 * np.diff(node, 1, axis=axis).reshape(-1, rows * columns) for axis in (0, 1)]
        wishes = np.concatenate([*bends, *steps])
        return np.pad(wishes, ((0, 0), (0, len(self.columns) - rows * columns)))

    def model(self, coefficients: np.ndarray, captured: Sequence[float] = ()) -> Any:
        """The latency model of an engine with these CUDA graphs, without what is extra."""
        values = dict(zip(self.columns, map(float, coefficients), strict=True))
        common = {name: values[name] for name in self.common}
        if self.name == "linear":
            return Linear(base=values["base"], token=values["token"], **common)
        capture = tuple(captured)
        core = coefficients[: len(self.columns) - len(self.common) - 2 * len(self.extra)]
        if self.name == "piecewise":
            time = tuple(map(float, np.cumsum(core)))
            return Piecewise(tokens=self.tokens, time=time, capture=capture, **common)
        time = tuple(map(float, core))
        return Table(tokens=self.tokens, kv=self.kv, time=time, capture=capture, **common)


def _knots(values: np.ndarray, count: int) -> tuple[float, ...]:
    """At most `count`, from the least to the most, as many values between two as between others."""
    found = np.unique(np.quantile(values, np.linspace(0, 1, count), method="nearest"))
    if len(found) < 2:
        found = np.array([found[0], found[0] + 1])
    return tuple(map(float, found))


def _ramps(x: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """float64[n, knots - 1]: how far into each section, 0 to 1; beyond the last one, by the line
    through first and last, as in `Piecewise`.
    """
    left, right = np.array(knots[:-1]), np.array(knots[1:])
    ramps = np.clip((x[:, None] - left) / (right - left), 0, 1)
    beyond = np.maximum(x - knots[-1], 0) / (knots[-1] - knots[0])
    return np.asarray(ramps + beyond[:, None])


def _hats(x: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """float64[n, knots]: weights of a linear interpolation; beyond the last knot they continue."""
    nodes = np.array(knots)
    right = np.clip(np.searchsorted(nodes, x), 1, len(nodes) - 1)
    share = np.maximum((x - nodes[right - 1]) / (nodes[right] - nodes[right - 1]), 0)
    hats = np.zeros((len(x), len(nodes)))
    rows = np.arange(len(x))
    hats[rows, right - 1] = 1 - share
    hats[rows, right] = share
    return hats
