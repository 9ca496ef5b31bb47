"""Seconds from a model's configuration and a GPU's datasheet: a prior where nothing is measured."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..compiled import jit
from ..registry import ComponentError, option
from . import LATENCY_SIGNATURE
from .gpus import GPUS
from .shapes import SHAPES
from .terms import TERMS, Terms, add_terms


@jit(LATENCY_SIGNATURE)
def _seconds(tokens, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p):
    # p: base, then seconds of: a token's matrix products, the head's for a token, reading the
    # weights, a pair, reading a KV token, a token's part of all all-reduces, their start
    base, token, head, weights, pair, kv, reduce_token, reduce = (
        p[TERMS], p[TERMS + 1], p[TERMS + 2], p[TERMS + 3], p[TERMS + 4], p[TERMS + 5],
        p[TERMS + 6], p[TERMS + 7],
    )  # fmt: skip
    products = max(token * tokens + head * (tokens - prefill_tokens), weights)
    attention = max(pair * pairs, kv * kv_tokens)
    seconds = base + products + attention + reduce + reduce_token * tokens
    return add_terms(seconds, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p)


@dataclass(frozen=True)
class Roofline(Terms):
    """Matrix products and attention, each as long as its arithmetic or its memory takes.

    Weights are read once per forward, each request's KV once however many draft tokens it verifies.
    A prior, not a calibration. `flops` is DAS Fig. 8's slope (25 us per token of a 7B model on an
    H100) over the datasheet's peak; `bandwidth` and `base` are fitted to aiconfigurator 0.12's
    tables of Qwen3-8B on an H200 without drafts (1 to 256 requests of 512 and 8,192 tokens: within
    11 %). The seconds of TLT Table 2 (Qwen2.5-7B, one request) are missed by -6 % on B200, +4 % on
    H100, -14 % on A100 and +12 % on RTX 4090.
    """

    name: ClassVar[str] = "roofline"
    source: ClassVar[str] = (
        "NVIDIA datasheets (policies/latency/gpus.py) and the model's config.json; efficiencies "
        "from DAS, arXiv 2511.13841 Fig. 8 and aiconfigurator 0.12 (H200); prior"
    )
    seconds: ClassVar[Any] = staticmethod(_seconds)

    model: str = option("qwen2.5-7b", "a name of engine shapes, or a config.json", always=True)
    gpu: str = option("h100", "whose datasheet", choices=tuple(GPUS), always=True)
    tp: int = option(1, "GPUs that share each layer", low=1, always=True)
    flops: float = option(0.56, "share of the peak FLOP/s that is reached", low=0.01, high=1.0)
    bandwidth: float = option(0.91, "share of the peak bytes/s that is reached", low=0.01, high=1.0)
    base: float = option(1.68e-3, "launching and host, per forward", low=0.0, unit="s")
    hop: float = option(1e-5, "starting an all-reduce (assumed)", low=0.0, unit="s")
    kv_bytes: float = option(2.0, "bytes of a number in the KV cache", low=0.1)
    weight_bytes: float = option(2.0, "bytes of a weight, 0.5 for four bits", low=0.1)

    def __post_init__(self) -> None:
        _config(self.model)  # one that cannot be priced is told at once

    @property
    def counts(self) -> dict[str, float]:
        """Of one forward: weights read (without the embedding), those of the head, KV numbers per
        token, FLOP per pair of a query and a key.
        """
        c = _config(self.model)
        hidden, layers, heads = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"]
        kv_heads = c.get("num_key_value_heads") or heads
        width = c.get("head_dim") or hidden // heads
        attention = hidden * width * (2 * heads + 2 * kv_heads)
        layer = attention + 3 * hidden * c["intermediate_size"]
        return {
            "layers": float(layers * layer),
            "head": float(hidden * c["vocab_size"]),
            "kv": float(2 * layers * kv_heads * width),
            "pair": float(4 * layers * heads * width),
        }

    @property
    def params(self) -> np.ndarray:
        """float64[13], as `seconds` takes them."""
        gpu, n, c = GPUS[self.gpu], self.counts, _config(self.model)
        flops, bandwidth = (
            self.flops * gpu.flops * self.tp,
            self.bandwidth * gpu.bandwidth * self.tp,
        )
        shared = min(self.tp, c.get("num_key_value_heads") or c["num_attention_heads"])  # KV heads
        sent = 2 * c["num_hidden_layers"] * c["hidden_size"] * 2 * (2 * (self.tp - 1) / self.tp)
        return np.array(
            [
                *self.terms,
                self.base,
                2 * n["layers"] / flops,
                2 * n["head"] / flops,
                (n["layers"] + n["head"]) * self.weight_bytes / bandwidth,
                n["pair"] / flops,
                n["kv"] * self.kv_bytes / (self.bandwidth * gpu.bandwidth * shared),
                sent / gpu.link,
                2 * c["num_hidden_layers"] * self.hop if self.tp > 1 else 0.0,
            ]
        )


@functools.cache
def _config(model: str) -> dict[str, Any]:
    if model in SHAPES:
        return dict(SHAPES[model])
    path = Path(model) / "config.json" if Path(model).is_dir() else Path(model)
    try:
        content = json.loads(path.read_text())
        content = content.get("text_config") or content
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        if not all(isinstance(content[key], int) for key in (*sizes, "vocab_size")):
            raise TypeError
    except OSError:
        raise ComponentError(
            f"roofline: no model '{model}'; name a config.json or one of {', '.join(SHAPES)}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ComponentError(
            f"roofline: {path} is no config.json of a dense language model "
            "(hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size)"
        ) from None
    if any("expert" in key and value for key, value in content.items()):
        raise ComponentError(f"roofline: {path} describes experts; dense models only")
    return dict(content)
