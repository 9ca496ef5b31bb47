"""What pages are made of: verdicts, tables as Markdown, papers' numbers, parts of traces."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.claim import (
    Claim,
    Rule,
    Verdict,
    at_least,
    at_most,
    exactly,
    near,
)
from longtail.analysis.page import Page, Picture, Section, Table, markdown_table
from longtail.analysis.reproduction import published as data
from longtail.analysis.reproduction.lab import Lab, equal_requests, part, rate_of, shortened, size
from longtail.analysis.style import new_figure
from longtail.analysis.write_page import write_page
from longtail.policies.batch import NO_CAP
from longtail.policies.drafters.acceptance_table import NEMO_EAGLE3, TLT
from longtail.policies.latency.presets import make_latency
from longtail.sim.workload import Workload
from longtail.traces import TraceError

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from small_workloads import Rollout, traces, workload_of

numbers = st.floats(-1e6, 1e6, allow_nan=False)


# -- verdicts --------------------------------------------------------------------------------------


@given(bound=numbers, step=st.floats(1e-3, 10))
def test_a_verdict_flips_where_the_number_crosses_the_bound(bound: float, step: float) -> None:
    for rule, good in ((at_least(bound), 1), (at_most(bound), -1)):
        assert rule.judge(bound) is Verdict.HOLDS
        assert rule.judge(bound + good * step) is Verdict.HOLDS
        assert rule.judge(bound - good * step) is Verdict.FAILS


@given(value=st.floats(1e-3, 1e3), share=st.floats(0.01, 0.9), at=st.floats(-2, 2))
def test_near_is_within_a_share(value: float, share: float, at: float) -> None:
    expected = Verdict.HOLDS if abs(at) < 1 else Verdict.FAILS
    if abs(abs(at) - 1) > 1e-6:
        assert near(value, share).judge(value * (1 + at * share)) is expected


def test_exactly_and_nothing_to_judge_by() -> None:
    assert exactly(16).judge(16) is Verdict.HOLDS and exactly(16).judge(17) is Verdict.FAILS
    for rule in (at_least(0), near(1, 0.5), exactly(0)):
        assert rule.judge(None) is rule.judge(float("nan")) is Verdict.UNKNOWN
    with pytest.raises(ValueError, match="no number"):
        Rule("nothing", 2, 1)


def page_of(ours: float | None, theirs: float | None = 2.0, **more: Any) -> Page:
    claims = [Claim("Pigs | fly", "Fig. 1", at_least(2, "{:g}x"), theirs, ours, why="too heavy")]
    return Page("pigs", "Pigs", "Pigs, 1999", "longtail reproduce pigs", "In air.", claims,
                [Section("Air", "Some.", **more)])  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(2.5, "holds"), (1.9, "does not hold"), (None, "cannot be judged here")],
)
def test_a_pages_words_follow_its_numbers(ours: float | None, verdict: str) -> None:
    text = page_of(ours).markdown()
    assert f"| **{verdict}** |" in text
    assert ("too heavy" in text) == (verdict != "holds")
    sums = [int(n) for n in re.findall(r"(\d+) (?:hold|do not|cannot)", text)]
    assert sums == [verdict == "holds", verdict == "does not hold", ours is None]
    assert "| does not hold |" in page_of(ours, theirs=1.0).markdown()


# -- Markdown and files ----------------------------------------------------------------------------


def test_a_table_has_one_cell_a_column() -> None:
    frame = pd.DataFrame({"a|b": ["x|y", "z"], "n": [0.5, None], "k": [3, 4]})
    lines = markdown_table(frame, {"n": "{:.0%}"})
    assert lines[1] == "|---|---:|---:|" and lines[2:] == ["| x\\|y | 50% | 3 |", "| z | - | 4 |"]


def draw() -> matplotlib.figure.Figure:
    figure, (axes,) = new_figure("Pigs", "air")
    axes.plot([0, 1], [1, 0])
    return figure


def broken() -> matplotlib.figure.Figure:
    raise RuntimeError("no ink")


TABLE = Table("weights", "Weights", pd.DataFrame({"pig": ["a"], "kg": [120.5]}))


def test_everything_a_page_names_lies_beside_it(tmp_path: Path) -> None:
    pig = Picture("pig", "A pig", draw, pd.DataFrame({"x": [0, 1], "y": [1, 0]}))
    page = page_of(2.0, tables=[TABLE], pictures=[pig])
    folder = tmp_path / "new" / "pages"
    paths = write_page(page, folder)
    assert paths[0] == folder / "pigs.md"
    assert {p.name for p in folder.iterdir()} == {p.name for p in paths}
    for name in re.findall(r"\]\(([^)]+)\)", paths[0].read_text()):
        assert (folder / name).is_file(), name
    assert "[Its numbers](pigs-pig-drawn.csv)" in paths[0].read_text()
    assert pd.read_csv(folder / "pigs-pig-drawn.csv").y.tolist() == [1, 0]
    claims = pd.read_csv(folder / "pigs-claims.csv")
    assert claims.ours.tolist() == [2.0] and claims.ours_verdict.tolist() == ["holds"]


def test_all_or_nothing(tmp_path: Path) -> None:
    before = page_of(2.0, tables=[TABLE])
    write_page(before, tmp_path)
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="no ink"):
        write_page(page_of(1.0, tables=[TABLE], pictures=[Picture("pig", "A pig", broken)]),
                   tmp_path)  # fmt: skip
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == kept


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="-o"):
        write_page(page_of(2.0), tmp_path / "file" / "below")


# -- the papers' numbers ---------------------------------------------------------------------------


FILES = (files(data.__package__) / "data").iterdir()


@pytest.mark.parametrize("name", sorted(file.name.removesuffix(".csv") for file in FILES))
def test_published_numbers_say_what_they_are(name: str) -> None:
    found = data.published(name)
    assert "arXiv" in found.paper and found.what
    assert any(word in found.how for word in ("digitized", "transcribed", "printed"))
    frame = found.frame
    counts = frame.select_dtypes("number")
    assert len(frame) >= 2 and not counts.empty
    assert (counts.fillna(1) >= 0).all().all() and not frame.duplicated().any()


def test_published_numbers_agree_with_each_other_and_with_the_drafters() -> None:
    figure13, table4 = data.published("tlt_fig13").frame, data.published("tlt_table4").frame
    wide = figure13.pivot(index="draft_depth", columns="tokens_to_verify", values="accept_length")
    assert tuple(wide.index) == TLT.depths and tuple(wide.columns) == TLT.verify
    assert np.array_equal(wide.to_numpy(), TLT.lengths)
    deep = figure13[figure13.draft_depth == 10].set_index("tokens_to_verify").speedup
    alone = table4[table4.batch_size == 1].set_index("tokens_to_verify").speedup
    assert (deep[alone.index] == alone).all()
    for row in data.published("nemo_rl").frame.to_dict("records"):
        length = 1 + np.cumprod(NEMO_EAGLE3.rates[0, : int(row["k"])]).sum()
        assert length == pytest.approx(row["zero_accept_length"], abs=0.01)
    points, model = data.published("das_fig8").frame, make_latency("h100-7b-points")
    assert model.tokens == tuple(points.tokens_in_forward)
    assert model.time == pytest.approx(points.milliseconds / 1e3)


# -- parts of traces -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    rollouts=traces, requests=st.integers(1, 12), samples=st.none() | st.integers(1, 3),
    cap=st.integers(1, 50),
)  # fmt: skip
def test_parts(rollouts: list[Rollout], requests: int, samples: int | None, cap: int) -> None:
    load = workload_of(rollouts)
    some = part(load, requests, samples)
    last = load.rows(load.rl_steps[-1])
    fitting = last.stop - last.start
    if samples is not None:
        counts = np.bincount(load.lengths.prompt[last])
        fitting = int(np.minimum(counts, samples).sum())
    assert size(some) == min(requests, fitting)
    keys = {
        (s, p, k): i
        for i, (s, p, k) in enumerate(
            zip(load.lengths.rl_step, load.lengths.prompt, load.lengths.sample, strict=True)
        )
    }
    there = set(some.lengths.prompt[some.rows(some.rl_steps[-1])].tolist())
    cut = shortened(some, cap)
    assert some.tokens is not None and cut.tokens is not None and load.tokens is not None
    for i, key in enumerate(
        zip(some.lengths.rl_step, some.lengths.prompt, some.lengths.sample, strict=True)
    ):
        text = load.tokens.output(keys[key])
        assert key[1] in there
        assert some.tokens.output(i).tolist() == text.tolist()
        assert cut.tokens.output(i).tolist() == text[:cap].tolist()
    assert (cut.lengths.output_len == np.minimum(some.lengths.output_len, cap)).all()
    assert (cut.cap <= cap).all() and (cut.lengths.prompt_len == some.lengths.prompt_len).all()


def test_a_part_keeps_a_groups_place_over_rl_steps() -> None:
    load = workload_of([Rollout(step, p, [1], [2] * (1 + k)) for step in range(2)
                        for p in (1, 0) for k in range(3)])  # fmt: skip
    some = part(load, 4)
    assert some.lengths.prompt.tolist() == [1, 1, 1, 0] * 2
    assert part(load, 10, 2).lengths.prompt.tolist() == [1, 1, 0, 0] * 2


def test_equal_requests_run_together_at_the_latencys_speed() -> None:
    load = equal_requests(3, 10, 20)
    assert len(load.lengths) == 3 and (load.cap == NO_CAP).all()
    done: list[int] = []
    lab = Lab(load, lambda: done.append(1))
    log = lab.log(4, 100, 8, latency="linear:base=1e-2,token=1e-3")
    assert (log.requests == 4).all() and (log.prefill_tokens == 0).all() and len(done) == 1
    assert rate_of(log) == pytest.approx(4 / (1e-2 + 4e-3))


def test_judged_are_the_rl_steps_with_history() -> None:
    one = Lab(workload_of([Rollout(3, 0, [1], [2, 3])]))
    two = Lab(workload_of([Rollout(3, 0, [1], [2, 3]), Rollout(5, 0, [1], [2, 3])]))
    assert one.judged == [3] and two.judged == [5]


def test_a_workload_of_a_part_keeps_the_traces_name() -> None:
    load = workload_of([Rollout(0, 0, [1], [2, 3])])
    assert isinstance(part(load, 1), Workload) and part(load, 1).trace is load.trace
