"""Little dumps of every known format, written from its documented schema.

Each holds two RL steps (where the format has any), two prompts and two samples of each; outputs are
2 to 5 tokens of the little tokenizer, whose words are w0 to w99 and whose end token is 100.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

END = 100
PROMPTS = ("w1 w2 w3", "w4 w5")


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rollouts() -> Iterator[tuple[int, int, int, list[int]]]:
    """(step, prompt, sample, output ids without the end token), in order."""
    for step in (1, 2):
        for prompt in (0, 1):
            for sample in (0, 1):
                yield step, prompt, sample, [10 * step + i for i in range(1 + prompt + sample)]


def ids(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


def words(tokens: list[int]) -> str:
    return " ".join(f"w{token}" for token in tokens)


def verl(folder: Path) -> Path:
    for step in (1, 2):
        rows = [
            {
                "input": PROMPTS[prompt],
                "output": words(output),
                "gts": "7",
                "score": float(sample),
                "step": step,
                "acc": sample,
            }
            for at, prompt, sample, output in rollouts()
            if at == step
        ]
        (folder / f"{step}.jsonl").write_bytes(lines(rows))
    return folder


def trl(folder: Path) -> Path:
    completions = folder / "completions"
    completions.mkdir()
    for step in (1, 2):
        chosen = [row for row in rollouts() if row[0] == step]
        table = {
            "step": [step for _ in chosen],
            "prompt": [PROMPTS[prompt] for _, prompt, _, _ in chosen],
            "completion": [words(output) for *_, output in chosen],
            "accuracy_reward": [float(sample) for _, _, sample, _ in chosen],
            "advantage": [0.5 for _ in chosen],
        }
        pq.write_table(pa.table(table), completions / f"completions_{step:05d}.parquet")
    return folder


def slime_sample(step: int, prompt: int, sample: int, output: list[int]) -> dict[str, Any]:
    cut = sample == 1
    tokens = output if cut else [*output, END]
    return {
        "group_index": 2 * step + prompt,
        "index": sample,
        "prompt": PROMPTS[prompt],
        "tokens": ids(PROMPTS[prompt]) + tokens,
        "response": words(output),
        "response_length": len(tokens),
        "label": None,
        "reward": float(sample),
        "loss_mask": [1] * len(tokens),
        "weight_versions": [str(step)],
        "rollout_log_probs": [-0.5] * len(tokens),
        "status": "truncated" if cut else "completed",
        "metadata": {},
        "session_id": None,
        "non_generation_time": 0.0,
        "spec_info": {
            "spec_accept_token_num": 1,
            "spec_draft_token_num": 2,
            "spec_verify_ct": 1,
            "completion_token_num": len(tokens),
        },
        "prefix_cache_info": {"cached_tokens": 0, "total_prompt_tokens": 3},
    }


def slime(folder: Path) -> Path:
    import torch

    for step in (1, 2):
        samples = [slime_sample(*row) for row in rollouts() if row[0] == step]
        torch.save({"rollout_id": step, "samples": samples}, folder / f"{step}.pt")
    torch.save({"rollout_id": 1, "samples": samples}, folder / "eval_1.pt")
    return folder


def episode(step: int, prompt: int, sample: int, output: list[int]) -> dict[str, Any]:
    task = {"type": "Task", "data": {"prompt": PROMPTS[prompt]}, "key": f"p{prompt}"}
    sampled = [*output, END]
    nodes = [
        {"message": {"role": "user"}, "sampled": False, "token_ids": ids(PROMPTS[prompt])},
        {"parent": 0, "message": {"role": "assistant"}, "sampled": True, "token_ids": sampled},
    ]
    nodes[0]["mask"] = [False] * len(nodes[0]["token_ids"])
    nodes[1]["mask"] = [True] * len(sampled)
    return {
        "id": f"e{step}{prompt}{sample}",
        "env": {"id": "env"},
        "task": task,
        "group": {"id": f"g{prompt}"},
        "run": {
            "type": "train",
            "id": "r",
            "work": {"type": "train", "step": step, "policy": {"start": step, "end": step}},
        },
        "ok": True,
        "errors": [],
        "traces": [
            {
                "version": 1,
                "id": "t",
                "task": task,
                "agent": {"config": {}, "name": "agent", "trainable": True},
                "nodes": nodes,
                "calls": [{"node": 1, "model": "m", "finish_reason": "stop"}],
                "rewards": {"a": {"score": float(sample), "weight": 0.5}, "b": None},
                "metrics": {},
                "info": {},
                "is_completed": True,
                "ok": True,
                "stop_condition": "agent_completed",
                "errors": [],
            }
        ],
    }


def prime_rl(folder: Path) -> Path:
    for step in (1, 2):
        rows = [episode(*row) for row in rollouts() if row[0] == step]
        for kind, subset in (("train", "all"), ("train", "effective"), ("eval", "all")):
            file = folder / "rollouts" / f"step_{step}" / kind / subset / "traces.jsonl"
            file.parent.mkdir(parents=True)
            file.write_bytes(lines(rows))
    return folder


def nemo_rl(folder: Path) -> Path:
    for step in (1, 2):
        rows = []
        for at, prompt, sample, output in rollouts():
            if at != step:
                continue
            start, written = ids(PROMPTS[prompt]), [*output, END] if sample == 0 else output
            padding = [0] * (10 - len(start) - len(written))
            rows.append(
                {
                    "content": [PROMPTS[prompt] + words(output)],
                    "rewards": [float(sample)],
                    "input_lengths": [len(start) + len(written)],
                    "token_ids": [start + written + padding],
                    "token_loss_mask": [[0] * len(start) + [1] * len(written) + padding],
                    "sample_loss_mask": [1.0],
                    "advantages": [[0.0] * 10],
                    "generation_logprobs": [[-0.5] * 10],
                    "prev_logprobs": [[-0.5] * 10],
                    "idx": len(rows),
                }
            )
        (folder / f"train_data_step{step}.jsonl").write_bytes(lines(rows))
    (folder / "val_data_step1.jsonl").write_bytes(lines([{"content": "x"}]))
    return folder


def areal(folder: Path) -> Path:
    for task, (step, prompt, sample, output) in enumerate(rollouts()):
        start = ids(PROMPTS[prompt])
        ended = sample == 0
        row = {
            "task_id": task,
            "sample_idx": 0,
            "seqlen": len(start) + len(output) + ended,
            "prompt_len": len(start),
            "head_version": step - sample,
            "tail_version": step,
            "reward": float(sample),
            "prompt": PROMPTS[prompt],
            "completion": words(output) + ("<|endoftext|>" if ended else ""),
        }
        for kind in ("rollout", "eval-rollout"):
            file = folder / kind / str(step) / f"{task}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(lines([row]))
    return folder


def roll(folder: Path) -> Path:
    for step in (1, 2):
        chosen = [row for row in rollouts() if row[0] == step]
        columns = {
            "id": [f"q{prompt}" for _, prompt, _, _ in chosen],
            "source": ["math" for _ in chosen],
            "prompt": [PROMPTS[prompt] for _, prompt, _, _ in chosen],
            "responses": [words(output) for *_, output in chosen],
            "scores": [float(sample) for _, _, sample, _ in chosen],
            "sampling_params": ["{}" for _ in chosen],
            "global_step": [step for _ in chosen],
        }
        (folder / f"rollout_dump_data.step_{step}.jsonl").write_bytes(lines([columns]))
    return folder


def openai(folder: Path) -> Path:
    rows = [
        {
            "request": {
                "messages": [{"role": "user", "content": PROMPTS[prompt]}],
                "temperature": 0.7,
            },
            "response": {
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": words(output)},
                        "finish_reason": "length" if sample else "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": len(ids(PROMPTS[prompt])),
                    "completion_tokens": len(output) + (sample == 0),
                },
            },
        }
        for _, prompt, sample, output in rollouts()
    ]
    (folder / "log.jsonl").write_bytes(lines(rows))
    return folder


def vllm_bench(folder: Path) -> Path:
    outputs = [len(output) + 1 for *_, output in rollouts()]
    result = {
        "date": "20260101-000000",
        "model_id": "m",
        "completed": len(outputs) - 1,
        "input_lens": [5] * len(outputs),
        "output_lens": [*outputs[:-1], 0],
        "start_times": [100.0 + i for i in range(len(outputs))],
        "ttfts": [0.5] * len(outputs),
        "itls": [[0.25] * (n - 1) for n in outputs],
        "generated_texts": ["w1"] * len(outputs),
        "errors": [""] * (len(outputs) - 1) + ["timed out"],
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def mooncake(folder: Path) -> Path:
    rows = [
        {
            "timestamp": 1000 * i,
            "input_length": 600 + prompt,
            "output_length": len(output),
            "hash_ids": [7, 8 + prompt],
        }
        for i, (_, prompt, _, output) in enumerate(rollouts())
    ]
    (folder / "trace.jsonl").write_bytes(lines(rows))
    return folder


def azure(folder: Path) -> Path:
    rows = [
        f"2023-11-16 18:17:{i:02d}.9799600,{600 + prompt},{len(output)}"
        for i, (_, prompt, _, output) in enumerate(rollouts())
    ]
    (folder / "code.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    return folder


def burstgpt(folder: Path) -> Path:
    head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    rows = [
        f"{5 * i},ChatGPT,{600 + prompt},{len(output)},{600 + prompt + len(output)},API log"
        for i, (_, prompt, _, output) in enumerate(rollouts())
    ]
    failed = "99,GPT-4,10,0,10,Conversation log"
    (folder / "burst.csv").write_text("\n".join([head, *rows, failed]) + "\n")
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "verl": verl,
    "trl": trl,
    "slime": slime,
    "prime-rl": prime_rl,
    "nemo-rl": nemo_rl,
    "areal": areal,
    "roll": roll,
    "openai": openai,
    "vllm-bench": vllm_bench,
    "mooncake": mooncake,
    "azure": azure,
    "burstgpt": burstgpt,
}
