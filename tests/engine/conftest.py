"""What tests of live engines share: a trained tiny model, and vLLM set up for small CPU runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

VLLM_ON_CPU = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, to look into
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; otherwise LLM() reserves a share of all memory
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def tiny_llama() -> Path:
    """A model folder, trained on first use (`longtail.engine.tiny.llama`)."""
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from longtail.engine.tiny.llama import tiny_llama_cached

    return tiny_llama_cached(print)


@pytest.fixture(scope="session")
def vllm_cpu() -> Iterator[None]:
    """The environment in which ``LLM(...)`` starts in this process, on one thread.

    Import vllm inside the test. Give ``LLM`` ``skip_tokenizer_init=True, dtype="float32",
    enforce_eager=True`` and a ``max_model_len``.
    """
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for name, value in VLLM_ON_CPU.items():
            patch.setenv(name, value)
        torch.set_num_threads(1)  # OMP_NUM_THREADS comes too late where torch is imported already
        from longtail.engine import cpu_shims

        cpu_shims.install()
        yield
