"""What the other commands write, as they write it: each is recognised whole, with its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from made_runs import ENGINE, Making, write_run
from report_folders import make_trace

from longtail.analysis.advice.advise import advise
from longtail.analysis.advice.document import document
from longtail.analysis.advice.write import write_advice
from longtail.analysis.budgets import Plan, study
from longtail.analysis.budgets_page import budgets_page
from longtail.analysis.calibrate import calibrate
from longtail.analysis.calibration_file import write_calibration
from longtail.analysis.demo import compare
from longtail.analysis.drafter_figures import draw_drafters
from longtail.analysis.drafters import compare_drafters
from longtail.analysis.observations import read_runs
from longtail.analysis.plots import draw_all, write_figure
from longtail.analysis.report.page import Part, Report
from longtail.analysis.report.read import read_report
from longtail.analysis.report.render import render
from longtail.analysis.show_drafters import write_tables
from longtail.analysis.validate import Check
from longtail.analysis.validation import Validation
from longtail.analysis.validation_figures import makespans
from longtail.analysis.write_page import write_page
from longtail.sim.sweep import write_table
from longtail.sim.workload import Workload
from longtail.traces import open_trace

CHECK = Check(
    run="das-0", policy="suffix/das", trace="T.parquet", rl_steps="1", batch=64, setting="s",
    held_out=True, calibration="c", exact=True, forwards=9, tokens="all", measured_s=10.0,
    slow=1.0, predicted_s=10.5, clock_error=0.01, forward_error=0.1, makespan_error=0.05,
    raw_error=0.05, tail_error=None, curve=0.02, finish_tau=1.0, outside=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    path = make_trace(tmp_path_factory.mktemp("trace") / "T.parquet")
    return Workload.from_trace(open_trace(path))


def whole(folder: Path) -> Report:
    """The report, of which no file was skipped, and which can be rendered."""
    report = read_report(folder)
    assert [(file.name, file.skipped) for file in report.files if file.skipped] == []
    assert render(report)
    return report


def figures(part: Part) -> list[tuple[str, int]]:
    return [(b.title, len(b.numbers)) for b in part.blocks if b.kind == "figure"]


def test_an_advice_is_one_section_with_all_that_lies_beside_it(
    load: Workload, tmp_path: Path
) -> None:
    made = advise(load, drafters=["suffix:scope=both"], budgets=["fixed:k=1+2", "das"])
    told = document(made)
    write_advice(made, told, "T.parquet", tmp_path)
    report = whole(tmp_path)
    part = report.parts[0]
    assert part.first and part.headlines == [told["recommendation"]["words"]]
    assert {part.title for part in report.parts[1:]} <= {"Policy files"}
    assert [title for title, count in figures(part) if count == 1] == [
        "Expected speed-up over no speculation",
        "Speed-up with one thing otherwise",
    ]
    tables = [b.numbers[0].frame for b in part.blocks if b.kind == "figure"]
    measured = [row for row in told["candidates"] if row["stage"] == "measured"]
    assert tables[0].makespan_s.tolist() == [row["makespan_s"] for row in measured]
    assert len(tables[1]) == len(told["sensitivity"])
    assert report.traces == [("T.parquet", "synthetic")]
    for line in told["wrong_when"]:
        assert any(line[1:] in said for said in report.limitations)


def test_drafters(load: Workload, tmp_path: Path) -> None:
    found = compare_drafters(load, ["suffix:scope=own", "suffix:scope=problem"])
    write_tables(found, tmp_path)
    draw_drafters(found, "T.parquet", tmp_path)
    report = whole(tmp_path)
    (part,) = report.parts
    best = min(found.rows, key=lambda row: row.makespan_s)
    if best.makespan_s < found.plain_s:
        assert f"{found.plain_s / best.makespan_s:.2f}x" in part.headlines[0]
    assert best.name in str(next(b.frame for b in part.blocks if b.kind == "table").iloc[0, 0])
    assert [count for _, count in figures(part)] == [1] * len(figures(part)) != []
    assert report.traces == [("T.parquet", "synthetic")]


def test_budgets(load: Workload, tmp_path: Path) -> None:
    plan = Plan.of(
        [load], drafters=["suffix:scope=both,max=8"], budgets=["fixed:k=1+4", "unlimited"],
        latencies={"mine": "h100-7b"}, at_once=[12],
    )  # fmt: skip
    found = study(plan, jobs=1)
    page = budgets_page(found, "longtail budgets T.parquet", ["T.parquet (SYNTHETIC)"])
    write_page(page, tmp_path)
    write_table(found.cells, tmp_path / "policies.parquet")
    report = whole(tmp_path)
    (part,) = report.parts
    cells = found.cells[found.cells.budget != "fixed:k=0"]
    least = cells.groupby("budget").regret.median().min()
    assert f"The least regret, {least:.1%}" in part.headlines[0]
    assert figures(part) == [("Regret by budget, T.parquet", 1)]
    assert report.synthetic and "priors" in report.limitations[-1]


def test_a_calibration_and_the_runs_that_it_is_of(tmp_path: Path) -> None:
    for number, drafter in enumerate(("none", "ngram:k=4")):
        name = drafter.partition(":")[0]
        write_run(tmp_path / name / "steps", drafter, Making(seed=number, requests=32, noise=0.02))
        summary = {"name": name, "steps": [{"rl_step": 0, "makespan_s": 3.5 + number,
                   "requests": 32, "output_tokens": 99}], "faults": {}}  # fmt: skip
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    made = calibrate(read_runs([tmp_path / "none" / "steps", tmp_path / "ngram" / "steps"]))
    write_calibration(made, tmp_path / "model.json")
    report = whole(tmp_path)
    runs, calibration = report.parts
    assert "the shortest makespan measured is 3.50 s (none)" in runs.headlines[0]
    rows = [b.frame for b in runs.blocks if b.kind == "table"][-1]
    assert rows.makespan_s.tolist() == [4.5, 3.5] and rows.policy.tolist()[1] == "none"
    assert (rows.accepted <= rows.drafted).all() and rows.forwards.min() > 0
    assert figures(calibration) == [("Fit of a forward's seconds", 1)]
    shown = next(b.frame for b in calibration.blocks if b.kind == "table").set_index(
        ["part", "parameter"]
    )
    known = dict(zip(made.names, made.fit.coefficients, strict=True))
    for name, value in known.items():
        assert shown.loc[("forward", name), "value"] == pytest.approx(1e6 * value)
    assert any("CPU" in line for line in report.limitations)


def test_a_step_log_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "steps", "ngram:k=4", Making(requests=8))
    (part,) = whole(tmp_path).parts
    rows = next(b.frame for b in part.blocks if b.kind == "table")
    log = read_runs([tmp_path / "steps"])[0].forwards
    assert rows.drafted.tolist() == [log.drafted.sum()] and rows["most running"].tolist() == [8]
    assert rows.makespan_s.iloc[0] == pytest.approx(
        (log.begin_s + log.forward_s).max() - log.begin_s.min()
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_validation_is_one_section_with_its_logs(tmp_path: Path, exact: bool) -> None:
    folder = tmp_path / "validation"
    place = folder / "runs" / CHECK.run
    place.mkdir(parents=True)
    log = pd.DataFrame({"rl_step": [1, 1], "begin_s": [0.0, 1.0], "running": [2, 1]})
    for name in ("live", "simulated"):
        log.to_parquet(place / f"{name}.parquet")
    check = Check(**{**vars(CHECK), "exact": exact})
    made = Validation((check,), (), ("measured on a CPU",), {**ENGINE}, (), folder)
    made.write()
    write_figure(lambda: makespans(made.rankings, made.checks, "c"), folder, "makespans")
    (part,) = whole(tmp_path).parts
    assert "within 5.0%" in part.headlines[0]
    assert ("NOT token for token" in part.headlines[0]) != exact
    assert figures(part) == [("Makespans, predicted and measured", 1)]
    assert "validation: measured on a CPU" in part.limitations


def test_pictures_stand_once_with_the_numbers_beside_them(load: Workload, tmp_path: Path) -> None:
    draw_all(compare(load, ("none", "suffix/das")), load.lengths, "T.parquet", tmp_path)
    (tmp_path / "survival.csv").unlink()
    (part,) = whole(tmp_path).parts
    found = dict(figures(part))
    assert len(found) == 5 and found.pop("survival") == 0 and set(found.values()) == {1}
    notes = [b.note for b in part.blocks if b.kind == "figure"]
    assert sum("not known here" in note for note in notes) == 1


def test_a_png_stands_where_there_is_no_svg(load: Workload, tmp_path: Path) -> None:
    for path in draw_all(compare(load, ("none",)), load.lengths, "c", tmp_path):
        if path.suffix == ".svg":
            path.unlink()
    assert b'src="data:image/png;base64,' in render(whole(tmp_path))
