"""What an advice is made of: choices, the bench, changes, the rule of decision."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.analysis.advice.advise import advise
from longtail.analysis.advice.bench import Bench, take_rollouts
from longtail.analysis.advice.changes import AS_IT_IS, Change, lengthen, thin
from longtail.analysis.advice.choices import (
    ANY_BUDGET,
    LOOKUP,
    OFF,
    PLAIN_BUDGET,
    STOCK,
    STOCK_OTHER,
    Choice,
    budgets_of,
    lengths_of,
    off,
    speculative_config,
)
from longtail.analysis.advice.decide import clearly, decide, recommend
from longtail.analysis.advice.document import document
from longtail.analysis.advice.search import solve_schedule
from longtail.analysis.advice.sensitivity import DIALS
from longtail.analysis.drafters import candidates
from longtail.engine.settings import LiveSettings
from longtail.policies.batch import NO_CAP
from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.policies.latency import bound
from longtail.policies.latency.presets import make_latency
from longtail.sim.simulate import Setup, simulate_steps
from longtail.sim.workload import Workload
from longtail.traces import open_trace, sample_path

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import rollouts
from made_runs import Making, write_run

LATENCY = "linear:base=1e-2,token=5e-5"
FCFS = PLACEMENTS.make("fcfs")


def choice(drafter: str, budget: str, engine: str = "longtail") -> Choice:
    return Choice(DRAFTERS.make(drafter), BUDGETS.make(budget), FCFS, None, engine)


def whole(load: Any, latency: Any = LATENCY, steps: tuple[int, ...] = (1, 2)) -> Bench:
    return Bench.of(load, steps, Setup.of(latency=latency), most_tokens=10**9)


# choices


def test_vllm_s_own_methods_have_vllm_s_own_option_names() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse((Path(spec.origin).parent / "config" / "speculative.py").read_text())
    (config,) = (n for n in tree.body if getattr(n, "name", "") == "SpeculativeConfig")
    known = {n.target.id for n in config.body if isinstance(n, ast.AnnAssign)}  # type: ignore[attr-defined]
    for drafter in (*STOCK, "learned:table=nemo-eagle3"):
        for budget in ("fixed:k=4", "unlimited", "schedule"):
            made = speculative_config(DRAFTERS.make(drafter), BUDGETS.make(budget))
            if made is not None:
                assert set(made) <= known, set(made) - known
                assert made["num_speculative_tokens"] >= 1


@pytest.mark.parametrize(
    ("drafter", "budget", "expected"),
    [
        ("ngram:k=16,min=3,max=4", "fixed:k=4",
         {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 3,
          "prompt_lookup_max": 4}),
        ("ngram:k=2", "schedule:ranges=1-8:6_9-9:0",
         {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_min": 2,
          "prompt_lookup_max": 5, "num_speculative_tokens_per_batch_size": [[1, 8, 6], [9, 9, 0]]}),
        ("suffix:scope=own,depth=20", "unlimited",
         {"method": "suffix", "num_speculative_tokens": 16, "suffix_decoding_max_tree_depth": 20,
          "suffix_decoding_max_spec_factor": 1.0, "suffix_decoding_min_token_prob": 0.1,
          "suffix_decoding_max_cached_requests": 0}),
        ("suffix:scope=all", "schedule", None),  # its proposer asserts one length
        ("suffix:scope=both", "unlimited", None),
        ("suffix:scope=all,window=4", "unlimited", None),
        ("ngram", "das", None),
        ("ngram", "fixed:k=0", None),
        ("learned", "unlimited", None),  # trees
        ("das", "unlimited", None),
    ],
)  # fmt: skip
def test_what_vllm_would_be_told(drafter: str, budget: str, expected: Any) -> None:
    assert speculative_config(DRAFTERS.make(drafter), BUDGETS.make(budget)) == expected


def test_the_simpler_ranks_before_the_more_involved() -> None:
    made = {
        OFF: off(),
        LOOKUP: choice("ngram", "fixed:k=4", "vllm"),
        STOCK_OTHER: choice("ngram", "schedule", "vllm"),
        PLAIN_BUDGET: choice("das", "fixed:k=4"),
        ANY_BUDGET: choice("das", "das"),
    }
    assert [c.rank for c in made.values()] == [(rank, False) for rank in made]
    assert choice("suffix:scope=all", "unlimited", "vllm").rank[0] == STOCK_OTHER
    assert off().rank < off(max_num_seqs=4, changed=True).rank < made[LOOKUP].rank
    assert choice("das", "fixed:k=0").rank[0] == OFF  # nothing is drafted


def test_every_choice_of_the_plug_in_is_one_that_a_live_engine_takes() -> None:
    drafters, _ = candidates(rollouts("own", steps=1, prompts=1), ())
    drafters = [d for d in drafters if d.in_engine and not d.trees]
    budgets = budgets_of(())
    assert len(drafters) > 5 and len({b.name for b in budgets}) > 10
    latency = make_latency(LATENCY)
    for drafter in drafters:
        for budget in budgets:
            told = Choice(drafter, budget, FCFS, 64, "longtail").turn_on(latency)
            live = LiveSettings.of(json.loads(json.dumps(told["policy"])))
            assert (live.drafter, live.budget, live.latency) == (drafter, budget, latency)
            assert told["vllm_args"] == {"max_num_seqs": 64}
            assert "LONGTAIL_POLICY=policy.yaml" in told["command"]


def test_lengths_are_tried_once_each() -> None:
    short = DRAFTERS.make("ngram:k=4")
    assert [b.k for b in lengths_of(short, budgets_of(()))] == [1, 2, 4]
    assert [b.name for b in lengths_of(short, [BUDGETS.make("unlimited")])] == ["unlimited"]
    assert [b.k for b in lengths_of(short, [BUDGETS.make("das")])] == [1, 2, 4]


def test_a_schedule_is_one_that_vllm_takes_and_drafts_less_the_more_there_are() -> None:
    bench = whole(rollouts("own"))
    schedule = solve_schedule(bench, DRAFTERS.make("ngram:k=16"))
    lengths = [k for _, _, k in schedule.entries]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 0
    starts = [first for first, _, _ in schedule.entries]
    assert starts[0] == 1
    assert all(
        b[0] == a[1] + 1 for a, b in zip(schedule.entries, schedule.entries[1:], strict=False)
    )
    dear = solve_schedule(
        whole(rollouts("own"), "linear:base=1e-4,token=1"), DRAFTERS.make("ngram")
    )
    assert [k for _, _, k in dear.entries] == [0]


# the bench


def test_a_whole_bench_is_simulate() -> None:
    load = rollouts("history", cut=True)
    for one in (off(), choice("das", "tail"), choice("suffix:scope=all", "fixed:k=3"),
                choice("ngram", "goodput")):  # fmt: skip
        bench = whole(load)
        done = simulate_steps(load, one.setup(bench.setup), [1, 2], longest_draft=one.k)
        assert bench.totals([one])[0] == pytest.approx(sum(s.makespan_s for s in done), rel=1e-12)


@pytest.mark.parametrize("drafter", ["grouped", "grouped:scope=group,every=4", "best_of"])
@pytest.mark.parametrize("budget", ["fixed:k=2", "fixed:k=8"])
def test_drafts_that_depend_on_timing_are_nearly_those_of_the_loop(
    drafter: str, budget: str
) -> None:
    """As if rollouts began together and grew alike; printed with -s."""
    load = Workload.from_trace(open_trace(sample_path()), rl_steps=[0])
    assert load.trace is not None
    load.tokens = load.trace.tokens([0])
    load, one = take_rollouts(load, load.lengths.prompt < 16), choice(drafter, budget)
    bench = whole(load, steps=(0,))
    none, alike = bench.totals([off(), one])
    (real,) = simulate_steps(load, one.setup(bench.setup), [0])
    print(f"{one.name}: {none / alike:.3f}x, in the loop {none / real.makespan_s:.3f}x")
    assert none / alike > 1.1 and alike == pytest.approx(real.makespan_s, rel=0.1)


@given(requests=st.integers(1, 300), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_rows_stand_for_as_many_requests_as_asked(requests: int, seed: int) -> None:
    load = rollouts("fresh", seed=seed, steps=2, prompts=5, samples=3)
    bench = Bench.of(load, (1,), Setup.of(), most_tokens=10**9, requests=requests)
    rows = bench.rows(1)
    assert len(rows) == requests and (np.diff(rows) >= 0).all()
    assert (load.lengths.rl_step[rows] == 1).all()
    counts = np.bincount(rows - rows.min(), minlength=15)
    assert counts.max() - counts[counts > 0].min() <= 1
    again = bench.rows(1, np.array([2, 2]))
    assert len(again) == requests and len(np.unique(load.lengths.prompt[again])) == 1


def test_a_part_of_the_prompts_keeps_their_history() -> None:
    load = rollouts("history", prompts=20)
    part = Bench.of(load, (1, 2), Setup.of(), most_tokens=2_000)
    assert 1 <= part.prompts < 20 and part.count == {1: 80, 2: 80}
    assert part.load.rl_steps == [0, 1, 2]
    kept = np.unique(part.load.lengths.prompt)
    whole_rows = np.isin(load.lengths.prompt, kept)
    assert (part.load.lengths.output_len == load.lengths.output_len[whole_rows]).all()
    assert len(part.cases()[0][1]) == 80
    assert part.last(1, 3).steps == (2,) and part.last(10**9, 3).steps == (1, 2)
    bare = part.forgetful(0.0)
    assert bare.load.rl_steps == [2] and bare.steps == (2,)


@given(seed=st.integers(0, 20), tokens=st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)))
@settings(max_examples=20, deadline=None)
def test_what_is_searched_is_some_of_what_is_measured(seed: int, tokens: tuple[int, int]) -> None:
    load = rollouts("fresh", seed=seed, steps=1, prompts=40, samples=2)
    few, more = (
        set(Bench.of(load, (0,), Setup.of(), most_tokens=most).load.lengths.prompt.tolist())
        for most in sorted(tokens)
    )
    assert few and few <= more


def test_prompts_that_do_not_come_again_are_found_in_every_step() -> None:
    load = rollouts("own", recur=False, prompts=6)
    part = Bench.of(load, (1, 2), Setup.of(), most_tokens=1)
    assert all(len(part.rows(step)) == 24 for step in (1, 2))


# changes


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


# the rule


CHOICES = [
    off(),
    choice("ngram", "fixed:k=4", "vllm"),
    choice("suffix:scope=all", "fixed:k=4", "vllm"),
    choice("das", "fixed:k=4"),
    choice("das", "fixed:k=8"),
    choice("das", "tail"),
]


def sure(count: int, noise: float = 0.0) -> np.ndarray:
    return np.full((count, count), 1.0 - noise)


@pytest.mark.parametrize(
    ("seconds", "noise", "expected"),
    [
        ([10, 10, 10, 10, 10, 10], 0.0, 0),
        ([10, 9.95, 9.95, 9.95, 9.95, 9.95], 0.0, 0),  # less than 1 %
        ([10, 8, 7.95, 7.95, 7.95, 7.95], 0.0, 1),  # the rest adds less than 1 %
        ([10, 8, 7, 6, 5.9, 5.88], 0.0, 4),
        ([10, 8, 7, 6, 5.9, 5.5], 0.0, 5),
        ([10, 8, 7, 6, 5.9, 5.5], 0.15, 3 + 1),  # the last is within noise
        ([10, 9, 9, 9, 9, 9], 0.15, 0),  # all of it is
        ([10, 12, 12, 12, 12, 9], 0.0, 5),
    ],
)
def test_the_simplest_that_nothing_clearly_beats(
    seconds: list[float], noise: float, expected: int
) -> None:
    assert recommend(CHOICES, np.array(seconds, float), sure(6, noise)) == expected


@given(
    seconds=st.lists(st.floats(1, 100), min_size=6, max_size=6),
    noise=st.floats(0, 0.5),
)
def test_what_is_recommended_is_clearly_better_than_anything_simpler(
    seconds: list[float], noise: float
) -> None:
    took, spread = np.array(seconds), sure(6, noise)
    found = decide(CHOICES, took, spread)
    best = found.recommended
    if best:
        assert clearly(took, spread, 0, best)
    for i, other in enumerate(CHOICES):
        if other.rank == CHOICES[best].rank:
            assert took[best] <= took[i]
    assert found.runner_up is not None and found.runner_up != best
    assert took[found.runner_up] == min(t for i, t in enumerate(took) if i != best)
