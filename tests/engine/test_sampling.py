"""Replay, coupled sampling and plain speculative sampling in a real vLLM."""

from types import SimpleNamespace

import pytest
from vllm_runs import (
    COUPLED,
    METHODS,
    NGRAM,
    PROMPTS,
    TOKENS,
    engine,
    generate,
    homogeneity,
    logprobs_of,
    outcome,
    params,
    runner_of,
    tokens_of,
)


@pytest.mark.parametrize("method", ["ngram", "adversary"])
@pytest.mark.parametrize("kind", COUPLED)
def test_coupled_text_does_not_depend_on_drafts(tiny_llama, vllm_cpu, method, kind):
    alone, drafted = outcome(tiny_llama, "none"), outcome(tiny_llama, method)
    texts = tokens_of(alone.found[kind])
    assert {len(text) for text in texts} == {TOKENS}
    assert len({tuple(text) for text in texts}) == PROMPTS
    assert tokens_of(drafted.found[kind]) == texts
    assert drafted.hits["coupled"] > 1000
    assert logprobs_of(drafted.found[kind]) == pytest.approx(
        logprobs_of(alone.found[kind]), abs=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["replay", "greedy replay"])
def test_replay_is_exact(tiny_llama, vllm_cpu, method, kind):
    alone, run = outcome(tiny_llama, "none"), outcome(tiny_llama, method)
    assert tokens_of(run.found[kind]) == run.texts
    assert run.hits["replay"] > {"none": -1, "ngram": 1000, "adversary": 10}[method]
    assert logprobs_of(run.found[kind]) == pytest.approx(alone.truth, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_requests_of_all_kinds_share_a_batch(tiny_llama, vllm_cpu, method):
    """Those that ask for nothing get what they get without us."""
    alone, run = outcome(tiny_llama, "none"), outcome(tiny_llama, method)
    plain, reference = tokens_of(alone.found["plain"]), tokens_of(alone.found["mixed"])
    seeded = tokens_of(alone.found["seeded"])
    for i, text in enumerate(tokens_of(run.found["mixed"])):
        if i % 5 == 0:
            assert text == plain[i]
        elif i % 5 == 1:
            assert text == run.texts[i % 40]
        elif i % 5 < 4:
            assert text == reference[i]
        elif method == "none":
            assert text == seeded[i]


def test_coupling_survives_preemption_and_is_switched_on_for_all(tiny_llama, vllm_cpu, caplog):
    """Seven cache blocks for eight requests that need two each; coupled by the engine's config."""
    run = outcome(tiny_llama, "none")
    with engine(tiny_llama, NGRAM, num_gpu_blocks_override=8) as llm:
        runner_of(llm).vllm_config.additional_config["longtail"] = {"coupled": True}
        wanted = [params(seed=i, max_tokens=200) for i in range(8)]
        long = tokens_of(generate(llm, run.prompts[:8], wanted))
        preempted = [m.value for m in llm.get_metrics() if m.name == "vllm:num_preemptions"]
        assert "not coupled" not in caplog.text
        generate(llm, run.prompts[:1], params(max_tokens=2))
    assert "not coupled" in caplog.text
    assert sum(preempted) > 0
    assert [text[:TOKENS] for text in long] == tokens_of(run.found["plain"])[:8]


def test_drafts_are_accepted_up_to_the_first_that_is_not_the_given_token(vllm_cpu):
    """By hand: ragged drafts, an ordinary request between, placeholders for tokens on their way."""
    import torch

    from longtail.engine import sampling

    drafts = [[11, 12, 9], [5], [], [21, 22]]
    outputs = [[-1], [], [0, 0], [1]]
    texts = [[10, 11, 12, 13, 14], None, [30, 31, 32], [20, 21, 22]]
    names = list("abcd")
    runner = SimpleNamespace(
        use_async_scheduling=False,
        input_batch=SimpleNamespace(req_ids=names, generators={0: "dropped", 1: "kept"}),
        requests={
            n: SimpleNamespace(output_token_ids=o) for n, o in zip(names, outputs, strict=True)
        },
    )
    counts = [len(draft) for draft in drafts]
    wishes = [text and sampling.Replay(text) for text in texts]
    metadata = SimpleNamespace(num_draft_tokens=counts)
    forward = sampling.Forward(runner, wishes, metadata, torch.device("cpu"))
    assert runner.input_batch.generators == {1: "kept"}

    bonus, _ = forward.sample(lambda: (torch.full((4,), 99), None))
    assert bonus.tolist() == [14, 99, 32, sampling.AFTER_REPLAY]
    flat = torch.tensor([11, 12, 9, 5, 21, 22], dtype=torch.int32)
    ends = torch.tensor(counts).cumsum(0).int()
    own = torch.full((4, 4), 7, dtype=torch.int32)
    args = (flat, counts, max(counts), ends, None, None, bonus[:, None].int(), None)
    result = forward.rejection_sample(lambda *_: own, *args)
    assert result.dtype == torch.int32
    assert result.tolist() == [[11, 12, 13, -1], [7] * 4, [32, -1, -1, -1], [21, 22, 0, -1]]
    assert flat.tolist() == [11, 12, 9, 5, 21, 22]


def test_coupled_text_has_the_distribution_of_sampling(tiny_llama, vllm_cpu):
    """Over as many seeds as samples: vLLM gives the n-th sample the seed + n."""
    found = outcome(tiny_llama, "none").found
    for n in (1, 2, 3, 4):
        assert homogeneity(found["sampled"], found["many coupled"], n) > 0.01


def test_speculative_sampling_keeps_the_distribution(tiny_llama, vllm_cpu):
    """vLLM's own, against an adversary; without the shim it does not, so the test has teeth."""
    plain, run = outcome(tiny_llama, "none").found["sampled"], outcome(tiny_llama, "adversary")
    assert run.hits["sampled"] > 1000
    for n in (1, 2, 3, 4):
        assert homogeneity(plain, run.found["sampled"], n) > 0.01
    for n in (2, 3, 4):  # nothing is drafted for the first
        assert homogeneity(plain, run.found["broken"], n) < 1e-6


def test_what_cannot_work_is_said_and_stops_nobody(vllm_cpu, caplog):
    from longtail.engine import sampling

    with pytest.raises(RuntimeError, match="VLLM_USE_V2_MODEL_RUNNER=0"):
        sampling.install(type("GPUModelRunner", (), {}))

    class Runner:
        use_async_scheduling = True
        input_batch = SimpleNamespace(req_ids=["a"], vocab_size=8)

        def __init__(self, tokens):
            wanted = SimpleNamespace(extra_args={"longtail_replay": tokens})
            self.requests = {"a": SimpleNamespace(req_id="a", sampling_params=wanted)}

        def _sample(self, logits, spec_decode_metadata):
            return "sampled"

    sampling.install(Runner)
    once = Runner._sample
    sampling.install(Runner)
    assert Runner._sample is once
    # One request's mistake is not the others' end: it is sampled as if it had not asked.
    assert Runner([1])._sample(None, SimpleNamespace()) == "sampled"
    assert "async_scheduling=False" in caplog.text
    for junk in ([8], [-1], ["x"], 5, [True], [[1]]):
        assert Runner(junk)._sample(None, None) == "sampled"
    assert "0 to 7" in caplog.text
    asks_nothing = Runner([])
    asks_nothing.requests["a"].sampling_params.extra_args = None
    asks_nothing.vllm_config = SimpleNamespace(additional_config={})
    assert asks_nothing._sample(None, None) == "sampled"
