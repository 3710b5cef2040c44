"""Draws of rectified units: the law, every backend, all words of a place, threads, odd inputs."""

import math

import numpy as np
import pytest
import torch
from montecarlo import hoeffding
from scipy.special import log_ndtr
from scipy.stats import kstest, norm, truncnorm

from gibbsite.ops import Kernels, Numba

numba, plain = Numba(), Kernels()
each_backend = pytest.mark.parametrize("kernels", [plain, numba], ids=["plain", "numba"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

ROWS = 20_000
FAR = [-1e4, -60.0, -5.0, -1.0, -0.01, 0.0, 0.44, 0.46, 2.0, 30.0]
"""Inputs on either side of each switch of the proposals."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(values, dtype=torch.float32, rows: int = ROWS) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).repeat(rows, 1)


def assert_law(x: np.ndarray, cdf) -> None:
    """Kolmogorov-Smirnov, at a significance of 1e-6."""
    assert kstest(x, cdf).pvalue > 1e-6


def half_normal_cdf(z: float):
    """Of t >= 0 with density exp(-t^2/2 + z t); far below 0 the ratio of R is that of 1/|z|."""
    if z < -50:
        return lambda t: -np.expm1(z * t - t * t / 2 - np.log1p(-t / z))
    return truncnorm(-z, np.inf, loc=z).cdf


def either_cdf(plus, minus, gamma_plus, gamma_minus):
    """Of exp(a x - gamma x^2 / 2) with a and gamma of the side, by normal probabilities."""
    s, r = 1 / math.sqrt(gamma_plus), 1 / math.sqrt(gamma_minus)
    upper = (plus * s) ** 2 / 2 + math.log(s) + log_ndtr(plus * s)
    lower = (minus * r) ** 2 / 2 + math.log(r) + log_ndtr(-minus * r)
    p = 1 / (1 + math.exp(lower - upper))

    def cdf(x):
        above = truncnorm(-plus * s, np.inf, loc=plus * s * s, scale=s).cdf(x)
        below = truncnorm(-np.inf, -minus * r, loc=minus * r * r, scale=r).cdf(x)
        return np.where(x < 0, (1 - p) * below, 1 - p + p * above)

    return cdf, p


@each_backend
@each_dtype
def test_rectified_draws(kernels, dtype):
    gamma = torch.linspace(0.3, 3.0, len(FAR), dtype=dtype)
    bias = torch.linspace(-1.0, 1.0, len(FAR), dtype=dtype)
    x = constant(FAR, dtype) * gamma.sqrt() - bias  # so that the standard inputs are FAR
    drawn = kernels.draw_rectified_(x, bias, gamma, generator())
    assert drawn is x
    assert x.dtype == dtype
    t = (x.double() * gamma.double().sqrt()).numpy()
    assert (t >= 0).all()
    for column, z in zip(t.T, FAR, strict=True):
        assert_law(column, half_normal_cdf(z))


SIDES = [(0.0, 0.0, 1.0, 1.0), (2.0, -2.0, 1.0, 4.0), (-3.0, 5.0, 0.5, 2.0), (9.0, -9.0, 1.0, 1.0)]
SIDES += [(-6.0, 6.0, 3.0, 0.2), (1.5, -1.0, 0.7, 0.3), (0.5, 0.4, 1.0, 1.0)]


@each_backend
@each_dtype
@pytest.mark.parametrize("inputs", [0.0, 1.3])
def test_double_rectified_draws(kernels, dtype, inputs):
    plus, minus, gamma_plus, gamma_minus = torch.tensor(SIDES, dtype=dtype).T.contiguous()
    x = torch.full((ROWS, len(SIDES)), inputs, dtype=dtype)
    kernels.draw_double_rectified_(x, (plus, minus), (gamma_plus, gamma_minus), generator(1))
    for column, (a, b, c, d) in zip(x.double().numpy().T, SIDES, strict=True):
        cdf, p = either_cdf(a + inputs, b + inputs, c, d)
        assert_law(column, cdf)
        assert abs((column > 0).mean() - p) < hoeffding(ROWS)


@each_backend
def test_temperature(kernels):
    """Draws at bias + scale x: those of the inputs worked out beforehand."""
    n = 3
    x, bias = torch.randn(2000, n, generator=generator()), torch.zeros(n)
    gamma = torch.tensor([0.5, 1.0, 2.0])
    moved = 0.4 * x
    one = kernels.draw_rectified_(x.clone(), bias, gamma, generator(), 0.4)
    two = kernels.draw_rectified_(moved.clone(), bias, gamma, generator())
    # rounding of the inputs may turn a rejection around
    assert (~torch.isclose(one, two, rtol=1e-4, atol=1e-6)).float().mean().item() < 1e-3
    pair = (bias, bias - 0.5), (gamma, gamma + 1)
    one = kernels.draw_double_rectified_(x.clone(), *pair, generator(), 0.4)
    two = kernels.draw_double_rectified_(moved.clone(), *pair, generator())
    assert (~torch.isclose(one, two, rtol=1e-4, atol=1e-6)).float().mean().item() < 1e-3


def key(seed: int) -> np.ndarray:
    return np.array([seed], np.int64)


@pytest.mark.parametrize("z", [-4.0, 0.0, 0.6])
def test_words_that_are_too_small_are_made_finer(z):
    """The path that one draw in ten thousand takes, taken by all."""
    from gibbsite.ops import rectified

    count, random = 2048, np.random.default_rng(0)
    drawn = []
    for group in range(20):
        t = np.full(count, rectified.UNCLEAR, np.float32)
        word = random.integers(0, 2**32, (2, count), np.uint32)
        rectified.finish(t, np.full(count, z, np.float32), word[0], word[1], group, key(5))
        drawn.append(t)
    assert_law(np.concatenate(drawn), half_normal_cdf(z))


def test_small_words_of_either_side_are_made_finer():
    from gibbsite.ops import rectified

    count, random, (a, b, c, d) = 2048, np.random.default_rng(0), SIDES[2]
    full = [np.full(count, value, np.float32) for value in (a / c**0.5, -b / d**0.5)]
    lean = np.full(count, math.log(d / c) / 2, np.float32)
    drawn = []
    for group in range(20):
        t, side = np.full(count, rectified.UNCLEAR, np.float32), np.zeros(count, np.float32)
        word = random.integers(0, 2**32, (3, count), np.uint32)
        rectified.finish_either(t, side, *full, lean, word, group, key(6))
        drawn.append(np.where(side > 0, t / c**0.5, -t / d**0.5))
    assert_law(np.concatenate(drawn), either_cdf(a, b, c, d)[0])


def test_tails_go_beyond_what_one_word_tells():
    """-log u of a word ends at 22: with the second it does not, and the rate is right."""
    x = torch.full((4000, 5000), -30.0)
    numba.draw_rectified_(x, torch.zeros(5000), torch.ones(5000), generator(3))
    count = int((x * 30 > 14).sum())  # of 2e7 draws, about 16
    expected = 2e7 * float(np.exp(norm.logsf(30 + 14 / 30) - norm.logsf(30)))
    assert abs(count - expected) < 6 * math.sqrt(expected)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 7, 500, 3000])
def test_draws_depend_neither_on_threads_nor_on_rows_below(n):
    def draw(threads: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            x, zeros, ones = torch.zeros(rows, n), torch.zeros(n), torch.ones(n)
            one = numba.draw_rectified_(x.clone(), zeros, ones, generator())
            return one, numba.draw_double_rectified_(x, (zeros, zeros), (ones, ones), generator())
        finally:
            torch.set_num_threads(before)

    rows = 60_000 // n
    for one, two in zip(draw(1, rows), draw(2, rows), strict=True):
        assert torch.equal(one, two)
    whole = 2 * max(1, 2048 // n)
    for one, two in zip(draw(1, rows), draw(1, whole), strict=True):
        assert torch.equal(one[:whole], two)


@each_backend
def test_inputs_that_are_not_finite_end(kernels):
    x = torch.tensor([[math.nan, math.inf, -math.inf, 1e30, -1e30, 3e38]])
    zeros, ones = torch.zeros(6), torch.ones(6)
    one = kernels.draw_rectified_(x.clone(), zeros, ones, generator())
    two = kernels.draw_double_rectified_(x, (zeros, zeros), (ones, ones), generator())
    for drawn in one, two:
        assert math.isnan(drawn[0, 0].item())


def test_entries_are_independent():
    x, zeros, ones = torch.zeros(50_000, 4), torch.zeros(4), torch.ones(4)
    for drawn in (
        numba.draw_rectified_(x.clone(), zeros, ones, generator(7)),
        numba.draw_double_rectified_(x, (zeros, zeros), (ones, ones), generator(8)),
    ):
        z = ((drawn - drawn.mean(0)) / drawn.std(0)).double()
        for moved in (z.roll(1, 1), z.roll(1, 0), z.roll(512, 0)):
            assert float((z * moved).mean().abs()) < 6 / math.sqrt(z.numel())
