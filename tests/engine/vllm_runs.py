"""What a real vLLM does with replayed, coupled and ordinary requests, with and without drafts.

`outcome(model, method)` starts one engine and asks it for everything that the tests compare.
"""

import functools
import gc
import random
import zlib
from collections import Counter
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

NGRAM = {
    "method": "ngram",
    "num_speculative_tokens": 4,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 2,
}
PROMPTS, TOKENS, SAMPLES = 64, 100, 10_000
COUPLED = {
    "plain": {},
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.9},
    "both": {"top_k": 8, "top_p": 0.9},
    "penalties": {"presence_penalty": 1.0, "repetition_penalty": 1.2},
}


class Adversary:
    """Drafts from the prefix alone: likely, unlikely and (nearly) impossible tokens, any number."""

    vocab = 2
    likely: ClassVar[dict[int, int]] = {}  # the most frequent token after a token

    def __init__(self, vllm_config):
        self.k = vllm_config.speculative_config.num_speculative_tokens

    def load_model(self, *args, **kwargs):
        pass

    def propose(self, sampled_token_ids, num_tokens_no_spec, token_ids_cpu, **kwargs):
        lengths = num_tokens_no_spec.tolist()
        return [
            self.draft(token_ids_cpu[i, : lengths[i]]) if sampled else []
            for i, sampled in enumerate(sampled_token_ids)
        ]

    def draft(self, prefix):
        """Half of the tokens are the likely ones, the others any."""
        dice = random.Random(zlib.crc32(prefix.tobytes()))
        last, tokens = int(prefix[-1]), []
        for _ in range(dice.randint(0, self.k)):
            last = self.likely.get(last, 0) if dice.random() < 0.5 else dice.randrange(self.vocab)
            tokens.append(last)
        return tokens


ADVERSARY = {
    "method": "custom_class",
    "model": f"{Adversary.__module__}.{Adversary.__qualname__}",
    "num_speculative_tokens": 3,
}
METHODS = {"none": None, "ngram": NGRAM, "adversary": ADVERSARY}


@contextmanager
def engine(path, speculation=None, **kwargs):
    """A real vLLM on the CPU, in this process, alone."""
    from vllm import LLM

    from longtail.engine import cpu_shims, sampling

    cpu_shims.install()
    llm = LLM(
        model=str(path),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        gpu_memory_utilization=0.3,
        max_model_len=256,
        disable_log_stats=False,
        speculative_config=speculation,
        **{"num_gpu_blocks_override": 300, **kwargs},
    )
    runner = runner_of(llm)
    sampling.install(type(runner))
    Adversary.vocab = runner.input_batch.vocab_size
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm, runner
        gc.collect()
        cpu_shims.install()


def runner_of(llm):
    return llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner


def params(**kwargs):
    from vllm import SamplingParams

    defaults = {"temperature": 0.8, "max_tokens": TOKENS, "ignore_eos": True, "detokenize": False}
    return SamplingParams(**{**defaults, **kwargs})


def coupled(seed=0, **kwargs):
    return params(seed=seed, extra_args={"longtail_coupled": True}, **kwargs)


def replayed(text, **kwargs):
    return params(max_tokens=len(text), extra_args={"longtail_replay": text}, **kwargs)


def generate(llm, prompts, wanted):
    inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    return [out.outputs for out in llm.generate(inputs, wanted, use_tqdm=False)]


def tokens_of(outputs):
    return [list(out[0].token_ids) for out in outputs]


def logprobs_of(outputs):
    """Of the tokens that came out, one list."""
    pairs = [(out[0].token_ids, out[0].logprobs) for out in outputs]
    return [row[token].logprob for pair in pairs for token, row in zip(*pair, strict=True)]


def accepted(llm):
    name = "vllm:spec_decode_num_accepted_tokens"
    return sum(metric.value for metric in llm.get_metrics() if metric.name == name)


@functools.cache
def some_prompts(vocab):
    rng = np.random.default_rng(1)
    return [tuple(rng.integers(0, vocab, rng.integers(4, 12)).tolist()) for _ in range(PROMPTS)]


@functools.cache
def recorded(vocab):
    """Outputs that no model would make, some of them repetitive, of several lengths."""
    rng = np.random.default_rng(2)
    noisy = [rng.integers(0, vocab, rng.integers(1, TOKENS)).tolist() for _ in range(20)]
    cycles = [rng.integers(0, vocab, n).tolist() * (TOKENS // n) for n in range(3, 23)]
    return [*noisy, *cycles]


@functools.cache
def outcome(path, method):
    """What one engine does with everything that these tests ask of it."""
    from longtail.engine import cpu_shims

    if method != "none":
        Adversary.likely = followers(tokens_of(outcome(path, "none").found["plain"]))
    with engine(path, METHODS[method]) as llm:
        vocab = runner_of(llm).input_batch.vocab_size
        prompts, texts = some_prompts(vocab), recorded(vocab)
        found, hits, truth = {}, {}, None
        for name, kwargs in COUPLED.items():
            wanted = [coupled(seed, logprobs=1, **kwargs) for seed in range(PROMPTS)]
            found[name] = generate(llm, prompts, wanted)
        hits["coupled"] = accepted(llm)
        for name, temperature in (("replay", 0.8), ("greedy replay", 0)):
            wanted = [replayed(text, temperature=temperature, logprobs=0) for text in texts]
            found[name] = generate(llm, prompts[: len(texts)], wanted)
        hits["replay"] = accepted(llm) - hits["coupled"]
        found["mixed"] = generate(llm, prompts, mixed(texts))
        if method != "ngram":
            before = accepted(llm)
            found["sampled"] = many(llm)
            hits["sampled"] = accepted(llm) - before
        if method == "none":
            found["seeded"] = generate(llm, prompts, [params(seed=i) for i in range(PROMPTS)])
            found["many coupled"] = many(llm, coupled)
            truth = true_logprobs(llm, prompts, texts)
        if method == "adversary":
            cpu_shims.remove()
            found["broken"] = many(llm)
    return SimpleNamespace(texts=texts, prompts=prompts, found=found, hits=hits, truth=truth)


def many(llm, kind=params):
    """A great many samples of four tokens, of one prompt."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)  # vLLM draws for unseeded requests from this
    return generate(llm, [(3, 1, 4)], kind(max_tokens=4, n=SAMPLES))


def mixed(texts):
    """Coupled, replayed, greedy, greedy though told to couple, and seeded requests by turns."""
    kinds = [
        lambda i: coupled(i),
        lambda i: replayed(texts[i % 40], seed=i),
        lambda i: params(temperature=0),
        lambda i: coupled(i, temperature=0),
        lambda i: params(seed=i),
    ]
    return [kinds[i % 5](i) for i in range(PROMPTS)]


def true_logprobs(llm, prompts, texts):
    """The model's own logprobs of the replayed tokens, from reading them as prompts."""
    inputs = [
        {"prompt_token_ids": [*prompt, *text]} for prompt, text in zip(prompts, texts, strict=False)
    ]
    outs = llm.generate(inputs, params(max_tokens=1, prompt_logprobs=0), use_tqdm=False)
    return [
        row[token].logprob
        for out, text in zip(outs, texts, strict=True)
        for token, row in zip(text, out.prompt_logprobs[-len(text) :], strict=True)
    ]


def followers(texts):
    """The most frequent token after each token."""
    pairs = [pair for text in texts for pair in pairwise(text)]
    ranked = sorted(Counter(pairs).items(), key=lambda item: item[1])
    return {first: second for (first, second), _ in ranked}


def homogeneity(ours, theirs, n):
    """The p-value of equal distributions of the first `n` tokens (chi-square, rare ones pooled)."""
    counts = [Counter(tuple(out.token_ids[:n]) for out in side[0]) for side in (ours, theirs)]
    table = np.array([[count[key] for key in counts[0] | counts[1]] for count in counts], float)
    rare = table.sum(axis=0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return chi_square_p(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1)


def chi_square_p(statistic, freedom):
    import torch

    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
