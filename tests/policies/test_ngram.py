"""Prompt lookup against its definition, and against vLLM's own kernel where vLLM is installed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from brute_drafts import ngram_draft
from hypothesis import given, settings
from hypothesis import strategies as st
from small_workloads import Rollout, repetitive_text, workload_of

from longtail.policies.drafters.ngram import Ngram

KERNEL = "vllm.v1.spec_decode.ngram_proposer"


def profile_is(drafter: Ngram, rollout: Rollout, drafts: list[list[int]]) -> None:
    """drafts[g]: what is to be drafted after g output tokens (0 is unused)."""
    profile = workload_of([rollout]).profile(drafter)
    for g in range(1, len(rollout.output)):
        same = [a == b for a, b in zip(drafts[g], rollout.output[g:], strict=False)] + [False]
        assert profile.drafted[g] == len(drafts[g])
        assert profile.matched[g] == same.index(False)


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    output=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    low=st.integers(1, 4),
    more=st.integers(0, 4),
    k=st.integers(0, 9),
)
def test_definition(prompt: list[int], output: list[int], low: int, more: int, k: int) -> None:
    drafter = Ngram(k=k, min=low, max=low + more)
    drafts = [ngram_draft(prompt + output[:g], low, low + more, k) for g in range(len(output))]
    profile_is(drafter, Rollout(0, 0, prompt, output), drafts)
    live = drafter.live()
    live.begin(0, 0, np.array(prompt, np.int32))
    for g in range(1, len(output)):
        live.extend([0], [np.array(output[g - 1 : g], np.int32)])
        assert live.draft([0])[0].tolist() == drafts[g]


def test_limits_of_options() -> None:
    """The longest n-gram that an option may ask for, and a text of one token repeated."""
    drafter = Ngram(k=128, min=1, max=64)
    rollout = Rollout(0, 0, [7] * 50, [7] * 200)
    text = rollout.prompt + rollout.output
    drafts = [ngram_draft(text[: 50 + g], 1, 64, 128) for g in range(200)]
    profile_is(drafter, rollout, drafts)


def test_same_as_vllm() -> None:
    proposer = pytest.importorskip(KERNEL, reason="vLLM is not installed")
    find = proposer._find_longest_matched_ngram_and_propose_tokens
    rng = random.Random(0)
    compared = 0
    for _ in range(60):
        alphabet = rng.choice([2, 3, 8])
        prompt = repetitive_text(rng, rng.randint(1, 60), alphabet)
        output = repetitive_text(rng, rng.randint(1, 120), alphabet)
        low, k = rng.randint(1, 4), rng.randint(1, 12)
        high = low + rng.randint(0, 4)
        drafts: list[list[int]] = [[]]
        for g in range(1, len(output)):
            text = np.array(prompt + output[:g], np.int32)
            drafts.append(find(text, low, high, 1 << 20, k).tolist())
            compared += 1
        profile_is(Ngram(k=k, min=low, max=high), Rollout(0, 0, prompt, output), drafts)
    print(f"{compared} drafts are those of vLLM")
