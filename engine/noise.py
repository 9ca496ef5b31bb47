"""Counter-based Gumbel noise: the same number for the same (request, position, token), always.

In: a 64-bit key per logits row. Out: the token ids that win ``logits + Gumbel noise``, which are
samples of ``softmax(logits)``. No state and no order: a row sampled alone, in a batch, as a draft
position or as a bonus position gets the same noise. Works on any device that torch works on.

The mixing is SplitMix64: state ``key + (i + 1) * GAMMA``, then the finaliser "Mix13" of David
Stafford (zimbry.blogspot.com, "Better Bit Mixing", 2011), as in Steele, Lea and Flood, "Fast
Splittable Pseudorandom Number Generators", OOPSLA 2014, and in Vigna's public-domain
``splitmix64.c``. Three levels: a hash of seed and prompt gives the request's key, the position
gives the row's key, the token id gives 52 random bits.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
EAGER_ELEMENTS = 1 << 22  # noise made at a time where it is not fused: 32 MiB per temporary


def request_key(seed: int, prompt: Sequence[int]) -> int:
    """The key of a request: 64 bits of a hash of its seed and its prompt's token ids."""
    text = str(seed).encode() + b":" + np.asarray(prompt, np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def row_keys(request_keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The keys of logits rows, as int64, of the output positions that the rows predict."""
    z = request_keys.astype(np.uint64) + (positions.astype(np.uint64) + np.uint64(1)) * GAMMA
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return (z ^ (z >> np.uint64(31))).view(np.int64)


def gumbel(keys: torch.Tensor, vocab: int) -> torch.Tensor:
    """Standard Gumbel noise, float32 [rows, vocab], for int64 `keys` [rows]."""
    return _gumbel(keys, _steps(vocab, keys.device))


def choose(logits: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The token ids [rows] that win in `logits` [rows, vocab] plus the noise of `keys` [rows]."""
    steps = _steps(logits.shape[-1], logits.device)
    if logits.is_cuda and len(logits):  # one fused kernel; vLLM compiles its samplers the same way
        return _compiled()(logits, keys, steps)
    size = max(1, EAGER_ELEMENTS // logits.shape[-1])
    parts = zip(logits.split(size), keys.split(size), strict=True)
    return torch.cat([_choose(*part, steps) for part in parts])


def _choose(logits: torch.Tensor, keys: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    return (logits + _gumbel(keys, steps)).argmax(dim=-1)


@functools.cache
def _compiled() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    return torch.compile(_choose, dynamic=True)


def _gumbel(keys: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    z = keys[:, None] + steps
    z = (z ^ _shift(z, 30)) * _signed(MIX_1)
    z = (z ^ _shift(z, 27)) * _signed(MIX_2)
    z = z ^ _shift(z, 31)
    # The middle of one of 2^52 cells: never 0, never 1, and exact in float64.
    uniform = (_shift(z, 12).to(torch.float64) + 0.5) * 2.0**-52
    return (-torch.log(-torch.log(uniform))).to(torch.float32)


@functools.lru_cache(maxsize=8)
def _steps(vocab: int, device: torch.device) -> torch.Tensor:
    """``(token + 1) * GAMMA`` of every token id: a tensor, as a compiler that saw the product of
    an index with so large a constant could do it in too few bits."""
    return torch.arange(1, vocab + 1, device=device) * _signed(GAMMA)


def _shift(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift: torch's int64 shift is arithmetic, so the sign's copies are masked."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    """The int64 with the same 64 bits; torch's int64 products wrap around like unsigned ones."""
    return constant - (1 << 64) if constant >> 63 else constant
