"""Seconds linear in what a forward processes: the DAS paper's model, with KV and request terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..compiled import jit
from ..registry import option
from . import LATENCY_SIGNATURE
from .terms import TERMS, Terms, add_terms


@jit(LATENCY_SIGNATURE)
def _seconds(tokens, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p):
    core = p[TERMS] + p[TERMS + 1] * tokens
    return add_terms(core, requests, kv_tokens, pairs, prefill_tokens, draft_tokens, p)


@dataclass(frozen=True)
class Linear(Terms):
    """base + token * tokens, and the terms that every model has.

    The defaults are a fit through DAS Fig. 8 from 0 to 3,600 tokens (DeepSeek-R1-Distill-Qwen-7B
    on an H100): a prior, not a calibration.
    """

    name: ClassVar[str] = "linear"
    source: ClassVar[str] = "DAS, arXiv 2511.13841 eq. 1; defaults fitted to its Fig. 8 (digitized)"
    seconds: ClassVar[Any] = staticmethod(_seconds)

    base: float = option(9.5e-3, "one forward of nothing", low=0.0, unit="s")
    token: float = option(25e-6, "each token in the forward", low=0.0, unit="s")

    @property
    def params(self) -> np.ndarray:
        """float64[7], as `seconds` takes them."""
        return np.array([*self.terms, self.base, self.token])
