"""Policies of live runs by name: ours, and the methods that vLLM brings.

`DRAFTER[/BUDGET]` is one of ours, as everywhere; `FILE.yaml` a policy file; `vllm:ngram` and
`vllm:suffix`, with options of vLLM's as in `vllm:suffix:num_speculative_tokens=8`, its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..policies.components import split_policy
from ..policies.registry import ComponentError
from .settings import LiveSettings

VLLM = "vllm:"
METHODS: dict[str, dict[str, Any]] = {  # what vLLM is told beyond its own defaults
    "ngram": {"num_speculative_tokens": 8, "prompt_lookup_min": 2, "prompt_lookup_max": 5},
    "suffix": {
        "num_speculative_tokens": 16,
        "suffix_decoding_max_tree_depth": 24,
        "suffix_decoding_max_spec_factor": 1.0,
        "suffix_decoding_min_token_prob": 0.1,
    },
}


@dataclass(frozen=True)
class NamedPolicy:
    """What a live run is told: a policy of ours, or engine arguments of vLLM's."""

    name: str  # fit for a folder
    policy: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)


def parse_policy(text: str, latency: str | None = None) -> NamedPolicy:
    """From its text. Raises ComponentError or TraceError for a policy that cannot be used."""
    name = re.sub(r"[^A-Za-z0-9.=+-]+", "_", text).strip("_")
    if latency and (text.endswith((".yaml", ".yml")) or text.startswith(VLLM)):
        raise ComponentError(f"--latency is not for '{text}': a policy file has its own, vLLM none")
    if text.endswith((".yaml", ".yml")):
        return NamedPolicy(name, LiveSettings.read(text).to_dict())
    if text.startswith(VLLM):
        method, _, options = text.removeprefix(VLLM).partition(":")
        if method not in METHODS:
            known = ", ".join(VLLM + m for m in METHODS)
            raise ComponentError(f"unknown policy '{text}'; of vLLM's own there are {known}")
        given = METHODS[method] | dict(
            _option(part, text) for part in filter(None, options.split(","))
        )
        return NamedPolicy(name, {}, {"speculative_config": {"method": method, **given}})
    drafter, budget = split_policy(text)
    values = {"drafter": drafter} | ({"budget": budget} if budget else {})
    values |= {"latency": latency} if latency else {}
    return NamedPolicy(name, LiveSettings.of(values).to_dict())


def parse_engine(options: tuple[str, ...]) -> dict[str, Any]:
    """vLLM engine arguments from `name=value`; values as in YAML. Raises ComponentError."""
    return dict(_option(text, text) for text in options)


def _option(text: str, whole: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ComponentError(f"'{whole}': write options as name=value, got '{text}'")
    try:
        return key.strip().replace("-", "_"), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ComponentError(f"'{whole}': '{value}' is no value") from None
