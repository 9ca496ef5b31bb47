"""Pictures: axes with units, one line per policy, the same bytes twice; and their curves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from longtail.analysis import figures
from longtail.analysis.demo import compare
from longtail.analysis.plots import draw_all, draw_sweep
from longtail.analysis.sweep_figure import makespan_by_budget
from longtail.sim.grid import Grid
from longtail.sim.sweep import sweep
from longtail.sim.workload import Workload
from longtail.traces import open_trace
from longtail.traces.synth import Recipe, synthesize

POLICIES = ("none", "suffix:scope=own/fixed:k=2", "suffix/das")


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    path = tmp_path_factory.mktemp("figures") / "t.parquet"
    synthesize(path, Recipe(rl_steps=2, prompts=3, samples=4, seed=2))
    return Workload.from_trace(open_trace(path))


@pytest.fixture(scope="module")
def results(workload: Workload) -> figures.Results:
    return compare(workload, POLICIES)


def test_every_axis_has_a_name(results: figures.Results, workload: Workload) -> None:
    drawn = [
        figures.active_requests(results, "c"),
        figures.makespan_by_step(results, "c"),
        figures.acceptance(results, "c"),
        figures.survival(workload.lengths, "c"),
        figures.wasted(results, "c"),
    ]
    for figure in drawn:
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert figure.get_suptitle()


def test_one_line_per_policy(results: figures.Results) -> None:
    axes = figures.makespan_by_step(results, "c").axes[0]
    labels = [line.get_label() for line in axes.lines]
    assert len(labels) == len(POLICIES) + 1  # and the bound
    assert all(any(str(label).startswith(p) for label in labels) for p in POLICIES)


def test_active_curve_ends_at_the_makespan_with_nobody_left(results: figures.Results) -> None:
    step = results["none"].steps[0]
    seconds, running = figures.active_curve(step)
    assert running[0] == step.requests and running[-1] == 0
    assert seconds[-1] == step.makespan_s
    assert (np.diff(running) < 0).all()


def test_survival_by_hand() -> None:
    x, share = figures.survival_curve(np.array([2, 5, 5, 9]))
    assert x.tolist() == [2, 5, 9] and share.tolist() == [1.0, 0.75, 0.25]


def test_positions_account_for_every_decode_forward(results: figures.Results) -> None:
    for label, result in results.items():
        for step in result.steps:
            decodes = int(step.request_forwards.sum()) - step.requests
            if label != "none":  # without drafts nothing is recorded by position
                assert step.positions[:, 0].sum() == decodes
                assert step.positions[:, 1].sum() == step.draft_tokens
                assert step.positions[:, 2].sum() == step.accepted_tokens


def test_files_whole_and_the_same_twice(
    results: figures.Results, workload: Workload, tmp_path: Path
) -> None:
    once = draw_all(results, workload.lengths, "c", tmp_path / "a")
    again = draw_all(results, workload.lengths, "c", tmp_path / "b")
    assert {p.suffix for p in once} == {".png", ".svg"}
    assert [p.read_bytes() for p in once] == [p.read_bytes() for p in again]
    assert len(list((tmp_path / "a").iterdir())) == len(once)


def test_sweep_figure(workload: Workload, tmp_path: Path) -> None:
    grid = Grid(drafter=["none", "suffix:scope=own+both"], budget=["fixed:k=1+4", "das"])
    table = sweep(workload, grid.setups(), jobs=1)
    axes = makespan_by_budget(table, "c").axes[0]
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert ticks == ["0", "1", "4", "das", "clair-\nvoyant"]
    assert len(draw_sweep(table, "c", tmp_path)) == 2


def test_no_drafter_alone_can_be_drawn(workload: Workload, tmp_path: Path) -> None:
    draw_all(compare(workload, ("none",), rl_steps=[0]), workload.lengths, "c", tmp_path)


def test_pyplot_stays_unloaded() -> None:
    script = "import sys, longtail.analysis.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_one_rl_step_is_bars_with_the_drafters_bounds(workload: Workload) -> None:
    axes = figures.makespan_by_step(compare(workload, POLICIES, rl_steps=[1]), "c").axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(POLICIES)
    assert len(axes.lines[0].get_ydata()) == 2  # no bound for the policy without a drafter


def test_synthetic_is_loud(results: figures.Results) -> None:
    loud, quiet = (
        figures.makespan_by_step(results, c)._supxlabel for c in ("SYNTHETIC", "recorded")
    )
    assert loud.get_fontweight() == "bold" and quiet.get_fontweight() != "bold"
