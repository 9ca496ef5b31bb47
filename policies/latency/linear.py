"""Seconds linear in what a forward processes: the DAS paper's model, with KV and request terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..compiled import jit
from ..registry import option
from . import LATENCY_SIGNATURE


@jit(LATENCY_SIGNATURE)
def _seconds(tokens, requests, kv_tokens, prefill_tokens, draft_tokens, p):
    return p[0] + p[1] * tokens + p[2] * kv_tokens + p[3] * requests + p[4] * draft_tokens


@dataclass(frozen=True)
class Linear:
    """base + token * tokens + kv_token * KV tokens read + request * requests + draft * draft
    tokens.

    The defaults are a fit through DAS Fig. 8 from 0 to 3,600 tokens (DeepSeek-R1-Distill-Qwen-7B
    on an H100): a prior, not a calibration.
    """

    name: ClassVar[str] = "linear"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 eq. 1; defaults fitted to its Fig. 8 (digitized)"
    seconds: ClassVar[Any] = staticmethod(_seconds)

    base: float = option(9.5e-3, "one forward of nothing", low=0.0, unit="s")
    token: float = option(25e-6, "each token in the forward", low=0.0, unit="s")
    kv_token: float = option(0.0, "each KV token read", low=0.0, unit="s")
    request: float = option(0.0, "each request in the forward", low=0.0, unit="s")
    draft: float = option(0.0, "drafting one draft token, on the critical path", low=0.0, unit="s")

    @property
    def params(self) -> np.ndarray:
        """float64[5], as `seconds` takes them."""
        return np.array([self.base, self.token, self.kv_token, self.request, self.draft])
