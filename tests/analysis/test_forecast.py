"""Stand-ins for rollouts that are not known yet: drafted from all the others, cut to the cap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.forecast import FOLDS, _drafted_from_others
from longtail.policies.components import DRAFTERS
from longtail.policies.profile import Profile
from longtail.sim.workload import Workload
from longtail.traces.sample import find_trace
from longtail.traces.select import select_rollouts
from longtail.traces.store import open_trace
from longtail.traces.writer import TraceWriter


def test_each_fold_is_drafted_from_the_others(tmp_path: Path) -> None:
    """As if its rollouts had been recorded an RL step later."""
    small = tmp_path / "small.parquet"
    source = open_trace(find_trace("sample"))
    select_rollouts(source, small, rl_steps=[0, 1, 2], prompts=2, samples=6)
    drafter = DRAFTERS.make("suffix:scope=both")
    workload = Workload.from_trace(open_trace(small))
    lengths = workload.lengths
    newest = np.flatnonzero(lengths.rl_step == 2)
    found = _drafted_from_others(workload, drafter, 3, newest)

    table = pq.read_table(small).to_pylist()
    for fold in range(FOLDS):
        late = [i for n, i in enumerate(newest[:6]) if n % FOLDS == fold]  # of the first prompt
        moved = tmp_path / f"{fold}.parquet"
        with TraceWriter(moved, open_trace(small).meta) as writer:
            keys = {(lengths.prompt_ids[lengths.prompt[i]], int(lengths.sample[i])) for i in late}
            rows = [
                row | ({"rl_step": 3} if row["rl_step"] == 2 and
                       (row["prompt_id"], row["sample"]) in keys else {})
                for row in table
            ]  # fmt: skip
            writer.write(sorted(rows, key=lambda row: row["rl_step"]))
        other = Workload.from_trace(open_trace(moved))
        profile = other.profile(drafter)
        last = other.rows(3)
        for at, i in zip(range(last.start, last.stop), late, strict=True):
            mine = slice(found.offsets[i], found.offsets[i + 1])
            theirs = slice(profile.offsets[at], profile.offsets[at + 1])
            assert (found.drafted[mine] == profile.drafted[theirs]).all()
            assert (found.matched[mine] == profile.matched[theirs]).all()
    known = workload.profile(drafter)
    rest = slice(0, int(known.offsets[newest[0]]))
    assert (found.drafted[rest] == known.drafted[rest]).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_rollouts_taken_from_a_profile_are_cut(sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    offsets = np.cumsum([0, *sizes])
    matched = np.concatenate([rng.integers(0, n - np.arange(n) + 1) for n in sizes])
    whole = Profile(
        (matched + rng.integers(0, 3, len(matched))).astype(np.uint8),
        matched.astype(np.uint8),
        offsets,
    )
    rows = rng.integers(0, len(sizes), 5)
    cut = np.array([rng.integers(1, sizes[i] + 1) for i in rows])
    part = whole.take(rows, cut)
    assert part.drafted.dtype == part.matched.dtype == np.uint8
    for j, (i, n) in enumerate(zip(rows.tolist(), cut.tolist(), strict=True)):
        mine = slice(part.offsets[j], part.offsets[j + 1])
        begin = int(offsets[i])
        assert part.drafted[mine].tolist() == whole.drafted[begin : begin + n].tolist()
        left = n - np.arange(n)
        wanted = np.minimum(whole.matched[begin : begin + n], left)
        assert part.matched[mine].tolist() == wanted.tolist()
