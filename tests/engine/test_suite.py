"""Policies by name, engine arguments, and the suites' jobs: what is measured, in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.engine.job import Job, Replay
from longtail.engine.policies import METHODS, parse_engine, parse_policy
from longtail.engine.settings import LiveSettings
from longtail.engine.suite import POLICIES, SUITES, Suite, suite_jobs
from longtail.policies.components import BUDGETS, DRAFTERS
from longtail.policies.latency.shapes import SHAPES
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError, TraceMeta, TraceWriter, open_trace
from longtail.traces.check import check_trace

Key = tuple[int, str, int]  # RL step, prompt, sample


def write(path: Path, keys: dict[Key, int] | Sequence[Key]) -> Path:
    """A trace of rollouts of the given lengths, in that order."""
    sizes = keys if isinstance(keys, dict) else dict.fromkeys(keys, 2)
    path.parent.mkdir(exist_ok=True)
    with TraceWriter(path, TraceMeta(origin="recorded")) as writer:
        writer.write(
            [
                {
                    "rl_step": rl_step,
                    "prompt_id": prompt,
                    "sample": sample,
                    "prompt_tokens": [ord(prompt)],
                    "output_tokens": [5] * size,
                    "prompt_len": 1,
                    "output_len": size,
                }
                for (rl_step, prompt, sample), size in sizes.items()
            ]
        )
    return path


def keys_of(path: str | Path) -> list[Key]:
    trace = open_trace(path)
    found = trace.lengths()
    names = [trace.prompt_ids[p] for p in found.prompt]
    return list(zip(found.rl_step.tolist(), names, found.sample.tolist(), strict=True))


def replayed(job: Job) -> Replay:
    assert isinstance(job.work, Replay)
    return job.work


# Policies by name


@settings(deadline=None, max_examples=30)
@given(
    drafter=st.sampled_from([n for n, d in DRAFTERS.classes.items() if d.in_engine]), data=st.data()
)
def test_a_policy_of_ours_is_its_drafter_and_its_budget(drafter: str, data: st.DataObject) -> None:
    budget = data.draw(st.sampled_from(["", *(n for n in BUDGETS.classes if n != "threshold")]))
    named = parse_policy(f"{drafter}/{budget}" if budget else drafter, "h100-7b")
    made = LiveSettings(drafter, budget or "unlimited")
    assert LiveSettings.of(named.policy) == made and named.engine == {}
    assert named.policy == made.to_dict()


def test_a_policys_options_and_latency_are_kept() -> None:
    named = parse_policy("suffix:scope=both,window=3/fixed:k=4", "linear:base=0.01,token=0.5")
    told = LiveSettings.of(named.policy)
    assert (told.drafter.scope, told.drafter.window, told.budget.k) == ("both", 3, 4)
    assert (told.latency.base, told.latency.token) == (0.01, 0.5)
    assert named.name == "suffix_scope=both_window=3_fixed_k=4"


def test_a_policy_file_says_what_the_words_say(tmp_path: Path) -> None:
    for name in ("p.yaml", "p.yml"):
        file = tmp_path / name
        file.write_text("drafter: suffix:scope=both\nbudget: fixed:k=4\nlongest_draft: 3\n")
        named = parse_policy(str(file))
        assert named.policy == LiveSettings.read(file).to_dict() and named.engine == {}
        assert named.policy["longest_draft"] == 3 and "/" not in named.name


def test_methods_of_vllms_take_its_options() -> None:
    plain = parse_policy("vllm:ngram")
    assert plain.policy == {} and plain.name == "vllm_ngram"
    assert plain.engine == {"speculative_config": {"method": "ngram", **METHODS["ngram"]}}
    told = parse_policy("vllm:suffix:num_speculative_tokens=3,suffix-decoding-max-spec-factor=2.5")
    config = told.engine["speculative_config"]
    assert config["num_speculative_tokens"] == 3 and config["method"] == "suffix"
    assert config["suffix_decoding_max_spec_factor"] == 2.5
    assert config["suffix_decoding_max_tree_depth"] == 24  # the rest stays
    assert METHODS["suffix"]["num_speculative_tokens"] == 16


BAD = {
    "sufix/das": "unknown drafter 'sufix' .did you mean 'suffix'",
    "suffix/dass": "unknown budget 'dass' .did you mean 'das'",
    "suffix:scop=own": "no option 'scop' .did you mean 'scope'",
    "suffix/fixed:k": "write options as key=value, got 'k'",
    "": "unknown drafter ''",
    "vllm:ngrm": "unknown policy 'vllm:ngrm'; .*vllm:ngram, vllm:suffix",
    "vllm:": "unknown policy 'vllm:'; .*vllm:ngram",
    "vllm:ngram:8": "'vllm:ngram:8': write options as name=value, got '8'",
    "absent.yaml": r"absent\.yaml: cannot be read",
}


@pytest.mark.parametrize("text", BAD)
def test_a_policy_that_is_none_is_refused_with_the_nearest(text: str) -> None:
    with pytest.raises((ComponentError, TraceError), match=BAD[text]):
        parse_policy(text)


def test_a_policy_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    for text, problem in {
        "drafer: suffix": ", row 1: unknown key 'drafer'; did you mean 'drafter'",
        "drafter: sufix": ", row 1: unknown drafter 'sufix' .did you mean 'suffix'",
        "longest_draft: 1000": ": longest_draft must be",
        "- suffix": ": not a YAML mapping",
    }.items():
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises((ComponentError, TraceError), match=rf"p\.yaml{problem}"):
            parse_policy(str(tmp_path / "p.yaml"))


# Engine arguments


def test_engine_arguments_are_yaml() -> None:
    words = ("max-num-seqs=64", "a=0.5", "b=true", "c= x", "d=[1, 2]", "e={f: 1}", "g=a=b", "h=")
    values = [64, 0.5, True, "x", [1, 2], {"f": 1}, "a=b", None]
    assert parse_engine(words) == dict(zip(["max_num_seqs", *"abcdegh"], values, strict=True))


@pytest.mark.parametrize("text", ["max_num_seqs", "=3", " =3", "", "a=[1", "a={"])
def test_engine_arguments_that_are_none(text: str) -> None:
    with pytest.raises(ComponentError, match=r"write options as name=value|is no value"):
        parse_engine((text,))


# Suites


def test_the_gpu_suite_is_what_it_is_meant_to_be() -> None:
    """No speculation, ours and vLLM's own, small and large batches, on real configurations."""
    suite = SUITES["gpu"]
    named = [parse_policy(text) for text in suite.policies]
    assert suite.policies[0] == "none"
    methods = [p.engine["speculative_config"]["method"] for p in named if p.engine]
    assert sorted(methods) == sorted(METHODS)
    assert {p.policy["budget"].partition(":")[0] for p in named if p.policy} >= {"fixed", "das"}
    assert set(suite.models) <= set(SHAPES) and len(suite.models) > 1
    assert len(set(suite.batches)) == len(suite.batches) and suite.repeats > 1
    assert {1, suite.engine["max_num_seqs"]} <= set(suite.batches)
    assert set(POLICIES[:-1]) < set(SUITES["cpu"].policies)


@pytest.mark.parametrize("name", SUITES)
def test_every_combination_is_a_job_of_its_own(name: str, tmp_path: Path) -> None:
    suite = SUITES[name]
    count = max(suite.batches)
    paths = [
        write(tmp_path / f"{t}.parquet", [(s, "p", i) for s in range(2) for i in range(count)])
        for t in ("T", "U")
    ]
    jobs = suite_jobs(suite, paths, tmp_path)
    told = {
        (j.model, replayed(j).trace, str(j.policy), str(j.engine.get("speculative_config")))
        for j in jobs
    }
    combinations = len(suite.models) * len(suite.batches) * len(paths) * len(suite.policies)
    assert len(told) == combinations and len(jobs) == combinations * suite.repeats
    assert len({j.name for j in jobs}) == len(jobs)
    assert all("/" not in j.name and not j.name.startswith(".") for j in jobs)
    for job in jobs:
        assert job.engine.items() >= suite.engine.items() and replayed(job).rl_steps == [1]
    order = [
        f"{model}-{trace}-{batch}-{parse_policy(policy).name}-{repeat}"
        for repeat, model, batch, trace, policy in product(
            range(suite.repeats), suite.models, suite.batches, ("T", "U"), suite.policies
        )
    ]
    assert [j.name for j in jobs] == order
    assert suite_jobs(suite, paths, tmp_path) == jobs  # to resume


TOY = Suite(("dummy",), (3, 1, 9), ("none",), longest=4, repeats=1, engine={})


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.dictionaries(
        st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 3)),
        st.integers(1, 6),
        min_size=1,
        max_size=30,
    )
)
def test_a_batch_is_the_last_step_that_has_it_and_its_prompts_history(
    sizes: dict[Key, int],
) -> None:
    short = {key for key, size in sizes.items() if size <= TOY.longest}
    last = {
        batch: max(
            (s for s in range(4) if sum(key[0] == s for key in short) >= batch), default=None
        )
        for batch in TOY.batches
    }
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name) / "T.parquet", sizes)
        if last[1] is None:
            with pytest.raises(TraceError, match="enough rollouts; give traces with 1 rollouts"):
                suite_jobs(TOY, [path], Path(name))
            return
        jobs = suite_jobs(TOY, [path], Path(name))
        found = {int(job.name.split("-")[2]): replayed(job) for job in jobs}
        assert list(found) == [batch for batch in TOY.batches if last[batch] is not None]
        for batch, work in found.items():
            check_trace(work.trace)
            keys, step = keys_of(work.trace), last[batch]
            assert work.rl_steps == [step]
            chosen = {key for key in keys if key[0] == step}
            assert len(chosen) == batch and chosen <= short
            prompts = {key[1] for key in chosen}
            earlier = {key for key in short if key[0] < step and key[1] in prompts}
            assert set(keys) - chosen == earlier


def test_a_batch_has_as_many_prompts_as_can_be(tmp_path: Path) -> None:
    keys = [(0, prompt, sample) for prompt in "abcd" for sample in range(4)]
    (job,) = suite_jobs(replace(TOY, batches=(4,)), [write(tmp_path / "T", keys)], tmp_path)
    assert {key[1] for key in keys_of(replayed(job).trace)} == set("abcd")


# What is wrong


def test_so_it_has_where_samples_are_missing(tmp_path: Path) -> None:
    sizes = {(0, "a", 0): 2, (0, "a", 1): 2, (0, "b", 0): 99, (0, "b", 1): 2, (0, "b", 2): 2}
    (job,) = suite_jobs(replace(TOY, batches=(2,)), [write(tmp_path / "T", sizes)], tmp_path)
    assert {key[1] for key in keys_of(replayed(job).trace)} == {"a", "b"}


def test_traces_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    paths = [write(tmp_path / p / "T.parquet", [(0, p, 0)]) for p in "ab"]
    jobs = suite_jobs(replace(TOY, batches=(1,)), paths, tmp_path / "out")
    assert [keys_of(replayed(job).trace) for job in jobs] == [[(0, p, 0)] for p in "ab"]


@pytest.mark.parametrize("what", ["trace", "longest"])
def test_a_batch_that_is_there_is_not_taken_for_another(tmp_path: Path, what: str) -> None:
    suite, path = replace(TOY, batches=(1,)), tmp_path / "T.parquet"
    suite_jobs(suite, [write(path, {(0, "a", 0): 2, (1, "a", 0): 9})], tmp_path)
    if what == "trace":
        write(path, {(0, "b", 0): 2})
    else:
        suite = replace(suite, longest=9)
    (job,) = suite_jobs(suite, [path], tmp_path)
    assert {key[0] for key in keys_of(replayed(job).trace)} >= set(replayed(job).rl_steps or [])
    assert {key[1] for key in keys_of(replayed(job).trace)} <= set(open_trace(path).prompt_ids)


def test_nothing_is_written_where_nothing_can_be_measured(tmp_path: Path) -> None:
    path = write(tmp_path / "T.parquet", {(0, "a", 0): 99})
    with pytest.raises(TraceError, match=r"T\.parquet: no trace has enough rollouts"):
        suite_jobs(TOY, [path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lengths_only_trace_cannot_be_replayed(tmp_path: Path) -> None:
    row: dict[str, Any] = {"rl_step": 0, "prompt_id": "p", "prompt_len": 1, "output_len": 1}
    with TraceWriter(tmp_path / "T.parquet", TraceMeta(origin="imported")) as writer:
        writer.write([row | {"sample": i} for i in range(3)])
    with pytest.raises(TraceError, match="lengths-only"):
        suite_jobs(TOY, [tmp_path / "T.parquet"], tmp_path / "out")


def test_a_suite_goes_on_from_wherever_its_folder_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "T.parquet", [(0, "a", 0)])
    monkeypatch.chdir(tmp_path)
    first = suite_jobs(TOY, [path], Path("out"))
    assert suite_jobs(TOY, [path], tmp_path / "out") == first


@pytest.mark.parametrize("policy", ["vllm:ngram", "p.yaml"])
def test_a_latency_that_nobody_would_be_told_is_refused(policy: str) -> None:
    with pytest.raises(ComponentError, match="--latency is not for"):
        parse_policy(policy, "h100-7b")
