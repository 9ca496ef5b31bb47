"""Which vLLM this was tried with."""

from __future__ import annotations

import os

TRIED = ("0.26.0", "0.32.0")
ANYWAY = "LONGTAIL_ANY_VLLM"


def vllm_version() -> str:
    """The running vLLM's version without its local part, such as 0.32.0."""
    import vllm

    return str(vllm.__version__).partition("+")[0]


def check_version() -> None:
    """Raise RuntimeError for a vLLM that was not tried, unless LONGTAIL_ANY_VLLM=1."""
    found = vllm_version()
    if found not in TRIED and os.environ.get(ANYWAY) != "1":
        raise RuntimeError(
            f"longtail was tried with vLLM {' and '.join(TRIED)}, this is {found}: its scheduler "
            f"is not a public interface and may have changed; install one of those, or set "
            f"{ANYWAY}=1 to try all the same"
        )
