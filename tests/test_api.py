"""The package's functions are its commands: the same results from the same options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import longtail
from longtail.cli import cli
from longtail.policies.registry import ComponentError
from longtail.sim.limits import Limits
from longtail.sim.workload import Workload
from longtail.traces import TraceError


def command(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def without_clock(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "wall_s"}


@pytest.fixture(scope="module")
def load() -> Workload:
    """The bundled sample's first two RL steps; profiles are shared by the tests."""
    return longtail.read_workload("sample", rl_steps=[0, 1])


def test_simulate(load: Workload) -> None:
    words = "--drafter ngram --budget fixed:k=4 --max-num-seqs 64 --rl-steps 1 --json"
    told = json.loads(command("simulate", "sample", *words.split()))
    options: dict[str, Any] = {"drafter": "ngram", "budget": "fixed:k=4", "rl_steps": [1]}
    for limits in ({"max_num_seqs": 64}, {"limits": Limits(max_num_seqs=64)}):
        for trace in ("sample", longtail.read_trace("sample"), load):
            result = longtail.simulate(trace, **options, **limits)
            assert without_clock(result.to_json()) == without_clock(told)


def test_sweep(load: Workload, tmp_path: Path) -> None:
    words = ("--drafter", "none", "--drafter", "ngram", "--budget", "fixed:k=2+4")
    command("sweep", "sample", *words, "--rl-steps", 1, "-o", tmp_path / "s.csv")
    table = longtail.sweep(
        load, drafter=["none", "ngram"], budget="fixed:k=2+4", max_num_seqs=None, rl_steps=[1]
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    written, ours = (pd.read_csv(tmp_path / name) for name in ("s.csv", "t.csv"))
    pd.testing.assert_frame_equal(ours, written)


def test_advise(load: Workload) -> None:
    words = "--engine vllm --drafter ngram --budget fixed:k=2 --rl-steps 1 --max-num-seqs 256"
    told = json.loads(command("advise", "sample", *words.split(), "--json"))
    advice = longtail.advise(
        load, engine="vllm", drafters=["ngram"], budgets=["fixed:k=2"], rl_steps=[1],
        max_num_seqs=256,
    )  # fmt: skip
    assert advice.to_json() == told
    assert repr(advice) == told["recommendation"]["words"]


def test_drafters(load: Workload, tmp_path: Path) -> None:
    words = ("--drafter", "ngram", "--rl-steps", 1, "--max-num-seqs", 64)
    command("drafters", "sample", *words, "-o", tmp_path)
    (row,) = longtail.drafters(load, ["ngram"], rl_steps=[1], max_num_seqs=64).rows
    written = pd.read_csv(tmp_path / "drafters.csv")
    assert list(written.makespan_s) == [pytest.approx(row.makespan_s)]


def test_what_cannot_be_is_refused_as_by_the_commands(load: Workload) -> None:
    with pytest.raises(TraceError, match="no such file"):
        longtail.simulate("nowhere.parquet")
    with pytest.raises(ComponentError, match="did you mean 'suffix'"):
        longtail.simulate(load, drafter="sufix")
    with pytest.raises(ComponentError, match="did you mean 'drafter'"):
        longtail.simulate(load, drafer="suffix")
    with pytest.raises(TraceError, match="has its cap already"):
        longtail.sweep(load, cap=10)


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, longtail; assert all(callable(getattr(longtail, n)) for n in longtail.__all__)"
        "; print(sorted({'click', 'numba', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["drafters", "budgets"])
def test_names_that_are_none_say_which_was_meant(load: Workload, name: str) -> None:
    for run in (longtail.simulate, longtail.sweep):
        with pytest.raises(ComponentError, match=f"no option '{name}' .did you mean '{name[:-1]}'"):
            run(load, **{name: "suffix"})


def test_advise_and_drafters_say_so_too(load: Workload) -> None:
    with pytest.raises(ComponentError, match="did you mean 'budgets'"):
        longtail.advise(load, budget=["das"])
    with pytest.raises(ComponentError, match="did you mean 'latency'"):
        longtail.drafters(load, latncy="h100-7b")
    with pytest.raises(ComponentError, match="no engine 'vlm'"):
        longtail.advise(load, engine="vlm")
