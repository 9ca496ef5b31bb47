"""Made-up traces with chosen length tails and token reuse; always marked synthetic.

Lengths: a Gaussian copula ties the rollouts of a prompt together, z = sqrt(rho) * u[prompt] +
sqrt(1 - rho) * e, where u belongs to the prompt in every RL step; the quantile function of the
chosen law turns z into tokens, which are at least 1 and at most `cap` (then cut by length).

Tokens: a rollout is a row of segments of 1 to 2 * SEGMENT - 1 tokens. Each is, with probability
`reuse`, copied from a random place of an earlier rollout of the same prompt (any sample of the
previous RL step, or an earlier sample of this one); with probability `self_reuse` from a random
place of the rollout's own text so far; else fresh: uniform over the vocabulary without the end
token. Where there is nothing to copy from yet the segment is fresh. Token 0 is the end token.

Streams by RL step: memory holds two of them. The same arguments give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numba
import numpy as np

from .rollouts import chunks, offsets_of
from .schema import FINISH_REASONS, LENGTH, STOP, TraceError, TraceMeta
from .writer import TraceWriter, rollout_table

SEGMENT = 16
END_TOKEN = 0


@dataclass(frozen=True)
class LogNormal:
    """Output lengths median * exp(sigma * z); `median` in tokens."""

    median: float = 1200.0
    sigma: float = 1.0

    def quantile(self, z: np.ndarray) -> np.ndarray:
        """Tokens at the standard normal deviate z."""
        return self.median * np.exp(self.sigma * z)


@dataclass(frozen=True)
class Pareto:
    """Output lengths of at least `scale` tokens, P(length > x) = (scale / x) ** alpha."""

    scale: float = 500.0
    alpha: float = 1.5

    def quantile(self, z: np.ndarray) -> np.ndarray:
        """Tokens at the standard normal deviate z."""
        survival = np.array([0.5 * math.erfc(x / math.sqrt(2)) for x in z])
        return self.scale * np.maximum(survival, 1e-300) ** (-1 / self.alpha)


LAWS: dict[str, type[LogNormal] | type[Pareto]] = {"lognormal": LogNormal, "pareto": Pareto}


def parse_lengths(text: str) -> LogNormal | Pareto:
    """`lognormal:median=1200,sigma=1.0` or `pareto:scale=500,alpha=1.5`; both have defaults."""
    name, _, listed = text.partition(":")
    if name not in LAWS:
        raise TraceError(f"no length law {name!r}", remedy=f"one of {', '.join(LAWS)}")
    law = LAWS[name]
    known = [f.name for f in fields(law)]
    options: dict[str, float] = {}
    for pair in filter(None, listed.split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        try:
            options[key] = float(value)
        except ValueError:
            options[key] = math.nan
        if key not in known or not 0 < options[key] < math.inf:
            raise TraceError(
                f"length law {text!r}: cannot use {pair!r}",
                remedy=f"{name} takes positive numbers for {', '.join(known)}",
            )
    return law(**options)


@dataclass(frozen=True)
class Recipe:
    """What to make; lengths in tokens, probabilities and correlation between 0 and 1."""

    rl_steps: int = 4
    prompts: int = 32
    samples: int = 8
    lengths: LogNormal | Pareto = LogNormal()
    cap: int = 8192
    group_correlation: float = 0.5
    prompt_len: int = 256
    vocab: int = 32000
    reuse: float = 0.6
    self_reuse: float = 0.1
    tokens: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rl_steps", "prompts", "samples", "cap", "prompt_len"):
            if getattr(self, name) < 1:
                raise TraceError(f"{name} is below 1", remedy="give a number of at least 1")
        for name in ("group_correlation", "reuse", "self_reuse"):
            if not 0 <= getattr(self, name) <= 1:
                raise TraceError(f"{name} is not between 0 and 1", remedy="give a share")
        if self.reuse + self.self_reuse > 1:
            raise TraceError("reuse and self_reuse exceed 1 together", remedy="lower one of them")
        if not 2 <= self.vocab < 2**31 or self.seed < 0:
            raise TraceError("vocab is below 2 or seed below 0", remedy="give larger ones")


def synthesize(
    output: str | Path, recipe: Recipe, watch: Callable[[float | None], None] | None = None
) -> None:
    """Write a synthetic trace; raises TraceError where the output cannot be written."""
    rng = np.random.default_rng(recipe.seed)
    taste = rng.standard_normal(recipe.prompts)
    prompt_sizes = np.full(recipe.prompts, recipe.prompt_len)
    prompt_tokens = rng.integers(
        1, recipe.vocab, int(prompt_sizes.sum()) if recipe.tokens else 0, dtype=np.int32
    )
    before = _Step.empty(recipe)
    with TraceWriter(output, _meta(recipe)) as writer:
        for rl_step in range(recipe.rl_steps):
            before = _Step.draw(recipe, rng, taste, before)
            before.write(writer, recipe, rl_step, prompt_tokens)
            if watch:
                watch((rl_step + 1) / recipe.rl_steps)


@dataclass(frozen=True)
class _Step:
    """The outputs of one RL step, prompt by prompt."""

    sizes: np.ndarray  # int64[prompts * samples]
    capped: np.ndarray  # bool[prompts * samples]
    tokens: np.ndarray  # int32

    @classmethod
    def empty(cls, recipe: Recipe) -> _Step:
        n = recipe.prompts * recipe.samples
        nothing = np.zeros(0, dtype=np.int32)
        return cls(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), nothing)

    @classmethod
    def draw(
        cls, recipe: Recipe, rng: np.random.Generator, taste: np.ndarray, before: _Step
    ) -> _Step:
        """A new RL step, reusing text of the one before."""
        n, rho = recipe.prompts * recipe.samples, recipe.group_correlation
        z = math.sqrt(rho) * np.repeat(taste, recipe.samples)
        z += math.sqrt(1 - rho) * rng.standard_normal(n)
        wished = np.minimum(recipe.lengths.quantile(z), 2.0**31 - 1).astype(np.int64)
        sizes = np.clip(wished, 1, recipe.cap)
        capped = wished > recipe.cap
        seed = rng.integers(1, 2**63, dtype=np.uint64)
        if not recipe.tokens:
            return cls(sizes, capped, before.tokens)
        tokens = _write_tokens(
            offsets_of(sizes),
            capped,
            offsets_of(before.sizes),
            before.tokens,
            recipe.samples,
            recipe.vocab,
            recipe.reuse,
            recipe.self_reuse,
            seed,
        )
        return cls(sizes, capped, tokens)

    def write(self, writer: TraceWriter, recipe: Recipe, rl_step: int, prompts: np.ndarray) -> None:
        """Append the RL step to the trace, a few million tokens at a time."""
        offsets = offsets_of(self.sizes)
        grid = prompts.reshape(-1, recipe.prompt_len)
        width = len(str(recipe.prompts - 1))
        for rows in chunks(np.arange(len(self.sizes)), self.sizes + recipe.prompt_len):
            prompt, n = rows // recipe.samples, len(rows)
            sizes, prompt_sizes = self.sizes[rows], np.full(n, recipe.prompt_len)
            lists = {}
            if recipe.tokens:
                text = self.tokens[offsets[rows[0]] : offsets[rows[-1] + 1]]
                lists["prompt_tokens"] = (grid[prompt].ravel(), offsets_of(prompt_sizes))
                lists["output_tokens"] = (text, offsets_of(sizes))
            codes = np.where(self.capped[rows], LENGTH, STOP)
            writer.write(
                rollout_table(
                    rl_step=np.full(n, rl_step),
                    prompt_id=[f"synthetic/{p:0{width}d}" for p in prompt],
                    sample=rows % recipe.samples,
                    prompt_len=prompt_sizes,
                    output_len=sizes,
                    finish_reason=[FINISH_REASONS[code] for code in codes],
                    **lists,
                )
            )


def _meta(recipe: Recipe) -> TraceMeta:
    values = {name: value for name, value in asdict(recipe).items() if name != "lengths"}
    law = {"law": type(recipe.lengths).__name__.lower(), **asdict(recipe.lengths)}
    return TraceMeta(
        origin="synthetic",
        source="longtail trace synth",
        vocab_size=recipe.vocab if recipe.tokens else None,
        end_token_id=END_TOKEN if recipe.tokens else None,
        sampling={"max_tokens": recipe.cap},
        engine_config={**values, "lengths": law},
        notes=("synthetic: lengths and tokens were drawn at random, no model wrote them",),
    )


@numba.njit(cache=True)
def _random(state: np.ndarray) -> float:
    """Uniform in [0, 1): splitmix64, the same on every machine."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    x = state[0]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True)
def _write_tokens(
    offsets: np.ndarray,
    capped: np.ndarray,
    old_offsets: np.ndarray,
    old: np.ndarray,
    samples: int,
    vocab: int,
    reuse: float,
    self_reuse: float,
    seed: np.uint64,
) -> np.ndarray:
    """The tokens of one RL step: rollouts in order, each a row of copied and fresh segments."""
    state = np.array([seed], dtype=np.uint64)
    tokens = np.empty(offsets[-1], dtype=np.int32)
    for r in range(len(offsets) - 1):
        group = r - r % samples
        start, end = offsets[r], offsets[r + 1]
        if not capped[r]:
            end -= 1
            tokens[end] = END_TOKEN
        at = start
        while at < end:
            stop = min(at + 1 + int(_random(state) * (2 * SEGMENT - 1)), end)
            choice = _random(state)
            text, low, high = tokens, start, start
            if choice < reuse:
                # an earlier rollout of this prompt: one of the last RL step's, or an elder sibling
                elders = r - group
                pasts = samples if len(old) > 0 else 0
                if pasts + elders > 0:
                    pick = int(_random(state) * (pasts + elders))
                    if pick < pasts:
                        text, low, high = (
                            old,
                            old_offsets[group + pick],
                            old_offsets[group + pick + 1],
                        )
                    else:
                        elder = group + pick - pasts
                        low, high = offsets[elder], offsets[elder + 1]
                    high -= 1  # never its end token
            elif choice < reuse + self_reuse:
                high = at
            if high > low:
                source = low + int(_random(state) * (high - low))
                stop = min(stop, at + high - source)
                for i in range(stop - at):
                    tokens[at + i] = text[source + i]
            else:
                for i in range(at, stop):
                    tokens[i] = 1 + int(_random(state) * (vocab - 1))
            at = stop
    return tokens
