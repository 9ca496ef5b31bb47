"""The noise, against SplitMix64 in plain integers and against the distributions it should have."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vllm_runs import chi_square_p  # noqa: E402

from longtail.engine import noise  # noqa: E402

BITS = (1 << 64) - 1


def splitmix64(key, index):
    """The `index`-th output after `key`, as in splitmix64.c."""
    z = (key + (index + 1) * noise.GAMMA) & BITS
    z = ((z ^ (z >> 30)) * noise.MIX_1) & BITS
    z = ((z ^ (z >> 27)) * noise.MIX_2) & BITS
    return z ^ (z >> 31)


def keys_of(positions, seed=0):
    key = np.array([noise.request_key(seed, [1, 2, 3])] * len(positions), np.uint64)
    return torch.from_numpy(noise.row_keys(key, np.asarray(positions)))


def test_the_published_first_outputs():
    """Of splitmix64 seeded with 1234567, as other implementations test themselves."""
    outputs = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix64(1234567, i) for i in range(3)] == outputs


def test_noise_is_splitmix64():
    key, positions, vocab = noise.request_key(7, [1, 2, 3]), [0, 1, 2, 1000, 10**6], 300
    rows = [splitmix64(key, position) for position in positions]
    assert keys_of(positions, 7).tolist() == [(row ^ 1 << 63) - (1 << 63) for row in rows]
    uniform = [[(splitmix64(row, t) >> 12) + 0.5 for t in range(vocab)] for row in rows]
    expected = -np.log(-np.log(np.array(uniform) * 2.0**-52))
    np.testing.assert_allclose(noise.gumbel(keys_of(positions, 7), vocab), expected, rtol=1e-6)


def test_extreme_bits_give_finite_noise():
    for bits in (0, (1 << 52) - 1):
        assert np.isfinite(-np.log(-np.log((bits + 0.5) * 2.0**-52)))


def test_keys_differ():
    requests = {noise.request_key(seed, [prompt]) for seed in range(30) for prompt in range(30)}
    assert len(requests) == 900
    assert noise.request_key(1, [2, 3]) != noise.request_key(1, [3, 2])
    assert len(set(keys_of(np.arange(10_000)).tolist())) == 10_000


def test_moments_and_independence():
    """Mean and variance of a standard Gumbel; neighbours in either direction do not correlate."""
    draws = noise.gumbel(keys_of(np.arange(1000)), 1000).double().numpy()
    assert draws.mean() == pytest.approx(np.euler_gamma, abs=5 * 1.283 / 1000)
    assert draws.var() == pytest.approx(np.pi**2 / 6, abs=0.02)
    flat = draws - draws.mean()
    for a, b in ((flat[1:], flat[:-1]), (flat[:, 1:], flat[:, :-1])):
        assert abs((a * b).mean() / draws.var()) < 5 / 1000


@pytest.mark.parametrize("by", ["position", "seed"])
def test_choices_have_the_softmax_distribution(by):
    rows, vocab = 200_000, 40
    logits = torch.linspace(-3, 3, vocab).expand(rows, vocab).clone()
    logits[:, 7] = -torch.inf  # as top-k leaves it
    if by == "position":
        keys = keys_of(np.arange(rows))
    else:
        requests = np.array([noise.request_key(seed, [5]) for seed in range(rows)], np.uint64)
        keys = torch.from_numpy(noise.row_keys(requests, np.zeros(rows, np.int64)))
    seen = np.bincount(noise.choose(logits, keys), minlength=vocab)
    expected = rows * logits[0].softmax(0).double().numpy()
    assert seen[7] == 0
    rest = np.arange(vocab) != 7
    statistic = ((seen - expected)[rest] ** 2 / expected[rest]).sum()
    assert chi_square_p(statistic, vocab - 2) > 0.01


def test_a_row_s_choice_does_not_depend_on_its_batch(monkeypatch):
    logits, keys = torch.randn(50, 64), keys_of(np.arange(50))
    together = noise.choose(logits, keys)
    assert torch.equal(
        together, torch.cat([noise.choose(logits[[i]], keys[[i]]) for i in range(50)])
    )
    monkeypatch.setattr(noise, "EAGER_ELEMENTS", 7 * 64)
    assert torch.equal(together, noise.choose(logits, keys))
    assert len(noise.choose(logits[:0], keys[:0])) == 0
