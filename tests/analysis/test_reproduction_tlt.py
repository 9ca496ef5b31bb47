"""TLT's page: the sign change comes out of the simulator, and its words follow the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.analysis.claim import Claim, Verdict
from longtail.analysis.reproduction import tlt
from longtail.analysis.reproduction.drafting import draft_time, tlt_draft_time
from longtail.analysis.reproduction.lab import Lab, equal_requests
from longtail.analysis.reproduction.published import published
from longtail.analysis.reproduction.tlt_bandit import (
    arms_pulled,
    bandit_claims,
    learn,
    static_choices,
)
from longtail.analysis.reproduction.tlt_grid import Grid, beside, tidy
from longtail.analysis.reproduction.tlt_rollout import (
    case_claims,
    needed_share,
    ranges,
    rollouts,
    tail_share,
)
from longtail.policies.components import BUDGETS

THEIRS = Grid.of(published("tlt_table4").frame)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(equal_requests(1, 1, 1))


@pytest.fixture(scope="module")
def ours(lab: Lab) -> Grid:
    """Table 4, simulated as on the page."""
    drafting_s = tlt_draft_time().of(tlt.DEPTH) / lab.rate(
        1, tlt.CONTEXT, tlt.OUTPUT, latency=tlt.LATENCY
    )
    return tlt.speedups(lab, tlt.Variant("as above"), THEIRS, drafting_s)


def verdicts(claims: list[Claim]) -> list[Verdict]:
    return [claim.verdict for claim in claims]


def test_the_sign_change(ours: Grid) -> None:
    """Few requests: verify most; many: fewest. Their table says so, and ours does."""
    for grid in (THEIRS, ours):
        assert grid.best(1) == 64 and {grid.best(b) for b in (8, 16, 32)} == {16}
        assert (np.diff(grid.bests) <= 0).all()
        assert (grid.values[:, -1] < grid.values[:, 0]).all()
        assert (np.diff(grid.values[:, -1]) < 0).all()  # at 32 requests each size more costs


def test_beyond_the_fitted_column_ours_is_near_theirs(ours: Grid) -> None:
    errors = ours.errors(THEIRS)
    assert errors.shape == (4, 5) and errors.mean() < 0.15
    assert np.abs(ours.values[:, 0] / THEIRS.values[:, 0] - 1).max() < 0.1


def test_without_acceptance_nothing_is_gained(lab: Lab) -> None:
    hopeless = lab.rate(
        4, 100, 64, latency=tlt.LATENCY, drafter="learned:table=tlt,start=0,verify=16"
    )
    assert hopeless <= lab.rate(4, 100, 64, latency=tlt.LATENCY)


def test_claims_flip_with_the_numbers(ours: Grid) -> None:
    upside_down = replace(ours, values=ours.values[::-1])
    growing = replace(ours, values=ours.values[:, ::-1])
    first = tlt.table4_claims(THEIRS, ours)
    assert verdicts(first)[:2] == [Verdict.HOLDS, Verdict.HOLDS]
    assert verdicts(tlt.table4_claims(THEIRS, upside_down))[:2] == [Verdict.FAILS] * 2
    assert verdicts(tlt.table4_claims(THEIRS, growing))[2:4] == [Verdict.FAILS] * 2
    same = tlt.table4_claims(THEIRS, THEIRS)
    assert set(verdicts(same)) == {Verdict.HOLDS}
    slow = replace(ours, values=ours.values / 10)
    assert verdicts(tlt.table4_claims(THEIRS, slow))[-1] is Verdict.FAILS
    assert [c.theirs for c in first] == [c.theirs for c in same]


def test_a_grid_by_hand() -> None:
    frame = pd.DataFrame(
        {"tokens_to_verify": [16, 64, 16, 64], "batch_size": [1, 1, 4, 4],
         "speedup": [3.0, 3.5, 3.1, 2.0]}
    )  # fmt: skip
    grid = Grid.of(frame)
    assert grid.bests == [64, 16] and grid.rises == 1 and grid.at(64, 4) == 2.0
    doubled = grid.fill(lambda v, b: 2 * grid.at(v, b))
    assert doubled.errors(grid).tolist() == [[1.0], [1.0]]
    table = tidy(grid, doubled)
    assert len(table) == 4 and (table.error == 1).all()
    assert beside(grid, doubled)["batch 4"].tolist() == ["3.10 / 6.20", "2.00 / 4.00"]
    tie = replace(grid, values=np.ones((2, 2)))
    assert tie.bests == [16, 16]
    assert ranges(grid) == "1-3:63_4-4096:15"
    assert BUDGETS.make(f"schedule:ranges={ranges(grid)}").entries == [(1, 3, 63), (4, 4096, 15)]


@given(once=st.floats(0, 2), level=st.floats(0.01, 1))
def test_the_cost_of_drafting_comes_back(once: float, level: float) -> None:
    depth = np.array([4, 6, 8, 10, 12, 16])
    speedup = 5 / (1 + once + level * depth)
    frame = pd.DataFrame({"draft_depth": depth, "accept_length": 5.0, "speedup": speedup})
    found = draft_time(frame)
    assert found.once == pytest.approx(once, abs=1e-9)
    assert found.level == pytest.approx(level) and found.error < 1e-9


def test_what_the_static_table_picks() -> None:
    static = static_choices(THEIRS, THEIRS).set_index("batch")
    assert static.static.tolist() == [48, 32, 32, 16, 16, 8]
    assert static.their_best.tolist() == [64, 48, 48, 16, 16, 16]
    assert static.their_loss[1] == pytest.approx(1 - 3.56 / 3.62)
    assert static.their_loss[8] == 0 and np.isnan(static.their_loss[32])


@pytest.fixture(scope="module")
def setting(lab: Lab) -> dict[str, str]:
    return {"latency": tlt.LATENCY, "drafter": tlt.drafter(64, 0.01)}


def test_the_bandit_learns(lab: Lab, setting: dict[str, str]) -> None:
    learnt = learn(lab, [32], 500, setting)
    shares = learnt[[c for c in learnt if c.startswith("share_")]]
    assert np.allclose(shares.sum(axis=1), 1) and (learnt.regret > 0).all()
    assert (learnt.most == learnt.best).all() and (learnt.best == 16).all()
    static = static_choices(THEIRS, THEIRS)
    assert verdicts(bandit_claims(static, learnt)) == [Verdict.HOLDS] * 2
    other = learnt.assign(most=64)
    claim = bandit_claims(static, other)[1]
    assert claim.verdict is Verdict.FAILS and "% slower" in claim.why


def test_a_rollout(lab: Lab, setting: dict[str, str]) -> None:
    load = equal_requests(40, 10, 30)
    load.lengths.output_len[:] = np.arange(5, 165, 4)
    found = rollouts(Lab(load), load, setting, {"mine": "fixed:k=0"})
    plain = found["no drafts"]
    assert all(step.output_tokens == plain.output_tokens for step in found.values())
    assert found["mine"].makespan_s == plain.makespan_s and plain.draft_tokens == 0
    switched = found["48 below 32 requests (paper)"]
    assert 0 < switched.draft_tokens < found["48 always"].draft_tokens
    # Before the ninth request is done nobody drafts; what comes after can only be so much faster.
    assert np.array_equal(np.sort(switched.finish_s)[:9], np.sort(plain.finish_s)[:9])
    share = tail_share(plain, 32)
    assert share == pytest.approx(1 - np.sort(plain.finish_s)[8] / plain.makespan_s)
    log = found["bandit from 32 requests, as released"].log
    assert log is not None and set(arms_pulled(log)) <= {16, 32, 48, 64}
    assert case_claims(found, "few")[0].verdict is Verdict.UNKNOWN


@given(inside=st.floats(1.5, 10), share=st.floats(0.05, 1))
def test_the_share_that_a_speedup_needs(inside: float, share: float) -> None:
    whole = 1 / (1 - share + share / inside)
    assert needed_share(whole, inside) == pytest.approx(share)
