"""What a policy costs in a live engine, beside vLLM's own suffix decoding in the same run.

Recorded rollouts are replayed (RL steps in order, history growing), so that every method drafts for
the same text; the tiny model then generates, for throughput. Timed like with like: of vLLM's
suffix method its `propose`, which drafts and indexes; of ours the policy, which does the same and
budgets, and besides everything in the scheduler that is not vLLM's (bookkeeping, the log's row).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import longtail
from longtail.engine.execute import execute
from longtail.engine.job import Generate, Job, Replay, read_summary
from longtail.engine.live import LivePolicy
from longtail.engine.policies import parse_policy
from longtail.engine.prompts import read_prompts
from longtail.engine.step_log import read_step_log
from longtail.traces.select import select_rollouts

STEPS = [0, 1, 2]
BATCHES = (16, 64, 256)
POLICIES = ("suffix:scope=both/unlimited", "suffix:scope=both/fixed:k=4", "suffix:scope=both/das")


def main() -> None:
    """Print microseconds per request and forward, then tokens per second; nothing without vLLM."""
    if importlib.util.find_spec("vllm") is None:
        print("\nvLLM is not installed: no live figures")
        return
    folder = Path(tempfile.mkdtemp(prefix="longtail-bench-"))
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    warnings.simplefilter("ignore")
    try:
        overhead(folder)
        throughput(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def overhead(folder: Path) -> None:
    """Medians over the forwards of the last RL step in which the batch is still whole."""
    title = "replayed, us per request and forward"
    print(f"\n{title:38} {'batch':>6} {'us':>7} {'with log':>9} {'gain':>6}")
    for batch in BATCHES:
        path = folder / f"{batch}.parquet"
        select_rollouts(
            longtail.read_trace("sample"), path, rl_steps=STEPS, prompts=batch // 8, samples=8
        )
        from vllm.v1.spec_decode.suffix_decoding import SuffixDecodingProposer

        rival, _, rival_gain = _timed_run(
            "vllm:suffix", path, batch, folder, SuffixDecodingProposer, ("propose",)
        )
        print(f"{'vllm:suffix':38} {batch:6} {rival:7.2f} {'':9} {rival_gain:6.2f}")
        for policy in POLICIES:
            us, logged, gain = _timed_run(
                policy, path, batch, folder, LivePolicy, ("propose", "gained")
            )
            row = f"{policy:38} {batch:6} {us:7.2f} {logged:9.2f} {gain:6.2f}"
            print(f"{row} {rival / us:5.1f}x faster")


def _timed_run(
    policy: str, trace: Path, batch: int, folder: Path, owner: Any, methods: tuple[str, ...]
) -> tuple[float, float, float]:
    """Microseconds in these methods and in all of longtail, and tokens per request and forward."""
    took: list[float] = []  # per call of the first method, with the others' until the next

    def timed(original: Any, first: bool) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = original(self, *args, **kwargs)
            if first:
                took.append(0.0)
            if took:
                took[-1] += time.perf_counter() - began
            return result

        return call

    with ExitStack() as stack:
        for name in methods:
            own = getattr(owner, name)
            setattr(owner, name, timed(own, name == methods[0]))
            stack.callback(setattr, owner, name, own)
        log = _run(policy, Replay(str(trace), STEPS), "dummy", folder)
    took = took[-len(log) :]  # those of the warm-up are first
    full = _full(log, batch)
    us = statistics.median(took[i] / n for i, n in zip(full.index, full.requests, strict=True))
    logged = float((full.draft_s / full.requests).median())
    return us * 1e6, logged * 1e6, _gain(full)


def throughput(folder: Path) -> None:
    """Live generation, greedy and sampled (coupled: the same text for all), four rounds."""
    names, prompts = read_prompts(longtail.sample_path(), limit=16)
    print(f"\n{'generated, 64 requests':38} {'T':>4} {'tokens/s':>9} {'of none':>8} {'gain':>6}")
    policies = ("none", "vllm:ngram", "vllm:suffix", *POLICIES)
    for temperature in (0.0, 0.8):
        work = Generate(
            names, prompts, rounds=4, samples=4, temperature=temperature, max_tokens=512,
            coupled=temperature > 0,
        )  # fmt: skip
        rates: dict[str, float] = {}
        for policy in policies:
            log = _run(policy, work, "tiny", folder)
            steps = read_summary(folder / "run")["steps"][1:]
            rates[policy] = statistics.median(s["output_tokens"] / s["makespan_s"] for s in steps)
            print(
                f"{policy:38} {temperature:4} {rates[policy]:9,.0f} "
                f"{rates[policy] / rates['none']:7.2f}x {_gain(log):6.2f}"
            )


def _run(policy: str, work: Any, model: str, folder: Path) -> Any:
    shutil.rmtree(folder / "run", ignore_errors=True)
    named = parse_policy(policy)
    job = Job("run", work, model, named.policy, {"max_num_seqs": 256, **named.engine})
    execute([job], folder, longtail_room(named.policy))
    return read_step_log(folder / "run" / "steps")


def longtail_room(policy: dict[str, Any]) -> int:
    """K of the engine."""
    from longtail.engine.settings import LiveSettings

    return LiveSettings.of(policy).k


def _full(log: Any, batch: int) -> Any:
    last = log[(log.rl_step == STEPS[-1]) & (log.prefill_tokens == 0)]
    return last[last.requests >= 0.9 * batch]


def _gain(log: Any) -> float:
    return 1 + log.accepted.sum() / log.requests.sum()


if __name__ == "__main__":
    main()
