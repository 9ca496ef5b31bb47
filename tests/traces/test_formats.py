"""Dumps of trainers and servers become traces, and what they cannot tell is said."""

from __future__ import annotations

import os
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import dumps
import pytest
from dumps import END, PROMPTS, ids, lines, words
from loading import LENGTHS_ONLY, little_dump, load, outputs, prompts

from longtail.traces import TraceError
from longtail.traces.check import check_trace
from longtail.traces.formats import FORMATS
from longtail.traces.formats.importing import import_dump
from longtail.traces.import_commands import import_
from longtail.traces.schema import LENGTH, STOP, UNKNOWN

ROLLOUTS = list(dumps.rollouts())
WITH_TOKENS = [name for name in FORMATS if name not in LENGTHS_ONLY]


# Which samples lack the end token, and how samples 0 and 1 ended, by format.
ENDS = {
    "verl": ((), UNKNOWN, UNKNOWN),
    "trl": ((), UNKNOWN, UNKNOWN),
    "roll": ((), UNKNOWN, UNKNOWN),
    "prime-rl": ((), STOP, STOP),
    "slime": ((1,), STOP, LENGTH),
    "nemo-rl": ((1,), STOP, LENGTH),
    "areal": ((1,), STOP, LENGTH),
    "openai": ((1,), STOP, LENGTH),
}


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_every_rollout_arrives(name: str, bench: Any) -> None:
    trace, _ = load(bench, name, little_dump(bench, name))
    cut, first, second = ENDS[name]
    assert trace.meta.origin == "imported"
    assert prompts(trace) == [ids(PROMPTS[prompt]) for _, prompt, _, _ in ROLLOUTS]
    assert outputs(trace) == [
        output if sample in cut else [*output, END] for *_, sample, output in ROLLOUTS
    ]
    lengths = trace.lengths()
    assert lengths.finish.tolist() == [second if sample else first for *_, sample, _ in ROLLOUTS]
    assert lengths.prompt.tolist() == [prompt for _, prompt, _, _ in ROLLOUTS]
    if name == "openai":
        assert set(lengths.rl_step) == {0}
        assert lengths.sample.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
        assert (trace.meta.model, trace.meta.sampling) == ("m", {"temperature": 0.7})
        return
    assert lengths.rl_step.tolist() == [step for step, *_ in ROLLOUTS]
    assert lengths.sample.tolist() == [sample for *_, sample, _ in ROLLOUTS]
    weight = 0.5 if name == "prime-rl" else 1.0
    assert lengths.reward.tolist() == [weight * sample for *_, sample, _ in ROLLOUTS]


@pytest.mark.parametrize("name", LENGTHS_ONLY)
def test_every_request_arrives(name: str, bench: Any) -> None:
    trace, said = load(bench, name, little_dump(bench, name))
    lengths = trace.lengths()
    assert not trace.has_tokens and trace.meta.origin == "imported"
    expected = [len(output) for *_, output in ROLLOUTS]
    if name == "vllm-bench":
        expected = [n + 1 for n in expected[:-1]]
        assert "1 requests failed and are left out" in said
        spans = trace.column("end_s") - trace.column("start_s")
        assert spans.tolist() == [0.5 + 0.25 * (n - 1) for n in expected]
    if name == "burstgpt":
        assert "1 rows without output were dropped" in said
    assert lengths.output_len.tolist() == expected
    seconds = trace.column("start_s")
    apart = 5.0 if name == "burstgpt" else 1.0
    assert (seconds[1:] - seconds[:-1]).tolist() == pytest.approx([apart] * (len(expected) - 1))
    groups = 2 if name == "mooncake" else len(expected)
    assert len(trace.prompt_ids) == groups
    assert "starts all its requests at once" in said and "lengths only" in said


@pytest.mark.parametrize("name", FORMATS)
def test_auto_takes_the_format_and_gives_the_same_trace(name: str, bench: Any) -> None:
    folder = little_dump(bench, name)
    load(bench, name, folder)
    named = bench.output.read_bytes()
    _, said = load(bench, "auto", folder)
    assert bench.output.read_bytes() == named
    assert said.startswith(f"{name}: ")


def test_token_ids_need_no_tokenizer(bench: Any) -> None:
    folder = little_dump(bench, "nemo-rl")
    trace, said = load(bench, "nemo-rl", folder, tokenizer=False)
    assert trace.lengths().finish.tolist() == [UNKNOWN] * 8
    assert "the end token is not known" in said and "8 outputs do not say" in said
    trace, said = load(bench, "nemo-rl", folder, "--end-token", END, tokenizer=False)
    assert trace.lengths().finish.tolist() == [STOP, LENGTH] * 4
    assert "4 outputs do not end in the end token and are taken as cut" in said


def test_text_says_what_it_does_not_know(bench: Any) -> None:
    folder = little_dump(bench, "verl")
    assert "without a tokenizer" in bench.refused("import", "verl", folder)
    trace, said = load(bench, "verl", folder)
    for fact in (
        "appended to 8 outputs",
        "8 outputs are text without token ids",
        "no prompt ids are recorded",
        "8 outputs do not say how they ended",
    ):
        assert fact in said
        assert any(fact in note for note in trace.meta.notes)
    assert load(bench, "verl", folder, "--cap", 3)[0].lengths().finish.tolist() == [STOP] * 3 + [
        LENGTH
    ] + [STOP] * 3 + [LENGTH]


def test_verl_takes_the_step_of_the_file_and_any_reward(bench: Any) -> None:
    row = {"input": "w1", "output": "w2", "score": 0.0, "acc": 1}
    for step in (9, 10):
        bench.file(f"{step}.jsonl", [row, row])
    trace, said = load(bench, "verl", bench.folder, "--map", "reward=acc")
    assert trace.lengths().rl_step.tolist() == [9, 9, 10, 10]
    assert trace.lengths().reward.tolist() == [1.0] * 4
    assert "no RL step" not in said
    _, said = load(bench, "verl", bench.file("all.jsonl", [row]))
    assert "no RL step is recorded: all 1 rollouts are RL step 0" in said


def test_evaluations_are_told_by_their_place_in_the_folder(bench: Any) -> None:
    row = {"input": "w1", "output": "w2", "score": 0.0}
    dump = bench.folder / "eval" / "run"  # where the dump lies says nothing
    for name in ("rollout", "val", "validation_data"):
        (dump / name).mkdir(parents=True)
        (dump / name / "1.jsonl").write_bytes(lines([row]))
    trace, said = load(bench, "auto", dump)
    assert trace.n_rollouts == 1 and "2 files of evaluations" in said
    assert load(bench, "verl", dump / "val")[0].n_rollouts == 1  # who asks for it gets it
    assert load(bench, "prime-rl", dumps.prime_rl(bench.folder / "eval"))[0].n_rollouts == 8


def test_the_innermost_folder_tells_the_rl_step(bench: Any) -> None:
    folder = bench.folder / "step_9"
    folder.mkdir()
    trace, _ = load(bench, "prime-rl", dumps.prime_rl(folder))
    assert trace.rl_steps == [1, 2]


def test_recorded_lengths_are_held_against_the_tokens(bench: Any) -> None:
    row = {"task_id": 0, "prompt": "w1 w2", "completion": "w3<|endoftext|>", "prompt_len": 2}
    good, more = row | {"seqlen": 4}, row | {"seqlen": 9, "task_id": 1}
    _, said = load(bench, "areal", bench.file("a.jsonl", [good]))
    assert "another number" not in said
    _, said = load(bench, "areal", bench.file("a.jsonl", [good, more]))
    assert "1 of 2 outputs have another number of tokens than was recorded (4 instead of 9" in said
    choice = {"message": {"content": "w3"}, "finish_reason": "stop", "token_ids": [3, END]}
    response = {"choices": [choice], "usage": {"completion_tokens": 3}}
    source = bench.file("b.jsonl", [{"request": {"prompt": "w1"}, "response": response}])
    bench.output.unlink()
    message = bench.refused("import", "openai", source, "--tokenizer", bench.tokenizer)
    assert "row 1: 2 token ids in the output, recorded as 3" in message


def test_a_dump_without_rows_is_said_to_be_one(bench: Any) -> None:
    source = bench.file("1.jsonl", [])
    message = bench.refused("import", "verl", source, "--tokenizer", bench.tokenizer)
    assert "1.jsonl: no rows" in message and "loosen" not in message


def test_a_dump_from_a_pipe(bench: Any) -> None:
    raw = (little_dump(bench, "verl") / "1.jsonl").read_bytes()
    named = bench.folder / "pipe"
    os.mkfifo(named)
    for source in ("-", named):
        if source == named:
            threading.Thread(target=named.write_bytes, args=(raw,), daemon=True).start()
        args = ("import", "verl", source, "--tokenizer", bench.tokenizer, "-o", bench.output)
        bench.done(bench.run(*args, stdin=raw))
        assert check_trace(bench.output).n_rollouts == 4
        bench.output.unlink()
        assert "cannot be read twice" in bench.refused("import", "auto", source, stdin=raw)


def test_auto_refuses_what_is_unknown_mixed_or_unclear(bench: Any) -> None:
    def refusal(*paths: Path) -> str:
        return bench.refused("import", "auto", *paths, "--tokenizer", bench.tokenizer)

    unknown = bench.file("x.jsonl", [{"question": "w1", "reply": "w2"}])
    message = refusal(unknown)
    assert "has a record of question, reply; " in message and "verl: input+output+score" in message
    both = {"input": "w1", "output": "w2", "score": 1.0, "messages": []}
    message = refusal(bench.file("y.jsonl", [both]))
    assert "fit verl (input, output, score) and openai (messages); name the format" in message
    folder = little_dump(bench, "verl")
    message = refusal(folder, dumps.azure(bench.out.parent) / "code.csv")
    assert "this is azure" in message and "before verl" in message
    dumps.roll(folder)
    assert "it holds verl (" in refusal(folder) and "and roll (" in refusal(folder)
    (bench.folder / "empty").mkdir()
    assert "no file in it can be a dump" in refusal(bench.folder / "empty")


def test_a_dump_of_another_format_is_refused(bench: Any) -> None:
    folder = little_dump(bench, "verl")
    args = ("--tokenizer", bench.tokenizer)
    message = bench.refused("import", "areal", folder / "1.jsonl", *args)
    assert "row 1: not a areal record: it has input, output" in message and "lacks" in message
    assert "no files of a roll dump" in bench.refused("import", "roll", folder, *args)
    message = bench.refused("import", "trl", folder / "1.jsonl", *args)
    assert "a parquet file is wanted, this is text" in message
    with pytest.raises(TraceError, match="holds lengths only"):
        import_dump(FORMATS["azure"], [folder / "1.jsonl"], bench.output, tokenizer=bench.tokenizer)


def test_the_output_is_no_source(bench: Any) -> None:
    rows = lines([{"input": "w1", "output": words([2]), "score": 1.0, "step": 1}])
    bench.output.write_bytes(rows)
    args = ("--tokenizer", bench.tokenizer, "-o", bench.output)
    result = bench.run("import", "verl", bench.output, *args)
    assert "the output is one of the sources" in str(result.exception)
    assert bench.output.read_bytes() == rows


COMMAND = re.compile(r"^    longtail trace import (\S+) (.+)$", re.MULTILINE)


@pytest.mark.parametrize("name", [*FORMATS, "auto"])
def test_the_guide_has_a_command_for_every_format(name: str) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    command = dict(COMMAND.findall(guide))[name]
    parsed = import_.commands[name].make_context(name, shlex.split(command))
    assert parsed.params["output"] == "T.parquet" and parsed.params["paths"]
