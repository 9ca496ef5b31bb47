"""A session knows the RL step, keeps what happened, and never stops the engine."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_policy import DRAFT, VOCAB, FakeDrafter
from hypothesis import given, settings
from hypothesis import strategies as st
from little_traces import Rollout, write

from longtail.engine import session
from longtail.engine.session import BATCH, Session
from longtail.engine.settings import LiveSettings
from longtail.engine.step_log import read_step_log
from longtail.traces import TraceError, TraceMeta, open_trace

META = TraceMeta(origin="recorded", vocab_size=VOCAB, engine="e", engine_config={"seed": 1})
FORWARD = (0.0,) * 6 + (0,) * 10 + ([], [], [], [])


class Memory(FakeDrafter):
    """Forgets what it saw when it was warmed up."""

    history_steps = None  # type: ignore[assignment]

    def live(self) -> FakeDrafter:
        self.__init__()  # type: ignore[misc]
        return self


class Run:
    """A session at work; logs and records to `folder` where there is one."""

    def __init__(self, folder: Path | None = None, **more: Any) -> None:
        self.drafter, self.folder, self.warnings = Memory(), folder, []
        if folder:
            self.drafter = "none"  # a fake has no options that a log could name
            more |= {"log": folder / "log", "record": folder / "rec"}
        told, warn = LiveSettings(self.drafter, **more), self.warnings.append
        self.session = Session(told, vocab_size=VOCAB, meta=META, warn=warn)

    def begin(self, *names: str, **arguments: Any) -> None:
        given = {f"longtail_{key}": value for key, value in arguments.items()}
        for name in names:
            self.session.arrive(name, [1, 2], 9, given, {"temperature": 1.0})

    def end(self, *names: str, reason: str | None = "stop") -> None:
        for name in names:
            self.session.gained([name], [[5]], [0], [0])
            self.session.forward(FORWARD)
            self.session.leave(name, [5], reason)

    def rollout(self, name: str, **arguments: Any) -> None:
        self.begin(name, **arguments)
        self.end(name)

    def __getattr__(self, name: str) -> Any:
        return self.session.stats()[name]  # rl_step, faults

    def recorded(self) -> list[tuple[int, str, int]]:
        paths = sorted((self.folder / "rec").rglob("*.parquet"))
        rows = [row for p in paths for _, t in open_trace(p).groups() for row in t.to_pylist()]
        return [(row["rl_step"], row["prompt_id"], row["sample"]) for row in rows]

    def logged(self, kind: str = "requests") -> list[int]:
        return read_step_log(self.folder / "log", kind).iloc[:, 0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["stop", "length", "abort", None]), min_size=1)))
def test_untold_an_rl_step_is_what_is_there_together(waves: list[list[str | None]]) -> None:
    run, expected, learnt = Run(), 0, 0
    for wave in waves:
        run.begin("0")
        for number, reason in enumerate(wave):
            if number + 1 < len(wave):
                run.begin(str(number + 1))  # somebody is always there
            run.end(str(number), reason=reason)
            assert run.rl_step == expected
        learnt += sum(reason != "abort" for reason in wave)
        assert len(run.drafter.learnt) == learnt  # no aborted ones
        expected += any(reason != "abort" for reason in wave)
    assert run.faults == {}


def test_other_prompts_begin_an_rl_step_when_there_were_enough() -> None:
    run = Run()
    for number in range(2 * BATCH):
        run.session.arrive(str(number), [number], 9, {}, {})
        assert run.rl_step == number // BATCH
        run.end(str(number))


@pytest.mark.parametrize("by", ["argument", "signal"])
def test_who_tells_the_rl_step_tells_it_from_then_on(by: str) -> None:
    run = Run()
    for rl_step in (0, 3, 3, 4):
        if by == "signal":
            run.session.signal(rl_step)
        run.rollout("a", **({"rl_step": rl_step} if by == "argument" else {}))
        run.rollout("b")
        assert run.rl_step == rl_step and run.faults == {}
    assert run.drafter.steps[-2:] == [3, 4]
    run.rollout("late", rl_step=2)
    assert run.rl_step == 4 and run.faults == {}
    run.session.signal(2)
    assert run.rl_step == 4 and run.faults == {"step": 1}


@pytest.mark.parametrize("garbage", ["", "four", "1.5", "0x4", "9" * 5000, "\ud800"])
def test_a_file_tells_the_rl_step(
    tmp_path: Path, garbage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "POLL_S", -1.0)
    path = tmp_path / "step"

    def tell(content: str, at: int) -> None:
        path.write_bytes(content.encode(errors="surrogatepass"))
        os.utime(path, ns=(at, at))  # a file system's clock may be coarse
        run.session.poll()
        run.session.poll()

    run = Run(rl_step_file=path)
    run.session.poll()
    run.rollout("a")
    run.rollout("b")
    assert run.rl_step == 0 and run.faults == {}  # not written yet
    for at, (content, expected) in enumerate([("3\n", 3), (" 3", 3), ("5", 5), ("4", 5), ("6", 6)]):
        tell(content, at)
        assert run.rl_step == expected and run.faults == {}
    tell(garbage, 10)
    assert run.rl_step == 6 and set(run.faults) == {"rl_step_file"}
    assert len(run.warnings) == 1 and str(path) in run.warnings[0]
    tell("8", 11)
    assert run.rl_step == 8


def test_what_the_file_says_between_rl_steps_holds_from_the_first_request_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "step"
    run = Run(rl_step_file=path)
    for rl_step in range(1, 4):
        path.write_text(str(rl_step))
        os.utime(path, ns=(rl_step, rl_step))
        run.rollout("a")
        assert run.rl_step == rl_step


WRONG = [
    ("rl_step", "3"), ("rl_step", 3.0), ("rl_step", None), ("sample", "0"), ("budget", [1]),
    ("budget", 2.5), ("cap", "9"), ("prompt_id", 1.5), ("prompt_id", None), ("coupled", "yes"),
    ("replay", "1,2"), ("replay", 5), ("stepp", 1), ("", 1),
    *((name, value) for name in ("rl_step", "sample", "budget") for value in (True, -1, 2**31)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_argument_that_is_none_of_ours_is_a_fault_and_no_more(name: str, value: Any) -> None:
    run = Run()
    run.rollout("a", **{name: value})
    run.rollout("b")
    assert run.faults == {"argument": 1} and f"longtail_{name}={value!r}" in run.warnings[0]
    assert run.rl_step == 1 and len(run.drafter.learnt) == 2


@pytest.mark.parametrize(
    ("arguments", "size"),
    [({}, 3), ({"budget": 1}, 1), ({"budget": 0}, 0), ({"cap": 3}, 1), ({"cap": 1}, 0)],
)
def test_arguments_reach_the_policy(arguments: dict[str, int], size: int) -> None:
    run = Run()
    run.begin("a", prompt_id="p", coupled=True, replay=[5], **arguments)
    run.session.arrive("b", [1, 2], 9, {"other": object(), "kv_transfer_params": {}}, {})
    run.session.policy.propose([], 1, 0, 0)
    run.session.gained(["a"], [[5]], [0], [0])
    assert run.session.policy.propose(["a"], 0, 0, 2) == [DRAFT[:size]]
    assert run.faults == {}


TEXTS = [Rollout(step, 0, [1, 2], [token]) for token, step in enumerate((0, 1, 1, 2, 0), start=1)]
EARLIER, LATE = (
    [TEXTS[:2], TEXTS[2:4]],
    [TEXTS[4:]],
)  # a rollout that ended late stands in a later part
HISTORIES = [
    ([TEXTS[:4]], [1, 2, 3, 4]),
    (EARLIER, [1, 2, 3, 4]),
    (EARLIER + LATE, [1, 5, 2, 3, 4]),
]


@pytest.mark.parametrize(("parts", "learnt"), HISTORIES)
def test_history_is_learnt_and_the_run_goes_on_after_it(
    tmp_path: Path, parts: list[list[Rollout]], learnt: list[int]
) -> None:
    paths = [write(tmp_path / f"part-{i}.parquet", part) for i, part in enumerate(parts)]
    (tmp_path / ".part-9.parquet.0123.tmp").write_bytes(b"half")
    run = Run(history=tmp_path if len(parts) > 1 else paths[0])
    assert [tokens for _, tokens in run.drafter.learnt] == [[token] for token in learnt]
    assert run.drafter.steps == sorted(run.drafter.steps)
    run.begin("a")
    assert run.rl_step == run.drafter.steps[-1] == 3 and run.faults == {}


EMPTY = Path.mkdir


@pytest.mark.parametrize("make", [str, lambda path: path.write_bytes(b"PAR1"), EMPTY])
def test_a_history_that_is_none_is_refused_at_once(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "history")
    with pytest.raises(TraceError, match=str(tmp_path / "history")):
        Run(history=tmp_path / "history")


actions = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from("pq"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["stop", "abort"]), st.integers(0, 9), st.none()),
    st.tuples(st.sampled_from(["next", "flush"]), st.none(), st.none()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(actions, max_size=25))
def test_every_rollout_is_kept_once_under_a_key_of_its_own(told: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run, begun, kept = Run(Path(name)), [], []
        for number, (action, what, sample) in enumerate(told + [("stop", 0, None)] * len(told)):
            if action == "begin":
                run.begin(
                    str(number), prompt_id=what, **({} if sample is None else {"sample": sample})
                )
                begun.append((run.rl_step, what, str(number)))
            elif action == "next":
                run.session.signal(run.rl_step + 1)
            elif action == "flush":
                run.session.flush()
            elif begun:
                *key, request = begun.pop(what % len(begun))
                run.end(request, reason=action)
                kept.append(tuple(key))
        run.session.close()
        keys = run.recorded()
        assert [key[:2] for key in keys] == kept and len({*keys}) == len(keys)
        if kept:
            assert run.logged("forwards") == [*range(len(kept))] and len(run.logged()) == len(kept)
        assert run.faults == {} and run.running == 0


def test_a_log_that_fails_stops_nothing() -> None:
    def fail(*args: Any) -> None:
        raise MemoryError("no room")

    run = Run()
    run.session.log = SimpleNamespace(forward=fail, flush=fail, request=print)  # type: ignore
    run.session.recorder = SimpleNamespace(add=fail, write=fail)  # type: ignore
    for name in "abc":
        run.rollout(name)
    run.session.flush()
    assert run.forwards == 3 and set(run.faults) == {"record", "log"}
    assert len(run.drafter.learnt) == 3 and len(run.warnings) == 2


def test_stats_are_plain() -> None:
    run = Run()
    run.rollout("a", rl_step=2)
    run.begin("b", "c", budget="x")
    told = {"rl_step": 2, "forwards": 1, "running": 2, "finished": 1}
    told["faults"] = {"argument": 2}
    assert json.loads(json.dumps(run.session.stats())) == run.session.stats() == told
    assert [run.session.number(name) for name in "abc"] == [-1, 1, 2]
    assert [run.session.knows(name) for name in "abc"] == [False, True, True]


PROGRAM = """import pathlib, sys, test_session
run = test_session.Run(pathlib.Path(sys.argv[1]))
run.rollout("a", prompt_id="p")
raise SystemExit(3)"""


@pytest.mark.parametrize("ending", ["close", "flush", "forgotten", "the program's"])
def test_everything_is_written_at_the_end(tmp_path: Path, ending: str) -> None:
    run = Run(tmp_path / ending)
    run.rollout("a", prompt_id="p")
    assert not run.recorded() and not [*(run.folder / "log").rglob("*.parquet")]
    if ending in ("close", "flush"):
        getattr(run.session, ending)()
    elif ending == "forgotten":
        del run.session
        gc.collect()
    else:
        run.folder = tmp_path / "other"
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        child = [sys.executable, "-c", PROGRAM, str(run.folder)]
        assert subprocess.run(child, env={**os.environ, "PYTHONPATH": path}).returncode == 3
    assert run.recorded() == [(0, "p", 0)] and run.logged() == run.logged("forwards") == [0]
    about = read_step_log(run.folder / "log").attrs["run"]
    assert about["policy"]["drafter"] == "none" and about["engine"] == "e" and about["seed"] == 1
