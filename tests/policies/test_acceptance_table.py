"""Tables of acceptance: what is read from files, what the presets say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.policies.components import DRAFTERS
from longtail.policies.drafters.acceptance_table import (
    NEMO_EAGLE3,
    TLT,
    AcceptanceTable,
    geometric_rate,
    rates_of_lengths,
    read_table,
)
from longtail.policies.drafters.table_profile import tree_chances, tree_prior
from longtail.policies.measured import digest_of
from longtail.policies.registry import ComponentError, spec_of


def table(folder: Path, text: str, batch: int = 0) -> AcceptanceTable:
    path = folder / "table.csv"
    path.write_text(text)
    return read_table(str(path), digest_of(str(path), ""), batch)


def test_rates(tmp_path: Path) -> None:
    found = table(tmp_path, "position,rate\n2,0.5\n1,0.75\n")
    assert found.rates.tolist() == [[0.75, 0.5]]
    assert found.longest == 2 and found.at(1000).tolist() == [0.75, 0.5]


def test_counts_are_how_far_drafts_got(tmp_path: Path) -> None:
    found = table(tmp_path, "position,drafted,accepted\n1,100,80\n2,100,60\n3,50,0\n4,50,0\n")
    assert found.rates[0] == pytest.approx([0.8, 0.75, 0, 0])


def test_staleness_is_interpolated_and_not_guessed(tmp_path: Path) -> None:
    text = "position,staleness,rate\n1,0,0.8\n1,10,0.4\n2,0,0.6\n2,10,0.6\n"
    found = table(tmp_path, text)
    assert found.at(0).tolist() == [0.8, 0.6] and found.at(5) == pytest.approx([0.6, 0.6])
    with pytest.raises(ComponentError, match=r"11 RL steps old.*0 … 10.*every="):
        found.at(11)


def test_the_nearest_batch(tmp_path: Path) -> None:
    text = "position,batch,rate\n1,1,0.9\n1,32,0.7\n1,8,0.8\n"
    for batch, rate in ((1, 0.9), (6, 0.8), (19, 0.8), (21, 0.7), (500, 0.7)):
        assert table(tmp_path, text, batch).rates.tolist() == [[rate]]
    with pytest.raises(ComponentError, match=r"1, 8, 32; choose one by batch="):
        table(tmp_path, text)
    with pytest.raises(ComponentError, match="no column batch"):
        table(tmp_path, "position,rate\n1,0.9\n", 4)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("position,share\n1,0.5\n", r"table.csv, row 1: name the columns"),
        ("position,drafted\n1,5\n", r"row 1: name the columns"),
        ("position,rate\n", r"no rows"),
        ("position,rate\n1,0.5\n\n2,1.5\n", r"row 4: rate"),
        ("drafted,accepted\n5,4\n", r"position and rate; or position, drafted and accepted$"),
        ("position,rate\n1,0.5\n2,1.5\n", r"table.csv, row 3: rate is '1.5'; give"),
        ("position,rate\n1,nan\n", r"row 2: rate"),
        ("position,rate\n1\n", r"row 2: rate is 'None'"),
        ("position,rate\n0,0.5\n", r"row 2: position"),
        ("position,rate\n1.5,0.5\n", r"row 2: position"),
        ("position,rate\n1,0.5\n1,0.5\n", r"row 3: position 1 occurs again"),
        ("position,rate\n1,0.5\n3,0.5\n", r"row 3: position 2 is missing before 3"),
        ("position,drafted,accepted\n1,5,6\n", r"row 2: accepted is '6'"),
        (
            "position,drafted,accepted\n1,5,2\n2,5,3\n",
            r"row 3: position 2 was accepted in a larger",
        ),
        ("position,staleness,rate\n1,-1,0.5\n", r"row 2: staleness"),
        ("position,staleness,rate\n1,0,0.5\n2,0,0.5\n1,5,0.5\n", r"give all of them for each"),
    ],
)
def test_no_table(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ComponentError, match=match):
        table(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"nowhere.csv cannot be read .*; name a CSV file"):
        DRAFTERS.make(f"learned:table={tmp_path / 'nowhere.csv'}")


@pytest.mark.parametrize("character", list(",;|()"))
@pytest.mark.parametrize("option", ["learned.table", "diffusion.table", "das.updates"])
def test_a_path_that_no_specification_can_name(tmp_path: Path, character: str, option: str) -> None:
    path = tmp_path / f"a{character}b.csv"
    path.write_text("position,rate,rl_step,size\n1,0.5,1,1\n")
    name, _, key = option.partition(".")
    with pytest.raises(ComponentError, match=rf"b\.csv has '\{character}' in its path"):
        DRAFTERS.make({"name": name, key: str(path), **({"k": 1} if key == "table" else {})})


@given(st.floats(0.0, 0.999), st.integers(1, 128))
def test_the_rate_of_a_geometric_chain(rate: float, terms: int) -> None:
    total = sum(rate**j for j in range(1, terms + 1))
    assert geometric_rate(total, terms) == pytest.approx(rate, abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.3, 0.99)), min_size=1, max_size=5))
def test_rates_from_acceptance_lengths(pieces: list[tuple[int, float]]) -> None:
    """Rates that are equal between the lengths measured come back."""
    rates = np.concatenate([np.full(count, rate) for count, rate in pieces])
    reached = np.cumsum([count for count, _ in pieces])
    lengths = 1 + np.cumsum(np.cumprod(rates))[reached - 1]
    assert rates_of_lengths(reached.tolist(), lengths.tolist()) == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("lengths", [(4.5, 5), (3.0, 2.9), (3.0, 5.5)])
def test_lengths_that_no_drafter_has(lengths: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no drafter"):
        rates_of_lengths((3, 5), lengths)


def test_nemo_rl() -> None:
    """Its three acceptance lengths, from rates that never rise."""
    rates = NEMO_EAGLE3.rates[0]
    for k, length in ((3, 3.32), (5, 4.35), (7, 5.06)):
        assert 1 + np.cumprod(rates[:k]).sum() == pytest.approx(length, abs=1e-9)
    assert (np.diff(rates) <= 0).all()


@pytest.mark.parametrize("depth", TLT.depths)
def test_tlt(depth: int) -> None:
    """Every acceptance length of the figure, from one tree that is cut."""
    found = tree_chances(TLT.accepted(depth, 8), depth).sum(axis=0)
    lengths = TLT.lengths[TLT.depths.index(depth)]
    assert 1 + found[np.array(TLT.verify) - 2] == pytest.approx(lengths, abs=1e-9)


def test_tlt_topk() -> None:
    """Table 1's accepted tokens, relative to those at the figure's topK."""
    usual = TLT.accepted(10, 8)[-1]
    for topk, length in ((4, 8.29), (6, 8.66), (10, 8.67), (16, 8.42)):
        assert TLT.accepted(10, topk)[-1] / usual == pytest.approx((length - 1) / (8.67 - 1))
    assert TLT.accepted(10, 4)[-1] < TLT.accepted(10, 5)[-1] < usual


@given(st.integers(4, 16), st.integers(4, 16))
def test_trees_are_possible(depth: int, topk: int) -> None:
    """A node more never hurts, adds at most one token and no more than the one before (but where
    the figure itself bends), and the first of them matches at most once.
    """
    accepted = TLT.accepted(depth, topk)
    gains = np.diff(accepted, prepend=0)
    assert (gains >= 0).all() and gains[0] < 1
    assert (np.diff(gains[:15]) <= 0).all() and gains[15] <= gains[14]
    chances = tree_chances(accepted, depth)
    assert chances.sum(axis=0) == pytest.approx(accepted, abs=1e-9)
    assert (np.diff(chances, axis=0) <= 0).all() and (np.diff(chances, axis=1) >= 0).all()
    assert (
        chances[1:, 1:] <= chances[:-1, :-1]
    ).all()  # b nodes: one token more than b - 1 at most
    assert (np.tril(chances, -1)[:, : len(chances)] == 0).all()  # no more levels than nodes


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20), st.integers(1, 8))
def test_any_tree(gains: list[float], depth: int) -> None:
    """Chances of what no tree can do stay below it, and are ordered."""
    chances = tree_chances(np.cumsum(gains), depth)
    assert (chances.sum(axis=0) <= np.cumsum(gains) + 1e-9).all()
    assert (np.diff(chances, axis=1) >= 0).all()
    assert (chances[1:, 1:] <= chances[:-1, :-1]).all()


@given(st.integers(4, 16), st.integers(2, 128))
def test_the_prior_of_a_tree(depth: int, verify: int) -> None:
    """It falls, and adds up to the accepted tokens."""
    accepted = TLT.accepted(depth, 8)[: verify - 1]
    prior = tree_prior(tree_chances(accepted, depth))
    assert prior.shape == (256,) and (prior[verify - 1 :] == 0).all() and (prior <= 1).all()
    assert (np.diff(prior) <= 1e-12).all()
    assert prior.sum() == pytest.approx(accepted[-1], abs=1e-6)


def test_outside_of_the_figure() -> None:
    for depth, topk in ((3, 8), (17, 8), (8, 3), (8, 17)):
        with pytest.raises(ComponentError, match="tells of 4 … 16"):
            TLT.accepted(depth, topk)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("learned:table=tlz", "tlz cannot be read"),
        ("learned:k=3", "tlt is of trees"),
        ("learned:depth=3", "depth=3"),
        ("learned:topk=20", "topk=20"),
        ("learned:verify=1", "verify=1"),
        ("learned:table=nemo-eagle3,depth=5", "nemo-eagle3 is of chains"),
        ("learned:table=nemo-eagle3,k=8", "ends at position 7"),
        ("learned:batch=4", "leave out digest and batch"),
        ("learned:digest=ab", "leave out digest and batch"),
        ("learned:floor=0.5", "give half_life"),
        ("learned:recover=5", "give start"),
        ("diffusion:digest=ab", "name it by table="),
        ("diffusion:rate=1.5", "rate"),
    ],
)
def test_options_that_do_not_go_together(spec: str, match: str) -> None:
    with pytest.raises(ComponentError, match=match):
        DRAFTERS.make(spec)


def test_a_table_that_changed(tmp_path: Path) -> None:
    """Equal specifications mean equal drafts."""
    path = tmp_path / "t.csv"
    for name in ("learned", "diffusion"):
        path.write_text("position,rate\n" + "".join(f"{i},0.5\n" for i in range(1, 9)))
        before = spec_of(DRAFTERS.make(f"{name}:table={path}"))
        assert DRAFTERS.make(before).longest_draft == 8
        path.write_text("position,rate\n" + "".join(f"{i},0.6\n" for i in range(1, 9)))
        assert spec_of(DRAFTERS.make(f"{name}:table={path}")) != before
        with pytest.raises(ComponentError, match="another file"):
            DRAFTERS.make(before)
