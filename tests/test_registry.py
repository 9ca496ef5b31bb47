"""Components by name: every file in a kind's folder, its options, and clear refusals."""

import dataclasses

import pytest

from longtail.policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from longtail.policies.latency.presets import LATENCIES, PRESETS, make_latency
from longtail.policies.registry import ComponentError, Registry, describe, spec_of

KINDS = [DRAFTERS, BUDGETS, PLACEMENTS, LATENCIES]
EVERY = [(kind, name) for kind in KINDS for name in kind.classes]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_component_says_what_it_is(kind: Registry, name: str) -> None:
    cls = kind.classes[name]
    assert cls.__doc__ and cls.source
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert all(help for _, _, help in describe(cls))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_spec_makes_the_same_component_again(kind: Registry, name: str) -> None:
    made = kind.make(name)
    assert kind.make(spec_of(made)) == made


def test_presets_are_components_with_a_source() -> None:
    for name, (_, source) in PRESETS.items():
        assert make_latency(name).params.dtype == float
        assert "prior" in source


def test_options_are_converted() -> None:
    drafter = DRAFTERS.make("suffix:scope=own,depth=12,min_prob=.25")
    assert (drafter.scope, drafter.depth, drafter.min_prob) == ("own", 12, 0.25)
    assert DRAFTERS.make({"name": "suffix", "depth": 12}).depth == 12
    assert LATENCIES.make("piecewise:tokens=1/10,time=.1/.2").tokens == (1.0, 10.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sufix", "did you mean 'suffix'"),
        ("suffix:dept=3", "did you mean 'depth'"),
        ("suffix:depth", "key=value"),
        ("suffix:depth=two", "not an integer"),
        ("suffix:depth=1.5", "not an integer"),
        ("suffix:depth=1", "at least 2"),
        ("suffix:scope=some", "not one of problem, own, both, global, all"),
        ("suffix:min_prob=nan", "not a number"),
        ("ngram:min=6,max=3", "min=6 is above max=3"),
    ],
)
def test_a_wrong_spec_is_refused_with_a_remedy(spec: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        DRAFTERS.make(spec)
