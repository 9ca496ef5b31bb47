"""Pictures: axes with units, one line per policy, the same bytes twice; and what they draw."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from longtail.analysis import curves, figures
from longtail.analysis.configurations import best_setting, rank
from longtail.analysis.demo import compare
from longtail.analysis.plots import draw_all, draw_sweep, write_figure
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
def results(workload: Workload) -> curves.Results:
    return compare(workload, POLICIES)


def test_every_axis_has_a_name(results: curves.Results, workload: Workload) -> None:
    drawn = [
        figures.active_requests(curves.active_requests(results), "c"),
        figures.makespan_by_step(curves.makespans(results), "c"),
        figures.acceptance(curves.acceptance(results), "c"),
        figures.survival(workload.lengths, "c"),
        figures.wasted(curves.waste(results), "c"),
    ]
    for figure in drawn:
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert figure.get_suptitle()


def test_one_line_per_policy(results: curves.Results) -> None:
    axes = figures.makespan_by_step(curves.makespans(results), "c").axes[0]
    labels = [line.get_label() for line in axes.lines]
    assert len(labels) == len(POLICIES) + 1  # and the bound
    assert all(any(str(label).startswith(p) for label in labels) for p in POLICIES)


def test_active_curve_ends_at_the_makespan_with_nobody_left(results: curves.Results) -> None:
    step = results["none"].steps[0]
    seconds, running = curves.active_curve(step)
    assert running[0] == step.requests and running[-1] == 0
    assert seconds[-1] == step.makespan_s
    assert (np.diff(running) < 0).all()


def test_survival_by_hand() -> None:
    x, share = curves.survival_curve(np.array([2, 5, 5, 9]))
    assert x.tolist() == [2, 5, 9] and share.tolist() == [1.0, 0.75, 0.25]


def test_positions_account_for_every_decode_forward(results: curves.Results) -> None:
    for label, result in results.items():
        for step in result.steps:
            decodes = int(step.request_forwards.sum()) - step.requests
            if label != "none":  # without drafts nothing is recorded by position
                assert step.positions[:, 0].sum() == decodes
                assert step.positions[:, 1].sum() == step.draft_tokens
                assert step.positions[:, 2].sum() == step.accepted_tokens


def test_the_same_figure_the_same_bytes(results: curves.Results, tmp_path: Path) -> None:
    table = curves.makespans(results)
    once, again = (
        write_figure(lambda: figures.makespan_by_step(table, "c"), tmp_path / name, "m")
        for name in "ab"
    )
    assert [p.suffix for p in once] == [".png", ".svg"]
    assert [p.read_bytes() for p in once] == [p.read_bytes() for p in again]


def test_every_picture_has_its_numbers_beside_it(
    results: curves.Results, workload: Workload, tmp_path: Path
) -> None:
    paths = draw_all(results, workload.lengths, "c", tmp_path)
    assert set(paths) == set(tmp_path.iterdir())
    kinds = {p.stem: {q.suffix for q in paths if q.stem == p.stem} for p in paths}
    assert len(kinds) == 5
    assert all(found == {".png", ".svg", ".csv"} for found in kinds.values())
    tables = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in kinds}
    ends = tables["active_requests"].groupby("policy").seconds.max()
    whole = tables["makespan_by_step"].groupby("policy").makespan_s.sum()
    for policy, result in results.items():
        assert ends[policy] == result.steps[-1].makespan_s
        assert whole[policy] == pytest.approx(result.makespan_s)
    bounds = tables["makespan_by_step"].groupby("policy").clairvoyant_s.count()
    assert bounds.to_dict() == {"none": 0, POLICIES[1]: 2, POLICIES[2]: 2}
    assert set(tables["acceptance"]["by"]) == {"rl_step", "position"}
    longest = tables["survival"].groupby("rl_step", dropna=False).output_tokens.max()
    assert longest.max() == longest[np.nan] == workload.lengths.output_len.max()
    wasted = tables["wasted"].set_index("policy").wasted
    drafted = results[POLICIES[1]].total("draft_tokens")
    accepted = results[POLICIES[1]].total("accepted_tokens")
    assert wasted[POLICIES[1]] == pytest.approx(1 - accepted / drafted)
    assert wasted.isna().sum() == 1  # nothing was drafted by none


@pytest.fixture(scope="module")
def table(workload: Workload) -> pd.DataFrame:
    """A sweep of two settings."""
    grid = Grid(
        drafter=["none", "suffix:scope=own+both"], budget=["fixed:k=1+4", "das"],
        max_num_seqs=[None, 2],
    )  # fmt: skip
    return sweep(workload, grid.setups(), jobs=1)


def test_a_sweeps_figure(table: pd.DataFrame, tmp_path: Path) -> None:
    figure = makespan_by_budget(table, "c")
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert ticks == ["0", "1", "4", "das", "clair-\nvoyant"]
    words = "c; latency h100-7b (prior); the best of 2 settings: max_num_seqs=unlimited"
    assert figure._supxlabel.get_text() == words
    paths = draw_sweep(table, "c", tmp_path)
    assert [p.name for p in paths] == [f"makespan_by_budget.{e}" for e in ("png", "svg", "csv")]
    drawn = pd.read_csv(paths[-1])
    best = table[table.max_num_seqs.isna()].groupby(["drafter", "budget"]).makespan_s.sum()
    assert drawn.set_index(["drafter", "budget"]).makespan_s.to_dict() == pytest.approx(
        best.to_dict()
    )


def test_a_setting_that_varies_is_named_in_brief(table: pd.DataFrame) -> None:
    slower = table.assign(latency="tlt-32b", makespan_s=2 * table.makespan_s, max_num_seqs=2)
    both = pd.concat([table[table.max_num_seqs == 2], slower])
    words = makespan_by_budget(both, "c")._supxlabel.get_text()
    assert words == "c; the best of 2 settings: latency=h100-7b (prior)"


def test_configurations_are_ranked_within_their_setting(table: pd.DataFrame) -> None:
    ranked = rank(table)
    assert ranked.makespan_s.is_monotonic_increasing
    assert ranked.makespan_s.sum() == pytest.approx(table.makespan_s.sum())
    seats = ranked.max_num_seqs.fillna(0)
    plain = ranked[ranked.drafter == "none"].groupby(seats).makespan_s.first()
    assert plain[2] > plain[0]
    for row, at in zip(ranked.itertuples(), seats, strict=True):
        assert row.speed_up == plain[at] / row.makespan_s
        assert row.regret == row.makespan_s / row.clairvoyant_s - 1
    assert ranked.wasted[ranked.drafter == "none"].isna().all()
    assert rank(table[table.drafter != "none"]).speed_up.isna().all()
    assert best_setting(ranked).max_num_seqs.isna().all()
    assert ranked.sort_index().drafter.iloc[0] == table.drafter.iloc[0]


def test_no_drafter_alone_can_be_drawn(workload: Workload, tmp_path: Path) -> None:
    paths = draw_all(compare(workload, ("none",), rl_steps=[0]), workload.lengths, "c", tmp_path)
    assert not any("wasted" in path.name for path in paths)


def test_pyplot_stays_unloaded() -> None:
    script = "import sys, longtail.analysis.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_one_rl_step_is_bars_with_the_drafters_bounds(workload: Workload) -> None:
    axes = figures.makespan_by_step(
        curves.makespans(compare(workload, POLICIES, rl_steps=[1])), "c"
    ).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(POLICIES)
    assert len(axes.lines[0].get_ydata()) == 2  # no bound for the policy without a drafter


def test_synthetic_is_loud(results: curves.Results) -> None:
    loud, quiet = (
        figures.makespan_by_step(curves.makespans(results), c)._supxlabel
        for c in ("SYNTHETIC", "recorded")
    )
    assert loud.get_fontweight() == "bold" and quiet.get_fontweight() != "bold"
