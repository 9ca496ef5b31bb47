"""A small Llama trained from scratch on the Countdown task, for tests and demos of live engines.

Contract: out comes a folder that vLLM and transformers load without any download: ``config.json``
and float32 safetensors, no tokenizer (prompts are the task's token ids, `Problem.prompt`). The
model writes searches of very different length, some of which never end, so that drafts are both
accepted and rejected; hardly any is right. Same seed, same machine, same versions of torch and
transformers: same weights. Needs torch and transformers.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from .pretrain import pretrain
from .settings import Settings
from .task import EOS, PAD, VOCABULARY

SETTINGS = Settings(
    layers=2,
    heads=4,  # 32 wide each: the smallest that vLLM's CPU attention takes
    width=128,
    pretrain_steps=750,
    pretrain_batch_tokens=1024,
    pretrain_lr=5e-3,
    hard_share=1.0,
)
KV_HEADS = 2
MAX_POSITION = 2048  # tokens of prompt and output together


class Logits(nn.Module):
    """A transformers model as the training loop wants it: token ids in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """``[rows, columns]`` to ``[rows, columns, vocabulary]``."""
        return self.model(tokens).logits


def often_lost(rng: Random) -> float:
    """A writer's guidance: less of it than in the recorded run, so that searches get long."""
    return rng.random() ** 1.2


def tiny_llama(
    folder: Path,
    *,
    seed: int = 0,
    steps: int = SETTINGS.pretrain_steps,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train for ``steps`` optimiser steps and save the model as ``folder``, whole or not at all.

    The default takes about 40 s on one core. ``say`` is told one line now and then. Returns
    ``folder``; raises FileExistsError where it already holds something.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} already holds something")
    settings = replace(SETTINGS, pretrain_steps=steps)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=settings.width,
        intermediate_size=2 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=MAX_POSITION,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
            random, quiet = Random(str(seed)), lambda line: None
            pretrain(Logits(model), settings, random, (), say or quiet, writer=often_lost)
    finally:
        torch.set_num_threads(threads)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".saving-") as scratch:
        made = Path(scratch) / folder.name
        model.save_pretrained(made)
        made.rename(folder)
    return folder


def tiny_llama_cached(say: Callable[[str], None] | None = None) -> Path:
    """The folder of this version's `tiny_llama`, trained on first use.

    It lies in ``$XDG_CACHE_HOME/longtail/models`` (``~/.cache`` by default), named after a digest
    of this package's sources, which hold the settings. ``say`` is told when training begins and how
    it goes. Processes may call it at the same time. Raises OSError where it cannot be written.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "longtail" / "models" / f"tiny-llama-{digest.hexdigest()[:16]}"
    if not folder.exists():
        if say:
            say(f"training a tiny Llama, once, about a minute: {folder}")
        try:
            tiny_llama(folder, say=say)
        except OSError:  # another process was quicker
            if not folder.exists():
                raise
    return folder
