"""The study of budgets: cells are what `simulate` says, and the page says what the cells do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from longtail.analysis.budgets import (
    BEST,
    FIXED,
    NONE,
    OURS,
    PLACE,
    Plan,
    Study,
    hindsight,
    study,
)
from longtail.analysis.budgets_page import against_published, budgets_page, ranked
from longtail.analysis.claim import Verdict
from longtail.analysis.study_time import study_time
from longtail.analysis.write_page import write_page
from longtail.cli import cli
from longtail.policies.registry import ComponentError
from longtail.sim.simulate import Setup, simulate
from longtail.sim.workload import Workload
from longtail.traces import TraceError

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from small_workloads import random_rollouts, workload_of

DRAFTER, LATENCY = "suffix:scope=both,max=8", "linear:base=1e-3,token=3e-5"


@pytest.fixture(scope="module")
def load() -> Workload:
    return workload_of(random_rollouts(3, 3, 6, 8, 60, 5))


@pytest.fixture(scope="module")
def found(load: Workload) -> Study:
    return study(plan_of(load), jobs=1)


def plan_of(load: Workload) -> Plan:
    return Plan.of(
        [load], drafters=[DRAFTER, "grouped"], budgets=["fixed:k=2+8", "das", "unlimited", OURS],
        latencies={"mine": LATENCY}, at_once=[8, 10, 40],
    )  # fmt: skip


def test_a_dry_run_counts_what_the_study_simulates(load: Workload, found: Study) -> None:
    told = study_time(plan_of(load), jobs=2)
    drafters = [time.drafters for _, time in told.parts]
    assert drafters == [1, 1, 1, 1]  # those of the profile, and those in the loop, by batch
    assert [time.rl_steps for _, time in told.parts] == [2, 1, 2, 1]
    assert "arrays, 8 at once, drafting in the loop: 6 points" in str(told)
    misled = (found.misled.about != "nothing").sum()
    assert sum(time.points for _, time in told.parts) == len(found.cells) + misled
    assert told.seconds > 0 and f"{len(found.cells) + misled} points in about" in str(told)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    words = "budgets sample --rl-steps 3 --at-once 4 --latency h100-7b --drafter ngram --dry-run"
    more = ["--budget", "fixed:k=1..3", "-o", str(tmp_path / "new")]
    done = CliRunner().invoke(cli, [*words.split(), *more])
    assert done.exit_code == 0, done.output
    assert "4 at once: 4 points (1 drafters), RL steps: 1, bounds: 1" in done.output
    assert not (tmp_path / "new").exists()


def test_at_most_takes_whole_groups_and_leaves_history(load: Workload) -> None:
    part = load.at_most(20)
    for step in load.rl_steps:
        rows = part.chosen(step)
        assert len(rows) == 20 == len(part.requests(step).prompt)
        counts = np.bincount(load.lengths.prompt[rows])
        assert sorted(counts[counts > 0]) == [4, 8, 8]  # of groups of eight
        assert part.rows(step) == load.rows(step)
        assert (part.requests(step).output_len == load.lengths.output_len[rows]).all()
    everybody = load.at_most(1000)
    assert (everybody.chosen(0) == np.arange(48)).all()
    setup = Setup.of(drafter=DRAFTER, budget="das")
    assert simulate(everybody, setup).makespan_s == simulate(load, setup).makespan_s


def test_cells_are_what_simulate_says(load: Workload, found: Study) -> None:
    cells = found.cells.set_index([*PLACE, "budget"])
    assert len(found.cells) == 2 * 2 * 6  # batches (10 is hardly more than 8), drafters, budgets
    assert sorted(found.cells.at_once.unique()) == [8, 40]
    for drafter, steps in ((DRAFTER, [1, 2]), ("grouped", [2])):  # of timed ones the last step
        for count in (8, 40):
            for budget in ("das", OURS):
                setup = Setup.of(drafter=drafter, budget=budget, latency=LATENCY)
                result = simulate(load.at_most(count), setup, rl_steps=steps)
                cell = cells.loc[("arrays", "mine", count, drafter, budget)]
                assert cell.makespan_s == pytest.approx(result.makespan_s, rel=1e-12)
                assert cell.regret == pytest.approx(
                    result.makespan_s / result.clairvoyant_s - 1, abs=1e-12
                )
                assert cell.drafted == sum(s.draft_tokens for s in result.steps)
                plain = cells.loc[("arrays", "mine", count, drafter, NONE)]
                assert cell.speed_up == pytest.approx(plain.makespan_s / cell.makespan_s)
                assert plain.speed_up == 1 and np.isnan(plain.wasted)


def test_the_best_fixed_length_is_of_each_place(found: Study) -> None:
    best = hindsight(found.cells).set_index(PLACE)
    fixed = found.cells[found.cells.budget.isin([NONE, *FIXED])]
    for place, mine in fixed.groupby(PLACE):
        assert best.loc[place].makespan_s == mine.makespan_s.min()
        (length,) = mine[mine.makespan_s == mine.makespan_s.min()].budget.str[8:].astype(int)[:1]
        assert best.loc[place].length == length
    table = ranked(found, "arrays", DRAFTER)
    assert (table.loc[BEST] <= table.loc["fixed:k=2"] + 1e-12).all()
    medians = table.median(axis=1)
    assert medians.tolist() == sorted(medians)


def test_misled_is_a_row_for_each_way(found: Study) -> None:
    ways = found.misled.about.unique().tolist()
    assert ways == ["nothing", "chances × 0.5", "chances × 1.5", "lengths: noise"]
    mine = found.cells[(found.cells.budget == OURS) & (found.cells.drafter == DRAFTER)]
    right = found.misled[found.misled.about == "nothing"]
    assert right.makespan_s.tolist() == mine.makespan_s.tolist()
    wrong = found.misled[found.misled.about == "chances × 0.5"]
    assert (wrong.drafted.to_numpy() < right.drafted.to_numpy()).any()


def made_up(ours: list[float], theirs: list[float]) -> pd.DataFrame:
    rows = [
        {"trace": "t", "latency": "l", "at_once": i, "drafter": "d", "budget": budget,
         "makespan_s": 1 + regret, "clairvoyant_s": 1.0, "none_s": 2.0, "regret": regret,
         "wasted": 0.1, "speed_up": 2 / (1 + regret), "drafted": 1, "accepted": 1}
        for i, pair in enumerate(zip(ours, theirs, strict=True))
        for budget, regret in zip((OURS, "das", NONE), (*pair, 1.0), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("ours", "first", "second"),
    [([0.05, 0.1], Verdict.HOLDS, Verdict.HOLDS), ([0.05, 0.15], Verdict.HOLDS, Verdict.FAILS),
     ([0.3, 0.3], Verdict.FAILS, Verdict.FAILS)],
)  # fmt: skip
def test_claims_follow_the_cells(ours: list[float], first: Verdict, second: Verdict) -> None:
    cells = made_up(ours, [0.2, 0.2])
    table = against_published(cells)
    assert table.ratio.tolist() == pytest.approx([(1 + x) / 1.2 for x in ours])
    empty = pd.DataFrame()
    page = budgets_page(
        Study(cells, empty, ("d",), (NONE, OURS, "das"), ("l",), ("t",)), "c", ["t"]
    )
    verdicts = {claim.text: claim.verdict for claim in page.claims}
    assert verdicts["`tail` is as short as the best other one, or shorter"] == first
    assert verdicts["`tail` has at most half the regret of the best other one"] == second


def test_the_page_is_written_with_its_files(found: Study, tmp_path: Path) -> None:
    paths = write_page(budgets_page(found, "longtail budgets arrays", ["arrays"]), tmp_path)
    text = paths[0].read_text()
    assert paths[0].name == "policies.md" and "longtail budgets arrays" in text
    for line in text.splitlines():
        for name in line.split("](")[1:]:
            assert (tmp_path / name.split(")")[0]).exists()
    shown = pd.read_csv(tmp_path / "policies-regret-arrays.csv").set_index("budget")
    assert shown.loc[OURS].tolist() == pytest.approx(
        (100 * ranked(found, "arrays", DRAFTER).loc[OURS]).tolist()
    )


def test_nothing_to_compare_is_an_error(load: Workload) -> None:
    with pytest.raises(ComponentError, match="name a drafter"):
        Plan.of([load], drafters=[])


def test_traces_of_one_name_are_refused(load: Workload) -> None:
    with pytest.raises(TraceError, match="two traces of this name"):
        Plan.of([load, load], drafters=[DRAFTER])
