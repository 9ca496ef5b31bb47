"""The model: a small pre-norm transformer with rotary positions and a key-value cache.

In: token ids ``[rows, columns]``. Out: logits ``[rows, columns, vocabulary]``. All rows of a call
stand at the same position; it knows nothing about prompts, padding or sampling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .settings import Settings


class Cache:
    """Every layer's keys and values, ``[rows, heads, capacity, head width]``, grown by doubling."""

    def __init__(self, layers: int) -> None:
        self.length = 0  # columns that hold something
        self._kv: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put new columns behind the old; returns all of this layer's keys and values."""
        start, end = self.length, self.length + k.shape[2]
        old = self._kv[layer]
        if old is None or old[0].shape[2] < end:
            room = max(end, 64, 2 * start)
            grown = tuple(x.new_empty(x.shape[0], x.shape[1], room, x.shape[3]) for x in (k, v))
            if old is not None:
                for new, was in zip(grown, old, strict=True):
                    new[:, :, :start] = was[:, :, :start]
            old = self._kv[layer] = (grown[0], grown[1])
        old[0][:, :, start:end] = k
        old[1][:, :, start:end] = v
        return old[0][:, :, :end], old[1][:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these, so that finished ones cost nothing more."""
        self._kv = [kv and (kv[0][rows], kv[1][rows]) for kv in self._kv]


def rotate(x: Tensor, start: int) -> Tensor:
    """Rotary positions (arXiv 2104.09864) of ``[rows, heads, columns, width]``, from ``start``."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(start, start + x.shape[2], dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind its norm and beside a residual."""

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__()
        width = settings.width
        self.index, self.heads = index, settings.heads
        self.attend_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, cache: Cache | None) -> Tensor:
        """``[rows, columns, width]`` to the same shape."""
        rows, columns, width = x.shape
        qkv = self.qkv(self.attend_norm(x)).view(rows, columns, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        start = cache.length if cache else 0
        q, k = rotate(q, start), rotate(k, start)
        if cache is not None:
            assert columns == 1 or start == 0, "a cache takes the first columns at once, then one"
            k, v = cache.extend(self.index, k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=columns > 1)
        x = x + self.out(y.transpose(1, 2).reshape(rows, columns, width))
        return x + self.down(F.gelu(self.up(self.feed_norm(x))))


class TinyGPT(nn.Module):
    """The language model; input and output embeddings are tied."""

    def __init__(self, settings: Settings, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, settings.width)
        self.blocks = nn.ModuleList(Block(settings, i) for i in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blocks:
            for matrix in (block.out, block.down):
                nn.init.normal_(matrix.weight, std=0.02 / (2 * settings.layers) ** 0.5)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits ``[rows, columns, vocabulary]``; with a cache, ``tokens`` continue it."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        return F.linear(self.norm(x), self.embed.weight)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters())
