"""The other pages: their words follow the numbers, and the numbers follow the rollouts."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from longtail.analysis.claim import Claim, Verdict
from longtail.analysis.reproduction import das, das_savings, nemo_rl, respec, seer
from longtail.analysis.reproduction.lab import Lab
from longtail.analysis.reproduction.published import published

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from small_workloads import Rollout, workload_of


def verdict(claims: list[Claim], start: str) -> Verdict:
    (found,) = {c.verdict for c in claims if c.text.startswith(start)}
    return found


def trained(repeats: bool, prompts: int = 20) -> Lab:
    """Three RL steps of the same prompts, whose texts come again or are new each time."""
    rng = random.Random(0)

    def text(p: int) -> list[int]:
        return [rng.randrange(1000) for _ in range(40 + 10 * p)]

    texts = [text(p) for p in range(prompts)]
    return Lab(workload_of([
        Rollout(step, p, [p], texts[p] if repeats else text(p))
        for step in range(3) for p in range(prompts)
    ]))  # fmt: skip


# -- DAS -------------------------------------------------------------------------------------------


def test_savings_come_from_what_repeats_itself() -> None:
    again, anew = (das_savings.our_steps(trained(repeats), 20, None) for repeats in (True, False))
    for steps in (again, anew):
        assert steps.rl_step.tolist() == [1, 2] and (steps.requests == 20).all()
        assert (steps["clairvoyant"] <= steps["none"]).all()
        assert (steps["das output"] == steps["unlimited output"]).all()
        assert (steps["unlimited accepted"] <= steps["unlimited drafted"]).all()
    saved = [das_savings.our_savings(steps).unlimited.item() for steps in (again, anew)]
    assert saved[0] > 0.5 and saved[1] < 0.05


def test_their_means() -> None:
    math = das_savings.published_saving("das_fig10")
    assert (math["steps"], math["steps above 50 %"]) == (24, 10)
    assert math["saving"] == pytest.approx(0.477, abs=1e-3)
    assert math["saving of all drawn"] == pytest.approx(0.406, abs=2e-3)


@pytest.fixture(scope="module")
def savings() -> das_savings.Savings:
    return das_savings.compare(trained(True, prompts=33))


def test_what_a_trace_does_not_have_is_not_judged(savings: das_savings.Savings) -> None:
    assert savings.ours.requests.tolist()[:2] == [32, 16]
    assert verdict(savings.claims, "Math") is Verdict.UNKNOWN
    assert verdict(savings.claims, "Code") is not Verdict.UNKNOWN
    uncut = das_savings.savings_claims(savings.theirs, savings.unlimited,
                                       savings.ours.assign(seconds=1.0), savings.half)  # fmt: skip
    assert verdict(uncut, "Half the length cap") is Verdict.UNKNOWN
    assert das_savings.near_size(32, [30, 16]) == 30 and das_savings.near_size(256, [30]) is None


@pytest.mark.parametrize(("das_saves", "wanted"), [(0.25, Verdict.HOLDS), (0.6, Verdict.FAILS)])
def test_das_claims_flip(savings: das_savings.Savings, das_saves: float, wanted: Verdict) -> None:
    ours = savings.ours.assign(das=das_saves)
    ours["das over unlimited"] = 0.3 - das_saves
    claims = das_savings.savings_claims(savings.theirs, savings.unlimited, ours, savings.half)
    assert verdict(claims, "Code") is wanted
    assert verdict(claims, "An unlimited budget") is wanted
    other = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}[wanted]
    assert verdict(claims, "Half the length cap: still") is other


def test_curves() -> None:
    curve = pd.DataFrame(
        {"seconds": [0, 10, 20, 30], "baseline": [4, 4, 2, 1], "das": [4, 1, 0, 0]}
    )
    assert das.area_under(*das.reach(curve, "baseline")) == pytest.approx(85)
    assert das.reach(curve, "das")[0].tolist() == [0, 10]  # both end with the last that runs
    lab = trained(True)
    (step,) = lab.run(lab.load, [2], latency="linear:base=0.01,token=0")
    area = das.area_under(*das.steps_of(step))
    assert area == pytest.approx(step.finish_s.sum())  # request-seconds
    steps = {"no speculation": step, "DAS": step}
    assert 0 <= das.distance(curve, step) <= 1
    same = das.curve_claims(curve, steps, das.CURVE)[0]
    assert same.theirs == pytest.approx(1 / 3) and same.ours == 1
    assert same.theirs_verdict is Verdict.HOLDS and same.verdict is Verdict.FAILS
    assert das.curve_claims(curve, steps, 5)[0].verdict is Verdict.UNKNOWN


def test_a_figures_numbers_are_those_drawn() -> None:
    curve = published("das_fig1").frame
    lab = trained(True)
    (step,) = lab.run(lab.load, [2], latency="linear:base=0.01,token=0")
    table = das.curves_drawn(curve, {"no speculation": step, "DAS": step})
    ends = table.groupby(["whose", "policy"]).seconds.max()
    assert ends["theirs", "no speculation"] == 220 and ends["theirs", "DAS"] == 110
    assert ends["ours", "DAS"] == step.makespan_s
    figure = das.draw_curves(table, "c")
    lines = [line.get_xydata() for axes in figure.axes[:2] for line in axes.lines]
    kept = table[["seconds", "requests"]].to_numpy()
    assert sum(map(len, lines)) == len(kept)
    assert np.concatenate(lines).sum(axis=0) == pytest.approx(kept.sum(axis=0))


def test_the_erratum_and_eq_1() -> None:
    assert das.reached("corrected") == pytest.approx(1)
    assert das.reached("printed") == pytest.approx(6040 / 4000, rel=1e-3)
    tokens = np.array([1.0, 10.0, 100.0])
    assert das.linear_fit(tokens, 3 + 0.5 * tokens) == pytest.approx((3, 0.5))
    forward = published("das_fig8").frame
    bent = forward.assign(milliseconds=forward.milliseconds**3)
    verdicts = [
        das.latency_claims(das.latency_table(points), points)[0].theirs_verdict
        for points in (forward, bent)
    ]
    assert verdicts == [Verdict.HOLDS, Verdict.FAILS]


# -- ReSpec ----------------------------------------------------------------------------------------


def test_where_the_gain_is_gone() -> None:
    batches = np.array([1.0, 4.0, 16.0])
    assert respec.crossing(batches, np.array([2.0, 1.5, 0.5])) == pytest.approx(8)
    assert np.isnan(respec.crossing(batches, np.array([2.0, 1.5, 1.1])))
    assert np.isnan(respec.crossing(batches, np.array([0.9, 0.5, 0.1])))


def test_respec_claims_flip() -> None:
    theirs = published("respec_fig7").frame
    points = dict(zip(theirs.batch_size, theirs.speedup, strict=True))
    kinds = (respec.AS_TLT, respec.FITTED, respec.FITTED_LONG)
    ours = pd.DataFrame([{"batch_size": b, **dict.fromkeys(kinds, v)} for b, v in points.items()])
    same = respec.batch_claims(theirs, ours)
    assert {c.verdict for c in same} == {Verdict.HOLDS}
    fast = ours.assign(**{respec.AS_TLT: 3.0})
    claims = respec.batch_claims(theirs, fast)
    assert verdict(claims, "64 requests lose") is Verdict.FAILS
    assert verdict(claims, "2 requests gain") is Verdict.HOLDS
    assert verdict(claims, "Speed-up of 2 requests") is Verdict.FAILS


def test_a_share_of_acceptance_gives_the_speedup_wanted() -> None:
    lab, context = Lab(workload_of([Rollout(0, 0, [1], [2])])), 200
    share = respec.fit_share(lab, 0.004, 1.5, context)
    found = respec.speedup(lab, respec.FIRST, context, respec.drafter(0.004, share))
    assert 0 < share < 1 and found == pytest.approx(1.5, rel=0.02)
    assert respec.fit_share(lab, 0.004, 50.0, context) == 1.0


# -- NeMo-RL ---------------------------------------------------------------------------------------


def sweep(*rows: tuple[float, float, float]) -> pd.DataFrame:
    found = [
        {"context": 500, "batch_size": 2**i, **dict(zip(("k=3", "k=5", "k=7"), row, strict=True))}
        for i, row in enumerate(rows)
    ]
    return pd.DataFrame(found)


def test_the_nearest_point_and_its_claims() -> None:
    theirs = published("nemo_rl").frame
    ours = sweep((1.8, 2.2, 2.4), tuple(theirs.zero_speedup), (1.1, 1.0, 0.9))
    point = nemo_rl.nearest(theirs, ours)
    assert point["batch_size"] == 2
    claims = nemo_rl.chain_claims(theirs, ours, point)
    assert {c.verdict for c in claims} == {Verdict.HOLDS}
    best = sweep((1.8, 2.2, 2.4))
    claims = nemo_rl.chain_claims(theirs, best, nemo_rl.nearest(theirs, best))
    assert verdict(claims, "Drafts of 7") is verdict(claims, "Accepted 5.06") is Verdict.FAILS


# -- Seer ------------------------------------------------------------------------------------------


def groups(alike: bool, samples: int = 8) -> Lab:
    rng = random.Random(1)

    def text() -> list[int]:
        return [rng.randrange(500) for _ in range(60)]

    rollouts = []
    for p in range(3):
        shared = text()
        rollouts += [Rollout(0, p, [p], shared if alike else text()) for _ in range(samples)]
    return Lab(workload_of(rollouts))


def test_references_help_where_they_are_alike() -> None:
    wanted = published("seer_table2").frame.group_references.tolist()
    alike, apart = (seer.finished_references(groups(a), wanted) for a in (True, False))
    assert alike.references.tolist() == apart.references.tolist() == [0, 1, 5]
    assert alike.linear[0] == apart.linear[0] == pytest.approx(1, abs=0.1)
    assert alike.linear[1] > 4 and apart.linear.max() < 1.2
    live = seer.live_references(groups(True), wanted)
    assert live.linear[0] <= live.linear[1] <= alike.linear[1]  # what is not written cannot help


def test_seer_claims_flip() -> None:
    theirs = published("seer_table2").frame
    ours = theirs.rename(columns={"group_references": "references"})
    assert {c.verdict for c in seer.reference_claims(theirs, ours)} == {Verdict.HOLDS}
    claims = seer.reference_claims(theirs, ours[ours.references < 15].assign(linear=[9, 8, 7]))
    assert verdict(claims, "More references") is Verdict.FAILS
    assert verdict(claims, "More paths") is Verdict.FAILS
    assert verdict(claims, "Acceptance length with 15") is Verdict.UNKNOWN
    assert verdict(claims, "Acceptance length with 0") is Verdict.FAILS
    one = seer.reference_claims(theirs, ours[:1])
    assert verdict(one, "More references") is Verdict.UNKNOWN
