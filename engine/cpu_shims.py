"""Repairs of errors of vLLM's CPU backend, where the installed vLLM has them.

Each is looked for by trying the function, so a vLLM without it is left alone. GPUs are not
affected. Seen in 0.32.0, the first two also in 0.33.0:

- ``expand_batch_to_tokens``: the C++ stand-in for its Triton kernel writes to a converted copy of
  its output. With speculation, temperature, top-k and top-p of draft positions are then whatever
  stood in memory, so that sampled tokens do not have the model's distribution (greedy ones are
  right; vllm-project/vllm issue 55005).
- ``apply_top_k_only``: takes the maximum of an empty tensor, and so stops the engine in every
  forward without drafts if speculation is configured and top-k is used without top-p.
- ``_rebind_kernels``: takes every module attribute's ``__dict__`` for a dictionary, and so stops
  the engine's start once numba (llvmlite) is imported, by vLLM's own ngram proposer for one: no
  second engine in a process.

`install` may be called at any time, and again; the last repair only helps an engine made later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch
from vllm.platforms import current_platform
from vllm.triton_utils import HAS_TRITON
from vllm.v1.sample import rejection_sampler
from vllm.v1.sample.ops import topk_topp_sampler

_originals: dict[str, tuple[ModuleType, Callable[..., Any]]] = {}


def install() -> list[str]:
    """Repair what this process's vLLM needs; the names of all functions repaired so far."""
    if current_platform.is_cpu() and not _originals:
        if _expand_is_wrong():
            _replace(rejection_sampler, "expand_batch_to_tokens", _expand_batch_to_tokens)
        if _top_k_stops():
            _replace(topk_topp_sampler, "apply_top_k_only", _apply_top_k_only)
        if _rebind_stops():
            from vllm.triton_utils import dispatcher

            tolerant = _with_globals(dispatcher._rebind_kernels, vars=_vars)
            _replace(dispatcher, "_rebind_kernels", tolerant)
    return list(_originals)


def remove() -> None:
    """Put vLLM's own functions back."""
    for name, (module, original) in _originals.items():
        setattr(module, name, original)
    _originals.clear()


def _replace(module: ModuleType, name: str, repaired: Callable[..., Any]) -> None:
    _originals[name] = (module, getattr(module, name))
    setattr(module, name, repaired)


def _expand_is_wrong() -> bool:
    """Whether the stand-in, used where there is no Triton, loses what it should write.

    It is called itself, as the function around it reaches it only in a worker that has started.
    """
    try:
        import vllm._custom_ops  # noqa: F401  loads the C++ operators
        from vllm.utils.cpu_triton_utils import _expand_kernel_impl as stand_in
    except ImportError:  # another way of running these kernels: no such stand-in, no such error
        return False
    if HAS_TRITON:
        return False
    values = torch.tensor([random.SystemRandom().random() for _ in range(2)])
    expanded = torch.zeros(3)
    stand_in(expanded, values, torch.tensor([1, 3], dtype=torch.int32), 0, 0, MAX_NUM_TOKENS=3)
    return not torch.equal(expanded, values[[0, 1, 1]])


def _expand_batch_to_tokens(
    x: torch.Tensor,
    cu_num_tokens: torch.Tensor,
    num_tokens: int,
    replace_from: int = 0,
    replace_to: int = 0,
) -> torch.Tensor:
    """What vLLM documents: each request's value, once per draft token of the request."""
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    values = torch.where(x == replace_from, replace_to, x).to(x.dtype)
    return torch.repeat_interleave(values, counts.long(), output_size=num_tokens)


def _top_k_stops() -> bool:
    try:
        topk_topp_sampler.apply_top_k_only(torch.empty(0, 4), torch.empty(0, dtype=torch.int32))
    except (IndexError, RuntimeError):
        return True
    return False


def _apply_top_k_only(logits: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    _, original = _originals["apply_top_k_only"]
    return original(logits, k) if len(logits) else logits


class _Odd:
    """An object like llvmlite's library: it has a ``__dict__``, but not a dictionary."""

    __slots__ = ()
    __dict__ = None  # type: ignore[assignment]


def _rebind_stops() -> bool:
    """Whether the search through all modules falls over such an object, in a world of one."""
    try:
        from vllm.triton_utils.dispatcher import _rebind_kernels
    except ImportError:
        return False
    world = SimpleNamespace(modules={"odd": SimpleNamespace(odd=_Odd())})
    try:
        _with_globals(_rebind_kernels, sys=world)([])
    except AttributeError:
        return True
    return False


def _vars(thing: Any) -> Mapping[str, Any]:
    """`vars`, but empty for what has no dictionary."""
    found = vars(thing)
    return found if isinstance(found, Mapping) else {}


def _with_globals(function: Any, **names: Any) -> Callable[..., Any]:
    """The same function with some of the names that it uses replaced."""
    return FunctionType(function.__code__, {**function.__globals__, **names})
