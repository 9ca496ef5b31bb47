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

from ..policies.latency.shapes import SHAPES

SMALLEST_HEAD = 32
"""Narrowest attention head that vLLM's CPU kernels take."""


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
    """Describe the real model ``name`` (of policies/latency/shapes.py) in bfloat16; its folder.

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
