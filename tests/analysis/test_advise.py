"""What is recommended for traces of which it is known, and whether it says so."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from longtail.analysis.advice.advise import Advice, advise
from longtail.analysis.advice.document import document
from longtail.analysis.advice.words import wrong_when
from longtail.analysis.advice.write import write_advice
from longtail.engine.settings import LiveSettings
from longtail.policies.registry import ComponentError
from longtail.sim.limits import Limits
from longtail.sim.simulate import Setup, simulate_steps
from longtail.traces import TraceError

sys.path.insert(0, str(Path(__file__).parent))
from advice_loads import rollouts

LATENCY = "linear:base=1e-2,token=5e-5"
DEAR = "linear:base=1e-4,token=1e-3"  # a token costs ten forwards
KEYS = {
    "recommendation", "expected", "rests_on", "wrong_when", "holds_when", "left_out", "untried",
    "runner_up", "turn_on", "candidates", "sensitivity", "trace", "origin", "latency",
    "latency_name", "prior", "conditions", "rl_steps", "limits", "version",
}  # fmt: skip


@pytest.fixture(scope="module")
def history() -> Advice:
    """Everything that the plug-in can do, on rollouts that repeat their prompt's history."""
    return advise(rollouts("history"), latency=LATENCY)


def test_history_that_comes_again_asks_for_a_drafter_that_looks_there(history: Advice) -> None:
    choice = history.recommended
    assert choice.speculates and choice.drafter.history_steps != 0
    assert history.speed_up(history.verdict.recommended).low > 1.3
    told = document(history)
    assert choice.name in told["recommendation"]["words"]
    assert told["recommendation"]["engine"] == choice.engine
    none = [c for c in told["sensitivity"] if c["about"] == "history" and c["value"] == 0.0]
    kept = [c for c in told["sensitivity"] if c["about"] == "recorded"]
    assert len(none) == len(kept) and all(c["makespan_s"] > 0 for c in none)
    mine = {c["name"]: c["speed_up"] for c in kept}[choice.name]
    assert {c["name"]: c["speed_up"] for c in none}[choice.name] < 0.8 * mine


def test_seconds_are_those_of_simulate(history: Advice) -> None:
    load = rollouts("history")
    for choice, total in zip(history.measured.choices, history.measured.total_s, strict=True):
        if not choice.drafter.timed:
            setup = choice.setup(Setup.of(latency=LATENCY))
            done = simulate_steps(load, setup, [1, 2], longest_draft=choice.k)
            assert math.isclose(sum(s.makespan_s for s in done), total, rel_tol=1e-12), choice.name


def test_the_document(history: Advice) -> None:
    told = json.loads(json.dumps(document(history), allow_nan=False))
    assert set(told) == KEYS and told["rl_steps"] == [1, 2] and told["prior"] is True
    expected, measured = told["expected"], history.measured
    assert expected["low"] <= expected["speed_up"] <= expected["high"]
    assert math.isclose(expected["none_s"] / expected["makespan_s"], expected["speed_up"])
    rows = pd.DataFrame(told["candidates"])
    finalists = rows[rows.stage == "measured"]
    assert len(finalists) == len(measured.choices) <= 11 < len(rows)
    assert (finalists.makespan_s.diff().dropna() >= 0).all()
    assert (finalists.name == "no speculation").sum() == 1
    assert (finalists.accepted_tokens <= finalists.draft_tokens).all()
    words = " ".join(told["rests_on"])
    for part in ("were made up", "It is a prior", "token-exact replay", "over prompts and RL"):
        assert part in words, part
    tested = history.sensitivity
    usual = tested.seconds[0] / tested.seconds[tested.recommended]  # what variations stand beside
    assert f"the last 2 RL steps, where as recorded and told the speed-up is {usual:.2f}x" in words
    assert f"less history on {history.searched.prompts} prompts" in words
    assert f"best of {len(history.found.seconds)} choices" in words
    assert "(simulated)" in told["recommendation"]["words"]
    assert "As many as 64 requests ran at once" in " ".join(told["turn_on"]["words"])
    assert told["wrong_when"][-1].startswith("With another policy")
    cases = pd.DataFrame(told["sensitivity"])
    assert {"token", "forward", "host", "acceptance", "history", "requests"} <= set(cases.about)
    one_each = cases.groupby(["about", "words"], sort=False).recommended.sum()
    assert (one_each == 1).all()


def test_files(history: Advice, tmp_path: Path) -> None:
    told = document(history)
    paths = write_advice(history, told, "a title", tmp_path / "new")
    assert {path.name for path in paths} == {p.name for p in (tmp_path / "new").iterdir()}
    assert json.loads((tmp_path / "new" / "advice.json").read_text()) == json.loads(
        json.dumps(told)
    )
    page = (tmp_path / "new" / "advice.md").read_text()
    assert told["recommendation"]["words"] in page and "![speed up](speed_up.png)" in page
    table = pd.read_csv(tmp_path / "new" / "candidates.csv")
    assert len(table) == len(told["candidates"]) and (table.origin == "synthetic").all()
    policy = tmp_path / "new" / "policy.yaml"
    assert policy.exists() == (history.recommended.engine == "longtail")
    if policy.exists():
        live = LiveSettings.read(policy)
        choice = history.recommended
        assert (live.drafter, live.budget) == (choice.drafter, choice.budget)
        assert live.latency == history.bench.setup.latency


def test_the_plug_in_s_policy_is_one_that_a_live_engine_takes(tmp_path: Path) -> None:
    made = advise(
        rollouts("history"), latency=LATENCY, drafters=["das:max=8"], budgets=["fixed:k=6"]
    )
    choice = made.recommended
    assert choice.engine == "longtail"
    (tmp_path / "policy.yaml").write_text("drafter: none\n")  # of an earlier advice
    write_advice(made, document(made), "a title", tmp_path)
    live = LiveSettings.read(tmp_path / "policy.yaml")
    assert (live.drafter.name, live.drafter.max, live.budget) == ("das", 8, choice.budget)
    fresh = advise(rollouts("fresh"), latency=LATENCY, drafters=["ngram"])
    write_advice(fresh, document(fresh), "a title", tmp_path)
    assert not (tmp_path / "policy.yaml").exists()


@pytest.mark.parametrize(
    ("kind", "latency", "words"),
    [("fresh", LATENCY, "nothing is faster"), ("history", DEAR, "Leave speculation off")],
)
def test_where_drafts_never_match_or_cost_too_much_it_stays_off(
    kind: str, latency: str, words: str
) -> None:
    drafters = ["ngram:k=16", "suffix:scope=all+both", "das"]
    made = advise(rollouts(kind), latency=latency, drafters=drafters, budgets=["fixed:k=2+8"])
    told = document(made)
    assert not made.recommended.speculates
    assert told["recommendation"]["words"].startswith("Leave speculation off")
    assert words in told["recommendation"]["words"]
    assert told["turn_on"]["policy"] is None and told["turn_on"]["vllm_args"] == {}
    assert told["expected"]["speed_up"] == told["expected"]["low"] == 1.0


def test_vllm_alone_is_told_what_vllm_has() -> None:
    made = advise(rollouts("own"), latency=LATENCY, engine="vllm")
    told = document(made)
    assert all(choice.engine == "vllm" for choice in made.found.seconds)
    assert made.recommended.speculates and told["turn_on"]["policy"] is None
    config = told["turn_on"]["vllm_args"]["speculative_config"]
    assert config["method"] in ("ngram", "suffix")
    assert 1 <= config["num_speculative_tokens"] <= 16
    assert json.dumps(config) in told["turn_on"]["command"]
    with pytest.raises(ComponentError, match="--engine longtail"):
        advise(rollouts("own"), engine="vllm", budgets=["das"])
    with pytest.raises(ComponentError, match="no such method"):
        advise(rollouts("own"), engine="vllm", drafters=["das"])


def test_lengths_alone_say_what_cannot_be_judged() -> None:
    load = rollouts("own", steps=2, prompts=4)
    load.tokens = None
    made = advise(load, latency=LATENCY)
    told = document(made)
    assert not made.recommended.speculates
    assert "lengths only" in told["recommendation"]["words"]
    assert told["runner_up"] is None and len(told["left_out"]) == 2
    table = advise(load, latency=LATENCY, drafters=["learned:table=nemo-eagle3,step=1e-4"])
    config = document(table)["turn_on"]["vllm_args"]["speculative_config"]
    assert config["model"] and 1 <= config["num_speculative_tokens"] <= 7
    assert "drawn at random" in " ".join(document(table)["rests_on"])
    with pytest.raises(TraceError, match="lengths only"):
        advise(load, drafters=["ngram"])


def test_engine_limits_are_kept_and_said() -> None:
    limits = Limits(max_num_seqs=6, kv_tokens=16 * 400)
    made = advise(
        rollouts("own"), latency=LATENCY, limits=limits, drafters=["ngram"], budgets=["fixed:k=4"]
    )
    told = document(made)
    assert told["limits"]["max_num_seqs"] == 6 and "max_num_seqs 6" in told["conditions"]
    assert all((choice.max_num_seqs or 7) <= 6 for choice in made.found.seconds)
    assert told["turn_on"]["vllm_args"]["max_num_seqs"] <= 6
    assert "ran at once" not in " ".join(told["turn_on"]["words"])
    with pytest.raises(ComponentError, match="--kv-tokens"):
        advise(rollouts("own"), limits=Limits(kv_tokens=16))


def test_fewer_at_once_where_the_kv_cache_is_too_small_for_more() -> None:
    limits = Limits(kv_tokens=1200, max_num_seqs=64)
    load = rollouts("own", samples=8, length=120, steps=2)
    made = advise(load, latency="linear:base=1e-3,token=1e-3", limits=limits,
                  drafters=["ngram"], budgets=["fixed:k=1+4"])  # fmt: skip
    told, choice = document(made), made.recommended
    assert not choice.speculates and choice.changed
    assert choice.max_num_seqs is not None and choice.max_num_seqs < 64
    assert f"max_num_seqs={choice.max_num_seqs}" in told["recommendation"]["words"]
    assert told["turn_on"]["vllm_args"] == {"max_num_seqs": choice.max_num_seqs}
    assert told["expected"]["low"] > 1
    for other, seconds in made.found.seconds.items():
        if other.changed:  # kept only where it gains
            same = replace(other, max_num_seqs=64, changed=False)
            assert seconds * 1.01 < made.found.seconds[same]


def test_more_or_fewer_requests_than_recorded() -> None:
    few, many = (
        advise(rollouts("own"), latency=LATENCY, drafters=["ngram"], requests=count)
        for count in (4, 96)
    )
    assert all(r.requests == 4 for each in few.measured.results for r in each)
    assert all(r.requests == 96 for each in many.measured.results for r in each)
    assert many.measured.total_s[0] > few.measured.total_s[0]


def test_the_same_question_has_the_same_answer() -> None:
    told = [
        document(advise(rollouts("own", steps=2), latency=LATENCY, drafters=["suffix:scope=own"]))
        for _ in range(2)
    ]
    assert told[0] == told[1]
    shares: list[float] = []
    advise(rollouts("own", steps=1), drafters=["ngram"], progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.mark.parametrize(("simpler", "words"), [(9.0, "2.00x)."), (11.0, "no clear gain")])
def test_a_change_to_what_is_simpler_says_why(history: Advice, simpler: float, words: str) -> None:
    tested = history.sensitivity
    at = next(i for i in range(1, len(tested.choices)) if i != tested.recommended)
    seconds = np.full(len(tested.choices), 20.0)
    seconds[[tested.recommended, at]] = 10.0, simpler
    case = replace(tested.cases[0], seconds=seconds, best=at)
    made = replace(history, sensitivity=replace(tested, cases=(case,)))
    assert words in wrong_when(made)[0] and tested.choices[at].name in wrong_when(made)[0]


def test_one_prompt_tells_no_interval() -> None:
    made = advise(rollouts("own", steps=1, prompts=1), latency=LATENCY, drafters=["ngram"])
    told = document(made)
    assert not made.recommended.speculates  # nothing is clearly better
    drafting = [c for c in told["candidates"] if c["stage"] == "measured" and c["draft_tokens"]]
    assert drafting and all(c["low"] is None for c in drafting)
    assert "no history" in " ".join(told["rests_on"]) or "without any history" in " ".join(
        told["rests_on"]
    )


@pytest.mark.parametrize(
    ("drafter", "message"),
    [
        ("suffix:scope=both,paths=4", "vLLM verifies chains"),
        ("learned", "vLLM verifies chains"),
        ("diffusion:rate=0.5,once=1e-3", "no engine runs it"),
        ("none", "drafts something"),
    ],
)
def test_what_nobody_can_turn_on_is_refused(drafter: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        advise(rollouts("own", steps=1, prompts=2), drafters=[drafter])
