"""The numbers behind the draws: by crafted words, as what is rare cannot be waited for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gibbsite.ops import Kernels, Numba, kernels, numba_kernels, random
from gibbsite.training import fused_kernels

numba, plain = Numba(), Kernels()

TOP = 2**32 - 1
words = st.one_of(st.integers(0, TOP), st.integers(0, 2**12), st.integers(TOP - 2**12, TOP))

LOW_KEY, LOW_WORD = 1836991927, 0
HIGH_KEY, HIGH_WORD = 28454778, 4294967102
"""Keys, found by trying 2^31, for which the first word of a table is so near an end."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def decided(x: float, number: int) -> bool:
    """The draw at log-odds x for a u of 56 random bits."""
    word, second = np.uint32(number >> 32 << 8), np.uint32(number & TOP)
    return bool(random.is_below(sigmoid(x), sigmoid(-x), word, second))


def rate(x: float) -> tuple[float, float]:
    """The exact rates of ones and of zeros at log-odds x, as u below a threshold give a one."""
    low, high = 0, 2**56
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if decided(x, middle) else (low, middle)
    return low / 2**56, (2**56 - low) / 2**56


@pytest.mark.parametrize("x", [0.0, 1.0, math.log(1e-3), math.log(1e-6), math.log(1e-9), -23.0])
def test_what_is_rare_comes_at_its_rate(x):
    """A one at -x and a zero at x, down to 1e-10; the last bit of u is 2^-56."""
    for odds in (x, -x):
        ones, zeros = rate(odds)
        assert ones == pytest.approx(sigmoid(odds), rel=1e-6)
        assert zeros == pytest.approx(sigmoid(-odds), rel=1e-6)


def test_a_model_of_two_sharp_states_is_in_detailed_balance():
    """One visible and one hidden unit, W = 40, b = c = -20: 00 and 11 are as likely, 2e-9 apart."""
    states = [0, 1]
    energy = np.array([[20 * v + 20 * h - 40 * v * h for h in states] for v in states])
    p = np.exp(-energy) / np.exp(-energy).sum()
    moves = np.array([rate(40.0 * x - 20)[::-1] for x in states])  # of h given v, and v given h
    step = moves @ moves  # v to h to v
    flow = p.sum(1)[:, None] * step
    assert flow[0, 1] == pytest.approx(flow[1, 0], rel=1e-6)
    assert flow[0, 1] == pytest.approx(sigmoid(-20.0), rel=1e-6)


@given(word=words)
def test_uniform_lies_strictly_inside(word):
    u = random.uniform(np.uint32(word))
    assert 0 < u < 1
    assert abs(float(u) - ((word >> 8) + 0.5) * 2**-24) <= 2**-24


@given(
    x=st.one_of(st.floats(-100, 100), st.floats(-1, 1), st.sampled_from([-1e9, 1e9])),
    nearby=st.integers(-40, 40),
    word=st.one_of(words, st.none()),
)
def test_the_first_word_decides_only_where_no_second_could_change_it(x, nearby, word):
    """At any word, or at those around p."""
    if word is None:
        word = min(max(round(sigmoid(max(x, -700.0)) * 2**24) + nearby, 0), 2**24 - 1) << 8
    x, word = float(np.float32(x)), np.uint32(word)
    gap, limit = random.relative_gap(x, word)
    if abs(gap) >= limit:
        p, q = (sigmoid(min(max(odds, -700.0), 700.0)) for odds in (x, -x))
        ends = {bool(random.is_below(p, q, word, np.uint32(second))) for second in (0, TOP)}
        assert ends == {bool(gap < 0)}


@pytest.mark.parametrize("x", np.linspace(-30, 30, 13))
def test_doubt_is_rare_and_leads_to_the_slow_decision(x):
    """At most 2^-20 of the words are in doubt, all around p, and all are drawn again."""
    k = round(sigmoid(x) * 2**24)
    near = [np.uint32(j << 8) for j in range(max(k - 30, 0), min(k + 31, 2**24))]
    gaps = [(word, *random.relative_gap(np.float32(x), word)) for word in near]
    doubts = [word for word, gap, limit in gaps if abs(gap) < limit]
    assert 1 <= len(doubts) <= 18
    assert all(random.doubtful(sigmoid(x), word) for word in doubts)


def philox(places: np.ndarray, third: int, key: int) -> np.ndarray:
    """Philox4x32-10 of the counters (place, 0, third, 0), (4, places), in 64-bit integers."""
    low32, shift = np.uint64(TOP), np.uint64(32)
    c = [
        np.asarray(places, np.uint64),
        *(np.full(len(places), x, np.uint64) for x in (0, third, 0)),
    ]
    for k in range(10):
        k0, k1 = (key + k * 0x9E3779B9) & TOP, ((key >> 32) + k * 0xBB67AE85) & TOP
        low, high = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c[0], c[2] = (high >> shift) ^ c[1] ^ np.uint64(k0), (low >> shift) ^ c[3] ^ np.uint64(k1)
        c[1], c[3] = high & low32, low & low32
    return np.array(c)


def all_words(number: int, key: int) -> np.ndarray:
    """The words of the first group of a table that has so many places, a multiple of 4."""
    return philox(np.arange(number // 4), 0, key).reshape(-1)


def drawn_with(key: int, monkeypatch) -> np.ndarray:
    array = np.array([key], dtype=np.uint64)
    monkeypatch.setattr(numba_kernels, "key", lambda generator: array)
    return array


def paths(x: float, dtype: torch.dtype, key: np.ndarray) -> dict[str, torch.Tensor]:
    """Each way to draw a table at log-odds x: the first unit of each."""
    odds = torch.full((2, 3), x, dtype=dtype)
    bias, shares = torch.zeros(3, dtype=dtype), torch.sigmoid(odds.double()).to(dtype)
    found = {
        "bernoulli": numba.draw_bernoulli_(odds.clone(), bias),
    }
    if dtype == torch.float64 or x < 0:  # float32 has no numbers that near to 1
        found["probabilities"] = numba.draw_probabilities_(shares.clone())
    if dtype == torch.float32:
        part, along = odds.clone(), torch.empty_like(odds)
        fused_kernels.draw_units(part.numpy(), bias.numpy(), np.float32(1), key)
        fused_kernels.mean_and_draw(odds.clone().numpy(), bias.numpy(), 0, key, along.numpy())
        found |= {"a part of fused updates": part, "with their mean": along}
    if dtype == torch.float32 and x < 0:
        one = np.arange(2)
        found["gathered"] = numba.gather_and_draw(shares.numpy(), one, 1.0, 0.0)
    return {name: draws[0, 0].item() for name, draws in found.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("key", "word", "sign"), [(LOW_KEY, LOW_WORD, -1), (HIGH_KEY, HIGH_WORD, 1)]
)
def test_every_way_to_draw_asks_for_a_second_word(monkeypatch, dtype, key, word, sign):
    """A one where p is 0.1 % above u and none where it is as much below; u is 1e-8 from an end."""
    array = drawn_with(key, monkeypatch)
    assert all_words(4, key)[0] == word
    second = int(philox(np.zeros(1), 1, key)[0, 0])
    rare = ((second if sign < 0 else TOP - second) + 0.5) * 2.0**-56
    assert 1e-9 < rare < 6e-8
    for factor in (0.999, 1.001):
        found = paths(sign * (math.log1p(-factor * rare) - math.log(factor * rare)), dtype, array)
        assert set(found.values()) == {(factor > 1) == (sign < 0)}, found


def normals(a, b, c, d=0):
    """Box and Muller in double precision: u = a + b 2^-32, the angle from c + d 2^-32."""
    radius = np.sqrt(-2 * np.log((a * 2.0**32 + b + 0.5) * 2.0**-64))
    angle = (c * 2.0**32 + d) * 2.0**-64 * 2 * np.pi
    return radius * np.cos(angle), radius * np.sin(angle)


@pytest.mark.parametrize("key", [LOW_KEY, HIGH_KEY, 2**63 + 5])
@pytest.mark.parametrize("n", [4, 512])
def test_normal_draws_are_those_of_box_and_muller(monkeypatch, key, n):
    """A whole group, in float32 and in float64; a key has a first word of 0, one of nearly 1."""
    drawn_with(key, monkeypatch)
    shape = 2048 // n, n
    x, zero, one = torch.zeros(shape), torch.zeros(n), torch.ones(n)
    word = all_words(2048, key).reshape(2, -1)
    second = np.where(word[0] < 2**16, philox(np.arange(1024), 1, key)[0], 0)
    expected = np.reshape(normals(*np.array([word[0], second, word[1]], float)), shape)
    found = numba.draw_gaussian_(x.clone(), zero, one).numpy()
    # the smallest radius is as coarse as float32 is near u = 1
    np.testing.assert_allclose(found, expected, atol=1e-4 if key == HIGH_KEY else 3e-6)
    expected = np.reshape(normals(*all_words(4096, key).reshape(4, -1).astype(float)), shape)
    found = numba.draw_gaussian_(x.double(), zero.double(), one.double()).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-14)


def radius(number: int) -> float:
    """Of the pair of float32 normals at an angle of 0 whose first two words are those 64 bits."""
    word, second = np.uint32(number >> 32), np.uint32(number & TOP)
    rare = word < random.RARE
    u = np.float32(random.uniform64(word, second)) if rare else random.uniform31(word)
    pair = random.normal_pair(np.float32(u), np.uint32(0))
    return float(pair[0])


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0, 4.5, 4.8, 5.5, 6.0, 7.0, 8.0, 9.0])
def test_normal_tails_are_right_to_beyond_8_sigma(t):
    """P(radius > t) = exp(-t^2 / 2), as it falls with u; float32 rounds t, and u beside 2^-16."""
    low, high = 0, 2**64
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if radius(middle) > t else (low, middle)
    assert low / 2**64 == pytest.approx(math.exp(-t * t / 2), rel=1e-6 * t * t + 2**-15)


@given(a=words, b=words, c=words, d=words)
def test_normals_in_float64_are_exact_and_finite(a, b, c, d):
    found = random.normal_pair_double(*map(np.uint32, (a, b, c, d)))
    expected = normals(*map(float, (a, b, c, d)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-14)


def test_float64_noise_uses_all_its_bits():
    """Noise of float32 would have 29 bits of 0 at the end."""
    x = numba.draw_gaussian_(
        torch.zeros(50, 7).double(), torch.zeros(7).double(), torch.ones(7).double()
    )
    tails = x.numpy().view(np.int64) & (2**29 - 1)
    assert len(np.unique(tails)) > 300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("x", [-20.0, 20.0])
def test_plain_torch_draws_what_is_rare_at_its_rate_too(monkeypatch, dtype, x):
    """At numbers u around p, and where torch gives 0 or its largest number."""
    given = [0.0, 1 - 2.0**-53, sigmoid(x) * (1 - 1e-3), sigmoid(x) * (1 + 1e-3)]
    if x > 0:
        given[2:] = [1 - sigmoid(-x) * (1 + 1e-3), 1 - sigmoid(-x) * (1 - 1e-3)]

    def rand(shape, dtype, device, generator):
        assert dtype == torch.float64
        return torch.tensor(given, dtype=dtype).reshape(shape)

    monkeypatch.setattr(torch, "rand", rand)
    inside = kernels.uniform(torch.zeros(4))
    assert inside.min() > 0
    assert inside.max() < 1
    odds, bias = torch.full((4, 1), x, dtype=dtype), torch.zeros(1, dtype=dtype)
    assert plain.draw_bernoulli_(odds, bias).flatten().tolist() == [1, 0, 1, 0]
    zero_and_one = torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=dtype)
    assert torch.equal(plain.draw_probabilities_(zero_and_one.clone()), zero_and_one)


def test_plain_torch_takes_noise_from_float64(monkeypatch):
    def randn(shape, dtype, device, generator):
        assert dtype == torch.float64
        return torch.full(shape, 8.3, dtype=dtype)

    monkeypatch.setattr(torch, "randn", randn)
    x = plain.draw_gaussian_(torch.zeros(2, 1), torch.ones(1), torch.full((1,), 2.0))
    torch.testing.assert_close(x, torch.full((2, 1), 17.6))
