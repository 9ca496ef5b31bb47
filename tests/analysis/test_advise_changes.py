"""What an advice varies: clocks, drafts, lengths, what budgets are told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail.analysis.advice.advise import advise
from longtail.analysis.advice.changes import AS_IT_IS, Change, lengthen, thin
from longtail.analysis.advice.choices import (
    off,
)
from longtail.analysis.advice.document import document
from longtail.analysis.advice.sensitivity import DIALS
from longtail.policies.batch import NO_CAP
from longtail.policies.components import DRAFTERS
from longtail.policies.latency import bound
from longtail.policies.latency.presets import make_latency

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import choice, rollouts, whole
from made_runs import Making, write_run


@pytest.mark.parametrize("spec", ["linear", "piecewise", "roofline:gpu=h200,model=qwen2.5-7b"])
@pytest.mark.parametrize(("fixed", "token"), [(1.3, 1.0), (0.7, 1.0), (1.0, 1.3), (1.0, 0.7)])
def test_a_clock_is_off_by_what_is_said(spec: str, fixed: float, token: float) -> None:
    latency, drafter = make_latency(spec), DRAFTERS.make("ngram")
    changed = Change(fixed=fixed, token=token).clock(latency, drafter)

    def seconds(model: Any, tokens: int) -> float:
        return float(model.seconds(tokens, 1, 0, 0, 0, 0, model.params))

    small, large = 1, 3_000  # below and above every knee
    assert seconds(changed, small) / seconds(latency, small) == pytest.approx(fixed, rel=0.02)
    slope = seconds(latency, 2 * large) - seconds(latency, large)
    assert (seconds(changed, 2 * large) - seconds(changed, large)) / slope == pytest.approx(token)
    assert AS_IT_IS.clock(latency, drafter) is latency


def test_a_calibration_can_be_off_too(tmp_path: Path) -> None:
    from longtail.analysis.calibrate import calibrate
    from longtail.analysis.calibration_file import write_calibration
    from longtail.analysis.observations import read_runs

    for number, name in enumerate(("none", "ngram:k=4")):
        write_run(tmp_path / name[:4], name, Making(noise=0.02, seed=number, requests=24))
    runs = read_runs([tmp_path / "none", tmp_path / "ngra"])
    write_calibration(calibrate(runs), tmp_path / "model.json")
    latency, drafter = make_latency(str(tmp_path / "model.json")), DRAFTERS.make("ngram:k=4")
    usual, changed = bound(latency, drafter), Change(token=1.3, fixed=1.3).clock(latency, drafter)
    assert changed.notes == usual.notes
    counts = (40, 10, 0, 0, 0, 0)
    forward = usual.seconds(*counts, usual.params) - usual.host_s(*counts)
    dearer = changed.seconds(*counts, changed.params) - changed.host_s(*counts)
    assert 1.05 < dearer / forward <= 1.3 + 1e-9  # what its KV and requests take is as it was
    assert Change(host_s=1.0).clock(latency, drafter) is latency  # it was measured
    told = document(advise(rollouts("own"), latency=latency, drafters=["ngram:k=4"]))
    words = " ".join(told["rests_on"])
    assert told["prior"] is False and "had not seen were off by" in words and "prior" not in words
    assert "host" not in {case["about"] for case in told["sensitivity"]}


def test_the_host_s_time_is_charged_to_drafts_that_are_looked_up() -> None:
    latency = make_latency("linear")
    change = Change(host_s=1e-5)
    assert change.clock(latency, DRAFTERS.make("ngram")).request == pytest.approx(1e-5)
    assert change.clock(latency, DRAFTERS.make("none")) is latency
    assert change.clock(latency, DRAFTERS.make("learned")) is latency


def test_thinned_drafts_match_less() -> None:
    load = rollouts("own", prompts=20)
    profile = DRAFTERS.make("suffix:scope=own").profile(load.lengths, load.tokens)
    assert (thin(profile, 1.0).matched == profile.matched).all()
    before = profile.matched
    for accept in (0.9, 0.5, 0.0):
        thinned = thin(profile, accept)
        assert (thinned.matched <= before).all() and (thinned.drafted == profile.drafted).all()
        before = np.minimum(before, profile.matched)
    assert thin(profile, 0.0).matched.max() == 0
    some = profile.matched > 0
    share = (thin(profile, 0.7).matched[some] > 0).mean()
    assert share == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("longer", [1.0, 1.5, 2.0])
def test_cut_rollouts_go_on(longer: float) -> None:
    load = rollouts("own", cut=True, steps=1)
    rows = np.arange(len(load.lengths))
    profile = DRAFTERS.make("ngram").profile(load.lengths, load.tokens)
    requests = load.requests(0)
    cut = load.lengths.capped
    assert cut.any() and not cut.all()
    grown, drafts = lengthen(requests, cut, profile, longer)
    expected = np.where(cut, longer * requests.output_len, requests.output_len)
    assert np.abs(grown.output_len - expected).max() <= 1
    assert (np.diff(drafts.offsets) == grown.output_len).all()
    assert (grown.cap[cut] == grown.output_len[cut]).all() and (grown.cap[~cut] == NO_CAP).all()
    for row in rows:  # they begin as they did
        half = requests.output_len[row] // 2
        new, old = drafts.offsets[row], profile.offsets[row]
        assert (drafts.drafted[new : new + half] == profile.drafted[old : old + half]).all()
    bench = whole(load, steps=(0,))
    usual, changed = (bench.totals([off()], Change(longer=x))[0] for x in (1.0, longer))
    assert changed >= usual and (longer == 1.0 or changed > usual)


def test_more_of_what_costs_takes_longer() -> None:
    """Facts that must hold whatever is recommended."""
    bench = whole(rollouts("own", cut=True))
    both = [off(), choice("ngram:k=4", "fixed:k=4")]
    usual = bench.totals(both)
    for change in (Change(token=1.3), Change(fixed=1.3), Change(requests=2.0), Change(longer=2.0)):
        assert (bench.totals(both, change) > usual).all(), change
    for change in (Change(token=0.7), Change(fixed=0.7), Change(requests=0.5)):
        assert (bench.totals(both, change) < usual).all(), change
    for change in (Change(host_s=1e-4), Change(accept=0.5)):
        without, drafting = bench.totals(both, change)
        assert without == usual[0] and drafting > usual[1], change
    assert (bench.totals(both, Change(skew=0.5)) == usual).all()  # neither looks at chances


def test_a_budget_decides_by_what_it_was_told() -> None:
    """With a clock that is off, a budget that asks for seconds still hears the old ones."""
    bench = whole(rollouts("own"))
    one = choice("ngram:k=8", "goodput")
    (usual,), (dearer,) = (
        bench.simulate([one], [bench.cases()[0]], change) for change in (AS_IT_IS, Change(token=50))
    )
    assert dearer[0].draft_tokens == usual[0].draft_tokens
    assert dearer[0].makespan_s > usual[0].makespan_s


@pytest.mark.parametrize("dial", DIALS, ids=lambda dial: dial.name)
def test_every_dial_changes_one_thing_and_says_what(dial: Any) -> None:
    for value in dial.values:
        assert value != dial.neutral
        assert replace(AS_IT_IS, **{dial.field: value}) != AS_IT_IS
        assert dial.tell(value).startswith("with ") and "{" not in dial.tell(value)
    assert " to " in dial.tell(*dial.values[:2])
