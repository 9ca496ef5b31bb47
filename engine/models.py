"""Models that vLLM loads with ``load_format="dummy"``: nothing to download, no weights.

Contract: out comes a folder that holds a ``config.json``, put there whole. vLLM fills the weights
with small random numbers, so that such a model costs what a real one of its shape costs and writes
noise. Pass ``skip_tokenizer_init=True`` and prompts as token ids. For text that a drafter can draft
from there is `longtail.engine.tiny.llama`. Needs no torch.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

SMALLEST_HEAD = 32
"""Narrowest attention head that vLLM's CPU kernels take."""

Shape = dict[str, int | float | bool]
"""Part of a ``config.json``: what decides a model's size, by Hugging Face's names."""

SHAPES: dict[str, Shape] = {
    "qwen2.5-1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
    },
    "qwen2.5-14b": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
    },
    "qwen2.5-32b": {
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
    },
}
"""The base models' published ``config.json`` (huggingface.co/Qwen/Qwen2.5-1.5B, -7B, -14B, -32B).

The instruct models differ only in ``max_position_embeddings`` (32768), the end token and, from 14B
on, ``rms_norm_eps`` (1e-06): nothing that changes what a forward costs.
"""


def dummy_model(
    folder: Path,
    *,
    vocab_size: int,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    max_position: int = 8192,
    end_token_id: int | None = None,
) -> Path:
    """Describe a small float32 Llama in ``folder`` and return it.

    Heads are ``hidden / heads`` wide, but at least `SMALLEST_HEAD`. ``max_position`` counts prompt
    and output tokens; without ``end_token_id`` every request runs to its cap. Pass vLLM
    ``dtype="float32"``: by itself it would take 16 bits. Raises ValueError where ``heads`` is no
    multiple of ``kv_heads``.
    """
    if heads % kv_heads:
        raise ValueError(f"{heads} heads cannot share {kv_heads} key-value heads evenly")
    return _write(
        folder,
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": max(SMALLEST_HEAD, hidden // heads),
            "vocab_size": vocab_size,
            "max_position_embeddings": max_position,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": end_token_id,
            "torch_dtype": "float32",
        },
    )


def shape_model(folder: Path, name: str, *, max_position: int | None = None) -> Path:
    """Describe the real model ``name`` (a key of `SHAPES`) in bfloat16 in ``folder``; return it.

    ``max_position`` (tokens of prompt and output) replaces the published limit, which vLLM would
    otherwise make room for. Raises ValueError for a name that is not there.
    """
    if name not in SHAPES:
        raise ValueError(f"no shape '{name}'; there are {', '.join(SHAPES)}")
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        **SHAPES[name],
        "bos_token_id": 151643,
        "eos_token_id": 151643,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
    }
    if max_position is not None:
        config["max_position_embeddings"] = max_position
    return _write(folder, config)


def _write(folder: Path, config: dict[str, Any]) -> Path:
    """Put ``config.json`` into ``folder``, whole or not at all; an older one is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
        made = Path(scratch) / "config.json"
        made.write_text(json.dumps(config, indent=2) + "\n")
        os.replace(made, folder / "config.json")
    return folder
