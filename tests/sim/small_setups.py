"""What is simulated in many tests: a latency that can be added up by hand, drafters, budgets."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from longtail.sim.workload import Workload

BASE, TOKEN = 1e-2, 3e-5
LINEAR = f"linear:base={BASE},token={TOKEN}"

drafters = st.sampled_from(
    [
        "ngram:k=4,min=1,max=3",
        "suffix:scope=both,depth=8,max=5",
        "suffix:scope=problem,depth=6,factor=2,max=8",
        "suffix:scope=own,depth=8,min_prob=0.4",
    ]
)
budgets = st.sampled_from(
    ["unlimited", "fixed:k=1", "fixed:k=3", "das:cold=1.7", "das:form=printed,cold=0.4"]
)


def closed_form(load: Workload, base_s: float, token_s: float) -> dict[int, float]:
    """Makespan without drafts and limits, by RL step."""
    result = {}
    for step in load.rl_steps:
        lengths = load.lengths.select(load.rows(step))
        outputs = lengths.output_len.astype(np.int64)
        tokens = int(lengths.prompt_len.sum(dtype=np.int64)) + int((outputs - 1).sum())
        result[step] = base_s * int(outputs.max()) + token_s * tokens
    return result
