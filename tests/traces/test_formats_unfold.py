"""What is particular to one format: turns, masks, contexts, batches, messages, rewards, times."""

from __future__ import annotations

from typing import Any

import dumps
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dumps import END
from loading import load, outputs, prompts

from longtail.traces.schema import ABORT, LENGTH, STOP

STATUSES = ("completed", "truncated", "aborted", "failed", "pending")


def turns(masked: list[tuple[list[int], int]]) -> tuple[list[int], list[int]]:
    """Token ids and mask of spans, each written by the model (1) or not (0)."""
    return (
        [token for span, _ in masked for token in span],
        [flag for span, flag in masked for _ in span],
    )


def test_what_tools_wrote_is_left_out_of_outputs(bench: Any) -> None:
    tokens, mask = turns([([1, 2], 0), ([3, 4], 1), ([5], 0), ([6, END], 1), ([7], 0)])
    row = {"token_ids": [tokens], "token_loss_mask": [mask], "input_lengths": [len(tokens)]}
    trace, said = load(bench, "nemo-rl", bench.file("train_data_step3.jsonl", [row]))
    assert (prompts(trace), outputs(trace)) == ([[1, 2]], [[3, 4, 6, END]])
    assert "1 tokens that tools or users put between" in said
    assert trace.lengths().rl_step.tolist() == [3]


def test_slime_masks_hide_only_what_lies_between_turns(bench: Any) -> None:
    torch = pytest.importorskip("torch")
    masks = [[0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], None, [1, 1, 0, 0]]
    samples = [
        dumps.slime_sample(1, 0, 0, [5, 6, 7]) | {"loss_mask": mask, "status": status}
        for mask, status in zip(masks, STATUSES, strict=True)
    ]
    samples.append(dumps.slime_sample(1, 0, 0, []) | {"response_length": 0, "tokens": [1]})
    torch.save({"rollout_id": 1, "samples": samples}, bench.folder / "data_7.pt")
    trace, said = load(bench, "slime", bench.folder)
    whole = [5, 6, 7, END]
    assert outputs(trace) == [whole, [5, 7, END], whole, whole, whole]
    assert trace.lengths().finish.tolist() == [STOP, LENGTH, ABORT, ABORT, ABORT]
    assert trace.lengths().rl_step.tolist() == [7] * 5
    assert "1 samples have no response" in said and "10 tokens drafted" in said


def test_slime_tensors_rewards_and_versions(bench: Any) -> None:
    torch = pytest.importorskip("torch")
    sample = dumps.slime_sample(1, 0, 0, [5])
    sample |= {"tokens": torch.tensor(sample["tokens"]), "reward": {"acc": 1.0, "len": 0.25}}
    sample |= {"weight_versions": ["4", "5"], "loss_mask": torch.tensor([1, 1])}
    torch.save({"rollout_id": 1, "samples": [sample]}, bench.folder / "1.pt")
    trace, said = load(bench, "slime", bench.folder, "--map", "reward=reward.len")
    assert outputs(trace) == [[5, END]]
    assert trace.lengths().reward.tolist() == [0.25]
    assert trace.column("policy_version").tolist() == [4]
    assert "1 rewards are objects" in said and "1 rollouts were written by several" in said


def test_every_context_of_an_episode_is_a_rollout(bench: Any) -> None:
    def node(parent: int | None, tokens: list[int], written: int) -> dict[str, Any]:
        mask = [False] * (len(tokens) - written) + [True] * written
        return {"parent": parent, "token_ids": tokens, "mask": mask, "message": {}}

    row = dumps.episode(1, 0, 0, [5])
    trace = row["traces"][0]
    trace["nodes"] = [
        node(None, [1, 2], 0),
        node(0, [9, 3], 1),  # its scaffold belongs to the prompt
        node(1, [4], 0),
        node(2, [6, END], 2),
        node(1, [8, 7], 1),  # another context that shares the first turn
        node(None, [], 0),
    ]
    trace["calls"] = [{"node": 3, "finish_reason": "stop"}, {"node": 4, "finish_reason": "length"}]
    frozen = {**trace, "agent": {"trainable": False}}
    row["traces"] = [trace, frozen]
    found, said = load(bench, "prime-rl", bench.file("traces.jsonl", [row]))
    assert outputs(found) == [[3, 6, END], [7]]
    assert prompts(found) == [[1, 2, 9], [1, 2, 9, 3, 8]]
    assert found.lengths().finish.tolist() == [STOP, LENGTH]
    assert found.column("policy_version").tolist() == [1, 1]
    for fact in ("1 tokens that tools", "1 contexts hold no token ids", "1 traces of agents"):
        assert fact in said


def test_openai_batch_files_are_joined_by_custom_id(bench: Any) -> None:
    asked = [
        {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for i, body in enumerate(
            [
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "w1"}]}]},
                {"messages": [{"role": "user", "content": "w2"}], "n": 2},
                {"messages": [{"role": "user", "content": "w3"}]},
            ]
        )
    ]
    choice = {"message": {"content": "w5", "reasoning_content": "w4 "}, "finish_reason": "stop"}
    answers = [
        {"custom_id": "r1", "error": None, "response": {"status_code": 200, "body": body}}
        for body in [{"choices": [choice, choice | {"finish_reason": "tool_calls"}]}]
    ]
    answers.append({"custom_id": "r0", "response": {"status_code": 500, "body": {}}, "error": {}})
    first, second = bench.file("in.jsonl", asked), bench.file("out.jsonl", answers)
    trace, said = load(bench, "openai", first, second)
    assert outputs(trace) == [[4, 5, END]] * 2 and prompts(trace) == [[2]] * 2
    assert "1 requests failed" in said and "3 prompts are chat messages" in said
    bench.output.unlink()
    message = bench.refused("import", "openai", second, "--tokenizer", bench.tokenizer)
    assert "row 1: a response without its request; name the batch's input file first" in message


def test_openai_token_ids(bench: Any) -> None:
    named = [{"token": f"token_id:{i}", "logprob": -1.0} for i in (3, END)]
    rows = [
        {"prompt": [1, 2], "choices": [{"text": "w3", "logprobs": {"tokens": ["token_id:3"]}}]},
        {
            "messages": [{"role": "user", "content": "?"}],
            "prompt_token_ids": [1, 2],
            "choices": [{"message": {"content": "w3"}, "logprobs": {"content": named}}],
        },
        {"prompt": [4], "choices": [{"text": "w3", "token_ids": [3, 4]}]},
    ]
    trace, _ = load(
        bench, "openai", bench.file("a.jsonl", rows), "--end-token", END, tokenizer=False
    )
    assert outputs(trace) == [[3], [3, END], [3, 4]]
    assert prompts(trace) == [[1, 2], [1, 2], [4]]
    assert trace.lengths().finish.tolist() == [LENGTH, STOP, LENGTH]


def test_openai_chats_and_texts(bench: Any) -> None:
    chat = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
    rows = [{"messages": chat, "step": 4}, {"prompt": "w1", "response": "w3 w4", "step": 5}]
    rows.append({"prompt": "w1", "choices": []})
    trace, said = load(bench, "openai", bench.file("a.jsonl", rows), "--map", "rl_step=step")
    assert outputs(trace) == [[2, END], [3, 4, END]]
    assert trace.lengths().rl_step.tolist() == [4, 5] and "1 requests failed" in said


def test_trl_messages_and_several_rewards(bench: Any) -> None:
    user, reply = [{"role": "user", "content": "w1"}], [{"role": "assistant", "content": "w2"}]
    columns = {"step": [1], "prompt": [user], "completion": [reply], "fmt": [0.5], "acc": [2.0]}
    pq.write_table(pa.table(columns), bench.folder / "completions_00001.parquet")
    trace, said = load(bench, "trl", bench.folder)
    assert outputs(trace) == [[2, END]] and prompts(trace) == [[1]]
    assert "several columns could be the reward of 1 rollouts" in said and "reward=fmt+acc" in said
    trace, _ = load(bench, "trl", bench.folder, "--map", "reward=fmt+acc")
    assert trace.lengths().reward.tolist() == [2.5]


def test_serving_times_and_groups(bench: Any) -> None:
    rows = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens\n" + "".join(
        f"{t},{s},1.5,m,10,3\n" for t, s in ((0, "a"), (1, "a"), (2, ""))
    )
    trace, said = load(bench, "burstgpt", bench.file("b.csv", rows))
    assert trace.lengths().prompt.tolist() == [0, 0, 1] and "2 requests with a session" in said
    assert trace.column("end_s").tolist() == [1.5, 2.5, 3.5]
    zoned = "TIMESTAMP,ContextTokens,GeneratedTokens\n1970-01-01 00:00:01+00:00,4,5\n"
    trace, _ = load(bench, "azure", bench.file("a.csv", zoned))
    assert trace.column("start_s").tolist() == [1.0]
