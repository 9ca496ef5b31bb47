"""A running vLLM's resolved configuration, for the metadata of traces and step logs."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import Any

from ..traces.schema import TraceMeta
from .settings import LiveSettings
from .versions import vllm_version

SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "num_experts", "num_local_experts",
    "num_experts_per_tok", "moe_intermediate_size", "sliding_window", "tie_word_embeddings",
)  # fmt: skip


def describe_engine(vllm_config: Any, settings: LiveSettings) -> TraceMeta:
    """What is really running, and the policy in a policy file's words."""
    import torch
    from vllm.platforms import current_platform

    model, cache = vllm_config.model_config, vllm_config.cache_config
    scheduler, parallel = vllm_config.scheduler_config, vllm_config.parallel_config
    spec, end = vllm_config.speculative_config, model.hf_config.to_dict().get("eos_token_id")
    model_config = _shape(model.hf_text_config)
    device = _cpu() if current_platform.is_cpu() else current_platform.get_device_name()
    config = {
        "model": model.model,
        "load_format": str(vllm_config.load_config.load_format),
        "architecture": list(model.architectures),
        "model_config": model_config,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "enforce_eager": model.enforce_eager,
        "cudagraph_mode": str(vllm_config.compilation_config.cudagraph_mode),
        "cudagraph_capture_sizes": vllm_config.compilation_config.cudagraph_capture_sizes,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "async_scheduling": bool(scheduler.async_scheduling),
        "scheduling_policy": scheduler.policy,
        "block_size": cache.block_size,
        "kv_blocks": cache.num_gpu_blocks,
        "prefix_caching": cache.enable_prefix_caching,
        "kv_cache_dtype": cache.cache_dtype,
        "tensor_parallel": parallel.tensor_parallel_size,
        "pipeline_parallel": parallel.pipeline_parallel_size,
        "data_parallel": parallel.data_parallel_size,
        "speculative_method": spec.method if spec else None,
        "num_speculative_tokens": spec.num_speculative_tokens if spec else 0,
        "torch": torch.__version__,
        "threads": torch.get_num_threads() if current_platform.is_cpu() else None,
        "seed": model.seed,
        "policy": settings.to_dict(),
    }
    return TraceMeta(
        origin="recorded",
        source="longtail in vLLM",
        model=str(model.model),
        vocab_size=model.get_vocab_size(),
        end_token_id=end[0] if isinstance(end, list) else end,
        engine=f"vLLM {vllm_version()}",
        engine_config=config,
        hardware=f"{device} ({platform.machine()})",
    )


def _cpu() -> str:
    """What the machine calls its processor, where it says so."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU {line.partition(':')[2].strip()}"
    return "CPU"


def _shape(config: Any) -> dict[str, Any]:
    """What of a model's configuration decides the seconds of a forward."""
    return {name: value for name in SIZES if (value := getattr(config, name, None)) is not None}
