"""Whatever a policy file says is understood, or refused in words that name the file."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.engine.settings import KEYS, LiveSettings
from longtail.policies.batch import MAX_DRAFT
from longtail.policies.registry import ComponentError
from longtail.traces import TraceError

# There and back

drafters = st.one_of(
    st.just("none"),
    st.builds("ngram:k={},min={},max=9".format, st.integers(0, 128), st.integers(1, 9)),
    st.builds(
        "suffix:scope={},window={},factor={!r},min_prob={!r},max={}".format,
        st.sampled_from(["own", "problem", "both"]),
        st.integers(0, 99),
        st.floats(0, 1e6),
        st.floats(0, 1),
        st.integers(0, 128),
    ),
)
budgets = st.one_of(
    st.sampled_from(["unlimited", "das"]),
    st.builds("fixed:k={}".format, st.integers(0, 128)),
    st.builds("das:cold={!r},window={}".format, st.floats(0, 100), st.integers(0, 99)),
)
points = st.lists(st.integers(0, 10**6), min_size=2, max_size=4, unique=True).map(sorted)
latencies = st.one_of(
    st.sampled_from(["h100-7b", "h100-7b-points"]),
    st.builds("linear:base={!r},token={!r}".format, st.floats(0, 1), st.floats(0, 1)),
    st.builds("h100-7b:kv_token={!r}".format, st.floats(0, 1)),
    points.map(
        lambda tokens: "piecewise:tokens={},time={}".format(
            "/".join(map(str, tokens)), "/".join(str(t / 8) for t in tokens)
        )
    ),
)
paths = st.none() | st.text("ab/ ~.#:-'\"é0", min_size=1, max_size=8).map(lambda s: "/x" + s)
policies = st.fixed_dictionaries(
    {},
    optional={
        "drafter": drafters,
        "budget": budgets,
        "placement": st.just("fcfs"),
        "latency": latencies,
        "longest_draft": st.none() | st.integers(0, MAX_DRAFT),
        "coupled": st.booleans(),
        **dict.fromkeys(("log", "record", "history", "rl_step_file"), paths),
    },
)


def in_file(text: str | bytes, read: Callable[[Path], Any] = LiveSettings.read) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(path)


@settings(max_examples=150, deadline=None)
@given(policies)
def test_settings_survive_files_and_mappings(values: dict[str, Any]) -> None:
    told = LiveSettings.of(values)
    there = told.to_dict()
    assert LiveSettings.of(there) == told
    assert LiveSettings.of(there).to_dict() == there
    assert json.loads(json.dumps(there)) == there
    assert in_file(yaml.safe_dump(there)) == told
    assert in_file(yaml.safe_dump(values)) == told
    assert 0 <= told.k <= MAX_DRAFT and set(there) <= set(KEYS)


def test_measured_points_survive_to_the_last_digit() -> None:
    told = LiveSettings(latency="piecewise:tokens=1/2,time=0.12345678901234/0.3")
    assert LiveSettings.of(told.to_dict()) == told


def test_without_a_word_nothing_is_drafted_or_kept() -> None:
    told = LiveSettings.of({})
    assert told == LiveSettings() and told.k == 0 and not told.coupled
    assert told.log is told.record is told.history is told.rl_step_file is None


def test_a_file_may_write_components_as_mappings_and_keys_with_dashes() -> None:
    text = """
        drafter: {name: suffix, window: 8}
        latency: {name: h100-7b, kv_token: 1e-8}
        longest-draft: 4
        rl-step-file: /run/step
    """
    assert in_file(text) == LiveSettings(
        "suffix:window=8",
        latency="h100-7b:kv_token=1e-8",
        longest_draft=4,
        rl_step_file="/run/step",  # type: ignore[arg-type]
    )
    of_mapping = LiveSettings.of({"drafter": {"name": "suffix", "window": 8}})
    assert of_mapping == LiveSettings("suffix:window=8")


def test_a_mapping_may_name_a_preset_latency() -> None:
    assert LiveSettings.of({"latency": {"name": "h100-7b"}}) == LiveSettings()


def test_settings_remember_their_file_but_are_equal_without() -> None:
    def source(path: Path) -> tuple[str, str]:
        return LiveSettings.read(str(path)).source, str(path)

    said, path = in_file("drafter: ngram", source)
    assert said == path
    assert in_file("drafter: ngram") == LiveSettings("ngram")


def test_a_path_is_made_absolute_and_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/mine")
    told = LiveSettings.of({"log": "steps", "record": "~/rollouts"})
    assert told.log == Path("steps") and told.record == Path("/home/of/mine/rollouts")
    assert told.to_dict()["log"] == str(Path.cwd() / "steps")


# K


@given(
    st.none() | st.integers(0, MAX_DRAFT),
    st.integers(0, MAX_DRAFT),
    st.sampled_from(["ngram:k={}", "suffix:max={}"]),
)
def test_k_is_the_smaller_of_both(asked: int | None, own: int, drafter: str) -> None:
    told = LiveSettings(drafter.format(own), longest_draft=asked)
    assert told.k == told.longest_draft == (own if asked is None else min(asked, own))


class Greedy:
    name = "greedy"
    longest_draft = MAX_DRAFT + 1


def test_a_drafter_beyond_what_vllm_verifies_needs_a_smaller_k() -> None:
    with pytest.raises(ComponentError, match=r"greedy.*129.*128"):
        LiveSettings(Greedy())
    assert LiveSettings(Greedy(), longest_draft=MAX_DRAFT).k == MAX_DRAFT


# Refused

WRONG = {
    "budgt: das": "did you mean 'budget'",
    "longest_drafts: 3": "did you mean 'longest_draft'",
    "zzz: 1": "drafter, budget",
    "source: x": "unknown key 'source'",
    "1: 2": "unknown key '1'",
    "drafter: sufix": "did you mean 'suffix'",
    "drafter: ''": "unknown drafter",
    "drafter: eagle": "known: best_of, das, diffusion, grouped, histospec, learned, ngram, none, "
    "specrl, suffix",
    "drafter: suffix:windw=3": "did you mean 'window'",
    "drafter: suffix:scope=some": "problem, own, both",
    "drafter: {k: 3}": "needs the key 'name'",
    "drafter: {name: ngram, k: {a: 1}}": "not an integer",
    "drafter: ngram:min=4,max=3": "min=4 is above max=3",
    "drafter: ngram:k=129": "at most 128",
    "drafter: learned": "cannot draft in an engine",
    "drafter: suffix:paths=3": "use paths=1",
    "budget: unlimitd": "did you mean 'unlimited'",
    "budget: fixed:k=-1": "at least 0",
    "placement: fifo": "unknown placement",
    "latency: h100": "did you mean 'h100-7b'",
    "latency: linear:base=x": "not a number",
    "latency: piecewise:tokens=1/2": "same number of points",
    "longest_draft: 129": "from 0 to 128",
    "longest_draft: 1.5": "got 1.5",
    "longest_draft: '4'": "got '4'",
    "longest_draft: true": "got True",
    "coupled: 1": "true or false",
    "coupled:": "true or false",
    "log: 5": "log must be a path",
    "record: ''": "record must be a path",
    "history: [a, b]": "history must be a path",
    "rl_step_file: {a: b}": "rl_step_file must be a path",
}
BARE = {
    "drafter:": "AttributeError",
    "drafter: 5": "AttributeError",
    "drafter: [ngram]": "AttributeError",
    "budget:": "accepted, fails in the engine",
    "placement: [fcfs]": "accepted",
    "latency: 0.01": "accepted, fails in the engine",
    "log: ~nobody-of-this-name/steps": "RuntimeError of expanduser",
}


def refusal(text: str | bytes) -> tuple[Exception, Path]:
    def read(path: Path) -> tuple[Exception, Path]:
        with pytest.raises((TraceError, ComponentError)) as caught:
            LiveSettings.read(path)
        return caught.value, path

    return in_file(text, read)


@pytest.mark.parametrize(
    "text",
    [
        *WRONG,
        *BARE,
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text: str) -> None:
    error, path = refusal(text)
    assert str(error).startswith(str(path)) and "\n" not in str(error)
    words = WRONG.get(text, text.partition(":")[0])
    assert re.search(words, str(error))
    with pytest.raises(ComponentError, match=words):
        LiveSettings.of(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    ["", "- drafter", "ngram", "[1", "a: b: c", "drafter: !!python/name:os.x y", b"\xff\xfe\xff"],
)
def test_what_is_no_mapping_of_words_is_refused(text: str | bytes) -> None:
    error, path = refusal(text)
    assert isinstance(error, TraceError) and str(path) in str(error) and "\n" not in str(error)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(TraceError, match="cannot be read") as caught:
            LiveSettings.read(path)
        assert str(caught.value).startswith(str(path))


words = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KEYS[4:]), words.filter(lambda value: not str(value).startswith("~")))
def test_nothing_but_a_clear_error_comes_of_any_value(key: str, value: Any) -> None:
    try:
        told = LiveSettings.of({key: value})
    except ComponentError as error:
        assert key in str(error)
    else:
        assert told.to_dict().keys() <= set(KEYS)


def test_an_option_that_is_no_word_is_refused() -> None:
    with pytest.raises(ComponentError, match="no option '5'"):
        LiveSettings.of({"drafter": {"name": "ngram", 5: 3}})


@pytest.mark.parametrize("values", [None, [], 5])
def test_a_policy_that_is_no_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ComponentError):
        LiveSettings.of(values)
