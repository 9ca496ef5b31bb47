"""What a policy is told when an RL step begins, of few requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from longtail.policies.batch import DECODING, NO_CAP, Batch, empty_batch
from longtail.policies.profile import blank_profile
from longtail.policies.view import PastStep, StepView


def past_of(lengths: list[list[int]]) -> tuple[PastStep, ...]:
    """One RL step; lengths of each prompt's rollouts."""
    flat = np.array([n for mine in lengths for n in mine], np.int32)
    prompt = np.array([p for p, mine in enumerate(lengths) for _ in mine], np.int32)
    return (PastStep(0, prompt, flat, blank_profile(flat)),) if len(flat) else ()


def view_of(prompt: list[int], past: tuple[PastStep, ...], **more: Any) -> StepView:
    n = len(prompt)
    caps = np.full(n, NO_CAP, np.int32)
    which = np.array(prompt, np.int32)
    return StepView(1, which, np.full(n, 4, np.int32), caps, 16, past, lambda t, r: 0.0, **more)


def world(seed: int, history: bool, capped: bool) -> tuple[StepView, Batch]:
    """Some requests of three prompts: not begun, running, or over."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    prompt = rng.integers(0, 3, n)
    past = past_of([rng.integers(1, 90, rng.integers(0, 5)).tolist() for _ in range(3)])
    length = rng.integers(1, 90, n).astype(np.int32)
    view = view_of(prompt.tolist(), past if history else (), recorded_len=length)
    if capped:
        view = replace(view, cap=(length + rng.integers(0, 30, n)).astype(np.int32))
    batch = empty_batch(view.prompt_len, view.cap, view.prompt)
    batch.generated[:] = rng.integers(0, length + 1)
    batch.generated[rng.integers(0, n)] = 0  # one that decodes its first tokens
    batch.ended[:] = np.where(batch.generated == length, length, 0)
    running = np.flatnonzero(batch.generated < length)
    batch.slots[: len(running)], batch.counts[DECODING] = running, len(running)
    return view, batch


worlds = st.builds(world, st.integers(0, 1 << 30), st.booleans(), st.booleans())
