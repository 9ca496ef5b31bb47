"""What the pages simulate: parts of a trace, and equal requests that all decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ...policies.batch import NO_CAP
from ...policies.components import DRAFTERS
from ...sim.limits import Limits
from ...sim.simulate import Setup, simulate_bounds, simulate_steps
from ...sim.step import StepResult
from ...sim.workload import Workload
from ...traces.rollouts import Lengths, Tokens, offsets_of
from ...traces.schema import LENGTH, STOP
from ..show import caption

EQUAL = 64


@dataclass(frozen=True)
class Lab:
    """A trace, and who is told of each simulation that is done."""

    load: Workload
    advance: Callable[[], None] = lambda: None

    @property
    def caption(self) -> str:
        """The trace, in a line."""
        return caption(self.load)

    @property
    def judged(self) -> list[int]:
        """RL steps with history; all there are if there is but one."""
        return self.load.judged(None)

    def run(
        self, load: Workload, rl_steps: list[int] | None = None, *, log: bool = False, **setup: Any
    ) -> list[StepResult]:
        """Simulate the RL steps (by default all that are judged); setup: as `Setup.of` takes it.

        Raises what `simulate` raises.
        """
        results = simulate_steps(load, Setup.of(**setup), rl_steps or self.judged, log=log)
        self.advance()
        return results

    def bounds(self, load: Workload, **setup: Any) -> list[float]:
        """Clairvoyant seconds of the RL steps that are judged."""
        found = simulate_bounds(load, Setup.of(**setup), rl_steps=self.judged)
        self.advance()
        return [found.clairvoyant_s[step] for step in self.judged]

    def log(self, batch: int, context: int, output: int, **setup: Any) -> pd.DataFrame:
        """The forwards in which all of `batch` equal requests decode; they begin with `context`
        tokens each and get `output` more. Several replicas do the same, so that chance averages
        out: `EQUAL` requests in all.
        """
        replicas = -(-EQUAL // batch)
        load, limits = equal_requests(batch * replicas, context, output), Limits(replicas=replicas)
        (step,) = self.run(load, [0], log=True, limits=limits, **setup)
        assert step.log is not None
        return step.log[(step.log.prefill_tokens == 0) & (step.log.requests == batch)]

    def rate(self, batch: int, context: int, output: int, **setup: Any) -> float:
        """Tokens per second of a replica in these forwards."""
        return rate_of(self.log(batch, context, output, **setup))


def rate_of(log: pd.DataFrame) -> float:
    """Tokens per second of the forwards of a log."""
    return float((log.requests + log.accepted).sum() / log.forward_s.sum())


def equal_requests(count: int, prompt_len: int, output_len: int) -> Workload:
    """`count` requests alike, without tokens and without caps."""

    def same(value: int) -> np.ndarray:
        return np.full(count, value, np.int32)

    lengths = Lengths(
        rl_step=same(0),
        prompt=np.arange(count, dtype=np.int32),
        sample=same(0),
        prompt_len=same(prompt_len),
        output_len=same(output_len),
        finish=np.full(count, STOP, np.int8),
        reward=np.full(count, np.nan, np.float32),
        prompt_ids=[str(i) for i in range(count)],
    )
    return Workload(lengths, same(int(NO_CAP)))


def part(load: Workload, requests: int, samples: int | None = None) -> Workload:
    """At most so many rollouts of the last RL step, prompt by prompt as they come, and in earlier
    RL steps those with the same prompt and place in their group.

    samples: only the first so many of a prompt in an RL step.
    """
    lengths = load.lengths
    place = _place_in_group(lengths)
    last = load.rows(load.rl_steps[-1])
    prompts, first = np.unique(lengths.prompt[last], return_index=True)
    turn = np.full(int(lengths.prompt.max()) + 1, len(lengths), np.int64)  # when a prompt comes
    turn[prompts] = first
    key = turn[lengths.prompt] * (place.max() + 1) + place
    fitting = (turn[lengths.prompt] < len(lengths)) & (place < (samples or len(lengths)))
    there = np.sort(key[last][fitting[last]])[:requests]
    return _take(load, np.flatnonzero(fitting & np.isin(key, there)))


def _place_in_group(lengths: Lengths) -> np.ndarray:
    """int64[n]: how many rollouts of the same prompt and RL step stand before each."""
    key = np.stack([lengths.rl_step, lengths.prompt])
    _, group = np.unique(key, axis=1, return_inverse=True)
    group = group.ravel()
    order = np.argsort(group, kind="stable")
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return place


def _take(load: Workload, rows: np.ndarray) -> Workload:
    tokens = _tokens(load)
    return Workload(
        load.lengths.select(rows),
        load.cap[rows],
        load.trace,
        None if tokens is None else tokens.select(rows),
    )


def shortened(load: Workload, cap: int) -> Workload:
    """The same rollouts, those longer than `cap` tokens cut there: all have that cap."""
    lengths, tokens = load.lengths, _tokens(load)
    output_len = np.minimum(lengths.output_len, cap).astype(np.int32)
    finish = np.where(lengths.output_len > cap, LENGTH, lengths.finish).astype(np.int8)
    if tokens is not None:
        pieces = [tokens.output(i)[:n] for i, n in enumerate(output_len.tolist())]
        tokens = replace(
            tokens, output_tokens=np.concatenate(pieces), output_offsets=offsets_of(output_len)
        )
    cut = replace(lengths, output_len=output_len, finish=finish)
    return Workload(cut, np.minimum(load.cap, cap).astype(np.int32), load.trace, tokens)


def _tokens(load: Workload) -> Tokens | None:
    """The trace's tokens, if it has any: a part of a trace cannot read its own."""
    if load.tokens is None and load.trace is not None and load.trace.has_tokens:
        load.tokens = load.trace.tokens(load.rl_steps)
    return load.tokens


def tokens_of(load: Workload, drafter: str) -> Tokens:
    """The trace's tokens. Raises TraceError, saying what this drafter needs, if it has none."""
    tokens = _tokens(load)
    if tokens is None:
        load.profile(DRAFTERS.make(drafter))
    assert tokens is not None
    return tokens


def size(load: Workload) -> int:
    """Requests of the last RL step."""
    rows = load.rows(load.rl_steps[-1])
    return rows.stop - rows.start
