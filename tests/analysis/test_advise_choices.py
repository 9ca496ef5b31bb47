"""Choices of an advice: what vLLM and a live engine take, and which is simpler."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from longtail.analysis.advice.choices import (
    ANY_BUDGET,
    LOOKUP,
    OFF,
    PLAIN_BUDGET,
    STOCK,
    STOCK_OTHER,
    Choice,
    budgets_of,
    lengths_of,
    off,
    speculative_config,
)
from longtail.analysis.advice.search import solve_schedule
from longtail.analysis.drafters import candidates
from longtail.engine.settings import LiveSettings
from longtail.policies.components import BUDGETS, DRAFTERS
from longtail.policies.latency.presets import make_latency

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import FCFS, LATENCY, choice, rollouts, whole


def test_vllm_s_own_methods_have_vllm_s_own_option_names() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse((Path(spec.origin).parent / "config" / "speculative.py").read_text())
    (config,) = (n for n in tree.body if getattr(n, "name", "") == "SpeculativeConfig")
    known = {n.target.id for n in config.body if isinstance(n, ast.AnnAssign)}  # type: ignore[attr-defined]
    for drafter in (*STOCK, "learned:table=nemo-eagle3"):
        for budget in ("fixed:k=4", "unlimited", "schedule"):
            made = speculative_config(DRAFTERS.make(drafter), BUDGETS.make(budget))
            if made is not None:
                assert set(made) <= known, set(made) - known
                assert made["num_speculative_tokens"] >= 1


@pytest.mark.parametrize(
    ("drafter", "budget", "expected"),
    [
        ("ngram:k=16,min=3,max=4", "fixed:k=4",
         {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 3,
          "prompt_lookup_max": 4}),
        ("ngram:k=2", "schedule:ranges=1-8:6_9-9:0",
         {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_min": 2,
          "prompt_lookup_max": 5, "num_speculative_tokens_per_batch_size": [[1, 8, 6], [9, 9, 0]]}),
        ("suffix:scope=own,depth=20", "unlimited",
         {"method": "suffix", "num_speculative_tokens": 16, "suffix_decoding_max_tree_depth": 20,
          "suffix_decoding_max_spec_factor": 1.0, "suffix_decoding_min_token_prob": 0.1,
          "suffix_decoding_max_cached_requests": 0}),
        ("suffix:scope=all", "schedule", None),  # its proposer asserts one length
        ("suffix:scope=both", "unlimited", None),
        ("suffix:scope=all,window=4", "unlimited", None),
        ("ngram", "das", None),
        ("ngram", "fixed:k=0", None),
        ("learned", "unlimited", None),  # trees
        ("das", "unlimited", None),
    ],
)  # fmt: skip
def test_what_vllm_would_be_told(drafter: str, budget: str, expected: Any) -> None:
    assert speculative_config(DRAFTERS.make(drafter), BUDGETS.make(budget)) == expected


def test_the_simpler_ranks_before_the_more_involved() -> None:
    made = {
        OFF: off(),
        LOOKUP: choice("ngram", "fixed:k=4", "vllm"),
        STOCK_OTHER: choice("ngram", "schedule", "vllm"),
        PLAIN_BUDGET: choice("das", "fixed:k=4"),
        ANY_BUDGET: choice("das", "das"),
    }
    assert [c.rank for c in made.values()] == [(rank, False) for rank in made]
    assert choice("suffix:scope=all", "unlimited", "vllm").rank[0] == STOCK_OTHER
    assert off().rank < off(max_num_seqs=4, changed=True).rank < made[LOOKUP].rank
    assert choice("das", "fixed:k=0").rank[0] == OFF  # nothing is drafted


def test_every_choice_of_the_plug_in_is_one_that_a_live_engine_takes() -> None:
    drafters, _ = candidates(rollouts("own", steps=1, prompts=1), ())
    drafters = [d for d in drafters if d.in_engine and not d.trees]
    budgets = budgets_of(())
    assert len(drafters) > 5 and len({b.name for b in budgets}) > 10
    latency = make_latency(LATENCY)
    for drafter in drafters:
        for budget in budgets:
            told = Choice(drafter, budget, FCFS, 64, "longtail").turn_on(latency)
            live = LiveSettings.of(json.loads(json.dumps(told["policy"])))
            assert (live.drafter, live.budget, live.latency) == (drafter, budget, latency)
            assert told["vllm_args"] == {"max_num_seqs": 64}
            assert "LONGTAIL_POLICY=policy.yaml" in told["command"]


def test_lengths_are_tried_once_each() -> None:
    short = DRAFTERS.make("ngram:k=4")
    assert [b.k for b in lengths_of(short, budgets_of(()))] == [1, 2, 4]
    assert [b.name for b in lengths_of(short, [BUDGETS.make("unlimited")])] == ["unlimited"]
    assert [b.k for b in lengths_of(short, [BUDGETS.make("das")])] == [1, 2, 4]


def test_a_schedule_is_one_that_vllm_takes_and_drafts_less_the_more_there_are() -> None:
    bench = whole(rollouts("own"))
    schedule = solve_schedule(bench, DRAFTERS.make("ngram:k=16"))
    lengths = [k for _, _, k in schedule.entries]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 0
    starts = [first for first, _, _ in schedule.entries]
    assert starts[0] == 1
    assert all(
        b[0] == a[1] + 1 for a, b in zip(schedule.entries, schedule.entries[1:], strict=False)
    )
    dear = solve_schedule(
        whole(rollouts("own"), "linear:base=1e-4,token=1"), DRAFTERS.make("ngram")
    )
    assert [k for _, _, k in dear.entries] == [0]
