"""Step logs of an engine that never was: small, whole, with seconds from a known model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtail.engine.settings import LiveSettings
from longtail.engine.step_log import StepLog

ENGINE: dict[str, Any] = {
    "engine": "vLLM 0.32.0",
    "hardware": "CPU (x86_64)",
    "architecture": ["LlamaForCausalLM"],
    "model_config": {"hidden_size": 64},
    "load_format": "dummy",
    "dtype": "float32",
    "quantization": None,
    "kv_cache_dtype": "auto",
    "tensor_parallel": 1,
    "pipeline_parallel": 1,
    "data_parallel": 1,
    "async_scheduling": False,
    "enforce_eager": True,
    "cudagraph_mode": "NONE",
    "cudagraph_capture_sizes": [],
    "threads": 1,
    "prefix_caching": False,
    "max_num_seqs": 64,
    "max_num_batched_tokens": 512,
    "block_size": 16,
    "kv_blocks": 4096,
}


@dataclass
class Costs:
    """Seconds of a forward's parts, by what is in it."""

    base: float = 5e-3
    token: float = 20e-6
    request: float = 50e-6
    kv_token: float = 2e-7
    pair: float = 0.0
    prefill: float = 0.0
    host: float = 4e-4
    host_request: float = 20e-6
    draft: float = 1e-4
    draft_request: float = 10e-6
    forward: Callable[[int], float] | None = None  # of tokens, in place of base and token


@dataclass
class Making:
    """How a log is made; `rng` for everything random."""

    costs: Costs = field(default_factory=Costs)
    noise: float = 0.0  # standard deviation of a forward's seconds, relative
    requests: int = 48
    longest: int = 400
    drafts: int = 4  # at most, for every request
    contexts: int = 40  # tokens of the prompts, at most
    probe_s: float = 1e-4
    seed: int = 0


def write_run(folder: Path, drafter: str, making: Making, **engine: Any) -> Path:
    """A step log in `folder`, as an engine would have written it."""
    settings = LiveSettings.of({"drafter": drafter, "budget": "fixed:k=4"})
    speculates = settings.k > 0
    about = {
        **ENGINE,
        "speculative_method": "custom_class" if speculates else None,
        "policy": settings.to_dict(),
        **engine,
    }
    log = StepLog(folder, about)
    rng, costs = np.random.default_rng(making.seed), making.costs
    prompt = rng.integers(2, making.contexts, making.requests)
    length = rng.integers(20, making.longest, making.requests)
    computed = np.zeros(making.requests, int)
    generated = np.zeros(making.requests, int)
    sums = np.zeros((making.requests, 3), int)  # forwards, drafted, accepted
    clock, number = 0.0, 0
    while (generated < length).any():
        running = np.flatnonzero(generated < length)
        part, drafted, accepted = [], [], []
        prefill = room = 0
        for i in running:
            if generated[i] == 0:
                part.append(int(prompt[i]))
                prefill += int(prompt[i])
                d = a = 0
            else:
                left = int(length[i] - generated[i])
                d = int(rng.integers(0, making.drafts + 1)) if speculates else 0
                a = min(int(rng.integers(0, d + 1)), left - 1)
                part.append(1 + d)
            drafted.append(d)
            accepted.append(a)
            room += part[-1]
        reach = computed[running] + part
        pairs = sum(t * (2 * r - t + 1) // 2 for t, r in zip(part, reach.tolist(), strict=True))
        tokens, count, total = sum(part), len(running), sum(drafted)
        core = costs.forward(tokens) if costs.forward else costs.base + costs.token * tokens
        core += costs.request * count + costs.kv_token * int(reach.sum())
        core += costs.pair * pairs + costs.prefill * prefill
        host = costs.host + costs.host_request * count
        draft = costs.draft + costs.draft_request * count if speculates else 0.0
        factor = np.maximum(1 + making.noise * rng.standard_normal(3), 0.05)
        model_s, host_s, draft_s = (np.array([core, host, draft]) * factor).tolist()
        forward_s = model_s + 0.5 * host_s + draft_s
        log.forward(
            (
                number, 0, clock, forward_s, draft_s, 0.25 * host_s, model_s,
                making.probe_s if number % 7 == 0 else 0.0, count, 0, tokens, count, total,
                sum(accepted), int(reach.sum()), int(pairs), prefill, 0, running.tolist(), part,
                drafted, accepted,
            )
        )  # fmt: skip
        clock += forward_s + 0.5 * host_s + (making.probe_s if number % 7 == 0 else 0.0)
        computed[running] = reach - (np.array(drafted) - accepted)
        generated[running] += np.array(accepted) + 1
        sums[running] += np.column_stack([np.ones(count, int), drafted, accepted])
        number += 1
    for i in range(making.requests):
        log.request(
            (i, 0, f"p{i}", 0, int(prompt[i]), int(length[i]), "length", 0.0, clock,
             int(sums[i, 0]), int(sums[i, 1]), int(sums[i, 2]))
        )  # fmt: skip
    log.flush()
    return folder
