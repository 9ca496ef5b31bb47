"""Dumps written by the trainers' own code; each test is skipped where its library is absent.

The libraries are no dependencies: put them beside the project (`pip install --no-deps` will do
where their writers need little else) to run these.
"""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from dumps import END, PROMPTS, episode, ids, rollouts, slime_sample, words
from loading import load, outputs

from longtail.traces.schema import LENGTH, STOP

ROLLOUTS = list(rollouts())


def library(name: str) -> Any:
    """A module of a library, or a skip, whatever it is that keeps it from loading."""
    try:
        return import_module(name)
    except Exception as error:
        pytest.skip(f"{name} does not load here ({type(error).__name__})")


def recognised(bench: Any, name: str) -> Any:
    """The trace of what was written to the folder of that name."""
    return load(bench, "auto", bench.folder / name)[0]


@pytest.mark.parametrize(
    ("module", "trainer"),
    [
        ("verl.trainer.ppo.ray_trainer", "RayPPOTrainer"),
        ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer"),
    ],
)
def test_verl(bench: Any, module: str, trainer: str) -> None:
    write = getattr(library(module), trainer)._write_generations
    for step in (1, 2):
        chosen = [row for row in ROLLOUTS if row[0] == step]
        write(
            [PROMPTS[prompt] for _, prompt, _, _ in chosen],
            [words(output) for *_, output in chosen],
            [None for _ in chosen],
            [float(sample) for _, _, sample, _ in chosen],
            {"uid": [f"{prompt}_{sample}_0" for _, prompt, sample, _ in chosen]},
            str(bench.folder / "verl"),
            step,
        )
    trace = recognised(bench, "verl")
    assert outputs(trace) == [[*output, END] for *_, output in ROLLOUTS]
    assert trace.lengths().rl_step.tolist() == [step for step, *_ in ROLLOUTS]
    assert trace.lengths().reward.tolist() == [sample for *_, sample, _ in ROLLOUTS]


def test_trl(bench: Any) -> None:
    """Two steps of GRPO with a model of a few thousand random weights."""
    trl, datasets = library("trl"), library("datasets")
    transformers = library("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bench.tokenizer), eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    config = transformers.LlamaConfig(
        vocab_size=END + 1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=END,
        pad_token_id=END,
    )
    seen: list[tuple[list[str], list[str]]] = []

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        seen.append((prompts, completions))
        return [float(len(text.split())) for text in completions]

    arguments = trl.GRPOConfig(
        output_dir=str(bench.folder / "trl"),
        log_completions=True,
        max_steps=2,
        logging_steps=1,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=8,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
    )
    trl.GRPOTrainer(
        model=transformers.LlamaForCausalLM(config),
        processing_class=tokenizer,
        reward_funcs=reward,
        args=arguments,
        train_dataset=datasets.Dataset.from_list([{"prompt": p} for p in PROMPTS]),
    ).train()
    trace = recognised(bench, "trl")
    texts = [text for _, completions in seen for text in completions]
    assert outputs(trace) == [[*ids(text), END] for text in texts]
    assert trace.lengths().rl_step.tolist() == [1] * 4 + [2] * 4
    assert trace.lengths().reward.tolist() == [len(text.split()) for text in texts]


def test_areal(bench: Any) -> None:
    torch = library("torch")
    executor = library("areal.infra.workflow_executor").WorkflowExecutor
    tokenizer = library("transformers").PreTrainedTokenizerFast(
        tokenizer_file=str(bench.tokenizer), eos_token="<|endoftext|>"
    )
    place = SimpleNamespace(
        _get_dump_dir=lambda is_eval: str(bench.folder / "areal" / "rollout"),
        _get_tokenizer=lambda: tokenizer,
    )
    for task, (step, prompt, sample, output) in enumerate(ROLLOUTS):
        start, written = ids(PROMPTS[prompt]), output if sample else [*output, END]
        n = len(start) + len(written)
        trajectory = {
            "input_ids": torch.tensor([start + written]),
            "rewards": torch.tensor([float(sample)]),
            "loss_mask": torch.tensor([[0] * len(start) + [1] * len(written)]),
            "attention_mask": torch.ones(1, n, dtype=torch.bool),
            "versions": torch.full((1, n), step),
        }
        done = asyncio.run(executor._dump_trajectory(place, trajectory, task, False))
        assert done == (True, "")
    trace = recognised(bench, "areal")
    assert outputs(trace) == [o if sample else [*o, END] for *_, sample, o in ROLLOUTS]
    assert trace.lengths().finish.tolist() == [STOP, LENGTH] * 4
    assert trace.lengths().rl_step.tolist() == [step for step, *_ in ROLLOUTS]


def test_prime_rl(bench: Any) -> None:
    episodes = library("verifiers.v1.episode").WireEpisode
    for step in (1, 2):
        file = bench.folder / "prime" / "traces" / f"step_{step}" / "train" / "traces.jsonl"
        file.parent.mkdir(parents=True)
        with file.open("w") as stream:
            for row in (row for row in ROLLOUTS if row[0] == step):
                plain = episode(*row)
                for trace in plain["traces"]:
                    trace["agent"]["config"] = {"model": "m"}
                    trace["nodes"][0]["message"] |= {"content": PROMPTS[row[1]]}
                    trace["nodes"][1]["message"] |= {"content": words(row[3])}
                stream.write(json.dumps(episodes.model_validate(plain).to_record()) + "\n")
    trace = recognised(bench, "prime")
    assert outputs(trace) == [[*output, END] for *_, output in ROLLOUTS]
    assert trace.lengths().finish.tolist() == [STOP] * 8
    assert trace.column("policy_version").tolist() == [step for step, *_ in ROLLOUTS]


def test_slime(bench: Any) -> None:
    write = library("slime.observability.rollout_data_utils").save_debug_rollout_data
    samples = library("slime.utils.types").Sample
    template = str(bench.folder / "slime" / "{rollout_id}.pt")
    for step in (1, 2):
        chosen = [slime_sample(*row) for row in ROLLOUTS if row[0] == step]
        write(template, [samples.from_dict(s) for s in chosen], rollout_id=step, evaluation=False)
    trace = recognised(bench, "slime")
    assert outputs(trace) == [o if sample else [*o, END] for *_, sample, o in ROLLOUTS]
    assert trace.lengths().finish.tolist() == [STOP, LENGTH] * 4


def test_roll(bench: Any) -> None:
    module = library("roll.pipeline.rlvr.utils")
    columns = {
        "id": [f"q{prompt}" for _, prompt, _, _ in ROLLOUTS],
        "prompt": [PROMPTS[prompt] for _, prompt, _, _ in ROLLOUTS],
        "responses": [words(output) for *_, output in ROLLOUTS],
        "scores": [float(sample) for _, _, sample, _ in ROLLOUTS],
        "global_step": [1 for _ in ROLLOUTS],
    }
    module.write_to_json_process(str(bench.folder / "roll"), columns, module.COLUMMNS_CONFIG)
    assert outputs(recognised(bench, "roll")) == [[*output, END] for *_, output in ROLLOUTS]
