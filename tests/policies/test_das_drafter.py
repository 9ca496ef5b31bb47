"""DAS's drafter: what its window and its weights do (its drafts: test_live_drafters.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_workloads import Rollout, workload_of

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters import suffix_rule
from longtail.policies.registry import ComponentError, spec_of


def updates(folder: Path, text: str) -> str:
    path = folder / "updates.csv"
    path.write_text(text)
    return f"das:scope=problem,window=4,half_life=0,updates={path}"


def test_larger_updates_make_the_window_shorter(tmp_path: Path) -> None:
    """Four usual updates; after RL step 5 one that is worth three, after 6 none at all."""
    spec = updates(tmp_path, "rl_step,size\n5,3\n6,0\n9,5\n")
    rule = DRAFTERS.make(spec).rule
    assert [rule.oldest(step) for step in range(1, 12)] == [0, 0, 0, 0, 1, 4, 4, 5, 6, 10, 10]
    plain = DRAFTERS.make("das:window=4").rule
    assert [plain.oldest(step) for step in (5, 12)] == [1, 8]


def test_what_an_update_takes_out_of_sight(tmp_path: Path) -> None:
    live = DRAFTERS.make(updates(tmp_path, "rl_step,size\n1,9\n")).live()
    live.start_step(0)
    live.begin("r", "p", [9, 1])
    live.learn("p", [1, 2, 3])
    live.start_step(1)
    assert live.draft(["r"])[0].tolist() == [2]
    live.start_step(2)  # the update after RL step 1 was larger than the window
    assert live.draft(["r"])[0].tolist() == []


def test_what_is_recent_counts_more() -> None:
    """Twice of old against once of late, one half-life and five apart."""
    for apart, token in ((1, 2), (3, 3)):
        live = DRAFTERS.make("das:scope=problem,window=0,half_life=2").live()
        live.start_step(0)
        live.begin("r", "p", [9, 1])
        live.learn("p", [1, 2])
        live.learn("p", [1, 2])
        live.start_step(apart)
        live.learn("p", [1, 3])
        live.start_step(apart + 1)
        assert live.draft(["r"])[0].tolist() == [token], apart


@pytest.mark.parametrize(
    "text",
    [
        "rl_step,size\none,1\n", "rl_step,size\n1.5,1\n", "rl_step,size\n1,-1\n",
        "rl_step,size\n1,nan\n", "rl_step,size\n1,inf\n", "rl_step,size\n1\n",
    ],
)  # fmt: skip
def test_updates_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ComponentError, match=r"updates.csv, row 2: .*; give a"):
        DRAFTERS.make(updates(tmp_path, text))


def test_no_updates_file(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"nowhere.csv cannot be read .*; name a CSV file"):
        DRAFTERS.make(f"das:updates={tmp_path / 'nowhere.csv'}")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="rl_step and size"):
        DRAFTERS.make(updates(tmp_path, "step,loss\n"))


def test_a_file_that_changed(tmp_path: Path) -> None:
    """Equal specifications mean equal drafts."""
    spec = updates(tmp_path, "rl_step,size\n1,2\n")
    before = spec_of(DRAFTERS.make(spec))
    updates(tmp_path, "rl_step,size\n1,3\n")
    assert spec_of(DRAFTERS.make(spec)) != before
    with pytest.raises(ComponentError, match="another file"):
        DRAFTERS.make(before)


def test_a_long_run_is_weighed_by_what_is_seen_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by all that was ever written: what has left the window is not counted."""
    load = workload_of([Rollout(step, 0, [9], [1, 2, 3] * 5) for step in range(40)])
    monkeypatch.setattr(suffix_rule, "MOST", 256 * 16 * 4)  # four rollouts at the most
    load.profile(DRAFTERS.make("das:window=2"))
    for spec in ("das:window=5", "das:window=0"):
        with pytest.raises(ComponentError, match="too long to be counted"):
            load.profile(DRAFTERS.make(spec))
    load.profile(DRAFTERS.make("das:window=5,half_life=0"))
    load.profile(DRAFTERS.make("suffix:scope=own"))
