"""Draws and means of units of several states: every draw against the numbers of its place."""

import math

import numpy as np
import pytest
import torch
from discrete import assert_frequencies
from scipy.special import softmax

from gibbsite.ops import Kernels, Numba, numba_kernels

numba, plain = Numba(), Kernels()
each_backend = pytest.mark.parametrize("kernels", [plain, numba], ids=["plain", "numba"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
KEY = 0x0123456789ABCDEF
SIZES = [2, 21, 5, 300, 3]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def philox(place: np.ndarray, group: np.ndarray, third: int, key: int) -> np.ndarray:
    """The four words of Philox4x32-10 for each counter (place, group, third, 0), (4, ...)."""
    mask = np.uint64(2**32 - 1)
    a, b = place.astype(np.uint64), group.astype(np.uint64)
    c, d = np.full_like(a, third), np.zeros_like(a)
    k, m = key & (2**32 - 1), key >> 32
    for _ in range(10):
        low, high = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (
            (high >> np.uint64(32)) ^ b ^ np.uint64(k),
            high & mask,
            (low >> np.uint64(32)) ^ d ^ np.uint64(m),
            low & mask,
        )
        k, m = (k + 0x9E3779B9) & (2**32 - 1), (m + 0xBB67AE85) & (2**32 - 1)
    return np.stack([a, b, c, d])


def uniforms(rows: int, units: int) -> np.ndarray:
    """The 56-bit number of each unit of each row."""
    i, j = np.indices((rows, units))
    together = max(1, 2048 // units)
    quarter = -(-together * units // 4)
    group, place = i // together, i % together * units + j
    first = philox(place % quarter, group, 0, KEY)
    first = np.take_along_axis(first, (place // quarter)[None], 0)[0]
    second = philox(place, group, 1, KEY)[0]
    return ((first >> np.uint64(8)).astype(float) * 2.0**32 + second + 0.5) * 2.0**-56


def chosen(x: torch.Tensor, sizes: list[int]) -> np.ndarray:
    """The state of each unit, (rows, units), of one-hot rows; fails if they are none."""
    parts = x.split(sizes, 1)
    for part in parts:
        assert ((part == 0) | (part == 1)).all()
        assert (part.sum(1) == 1).all()
    return np.stack([part.argmax(1).numpy() for part in parts], 1)


def expected(fields: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Inversion of each unit's distribution function at its number, in float64."""
    u, start, states = uniforms(len(fields), len(sizes)), 0, []
    for unit, q in enumerate(sizes):
        ends = softmax(fields[:, start : start + q], 1).cumsum(1)
        states.append((ends[:, :-1] <= u[:, unit : unit + 1] * ends[:, -1:]).sum(1))
        start += q
    return np.stack(states, 1)


@each_dtype
@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0, 100.0])
@pytest.mark.parametrize("sizes", [SIZES, [21] * 40, [2], [5000, 2]])
def test_draws_invert_the_distribution_at_the_numbers_of_their_place(
    monkeypatch, dtype, spread, sizes
):
    """Every one of them, also where 24 bits in float32 could not tell."""
    monkeypatch.setattr(numba_kernels, "key", lambda generator: np.array([KEY], dtype=np.uint64))
    rows, width = 2_000_000 // sum(sizes) // 5, sum(sizes)
    x = spread * torch.randn(rows, width, generator=generator(), dtype=dtype)
    drawn = numba.draw_categorical_(x.clone(), torch.zeros(width, dtype=dtype), sizes)
    assert np.array_equal(chosen(drawn, sizes), expected(x.double().numpy(), sizes))


@each_dtype
@each_backend
def test_frequencies(kernels, dtype):
    """Of inputs moved by a bias and a scale."""
    g, sizes = generator(), [3, 5, 2]
    x, bias = (torch.randn(10, generator=g, dtype=dtype) for _ in range(2))
    fields = (bias + 0.3 * x).double().numpy()
    rows = x.expand(200_000, 10).clone()
    states = chosen(kernels.draw_categorical_(rows, bias, sizes, g, 0.3), sizes)
    p = np.ones(1)
    for part in np.split(fields, [3, 8]):
        p = np.outer(p, softmax(part)).ravel()
    assert_frequencies(states @ [10, 2, 1], p)


@each_dtype
@each_backend
@pytest.mark.parametrize("sizes", [SIZES, [21] * 40], ids=["different", "equal"])
@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_means_are_the_softmax_of_each_unit(kernels, dtype, sizes, spread):
    g = generator()
    x = spread * torch.randn(50, sum(sizes), generator=g, dtype=dtype)
    bias = torch.randn(sum(sizes), generator=g, dtype=dtype)
    fields = (x + bias).double()
    softmaxes = torch.cat([part.softmax(1) for part in fields.split(sizes, 1)], 1)
    found = kernels.mean_categorical_(x, bias, sizes)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(found.double(), softmaxes, rtol=tolerance, atol=1e-36)


@each_dtype
@each_backend
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_has_no_probabilities_gives_the_first_state_and_means_of_nan(kernels, dtype, value):
    x = torch.zeros(300, 150, dtype=dtype)
    x[:, 4], x[:, 7] = value, -1e9
    bias, sizes = torch.zeros(150, dtype=dtype), [3] * 50
    states = chosen(kernels.draw_categorical_(x.clone(), bias, sizes, generator()), sizes)
    assert (states[:, 1] == 0).all()
    assert (states[:, 2] != 1).all()
    means = kernels.mean_categorical_(x.clone(), bias, sizes)
    assert means[:, 3:6].isnan().all()
    assert not torch.cat([means[:, :3], means[:, 6:]], 1).isnan().any()


@each_backend
def test_the_greatest_field_wins_beyond_all_doubt(kernels):
    x = torch.zeros(200, 15, dtype=torch.float32)
    x[:, ::5] = 1e4
    drawn = kernels.draw_categorical_(x.clone(), torch.zeros(15), [5] * 3, generator())
    assert torch.equal(drawn, x / 1e4)


@pytest.mark.parametrize("name", ["draw", "mean", "spin"])
def test_results_do_not_depend_on_the_number_of_threads(name):
    x, bias = torch.randn(300, 400, generator=generator()), torch.zeros(400)
    run = {
        "draw": lambda: numba.draw_categorical_(x.clone(), bias, [8] * 50, generator(3)),
        "mean": lambda: numba.mean_categorical_(x.clone(), bias, [8] * 50),
        "spin": lambda: numba.draw_spin_(x.clone(), bias, generator(3)),
    }[name]
    results, threads = [], torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        try:
            results.append(run())
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(*results)


@each_dtype
def test_spins_are_binary_draws_at_twice_the_field(dtype):
    g = generator()
    x, bias = (torch.randn(*shape, generator=g, dtype=dtype) for shape in ((50, 7), (7,)))
    found = numba.draw_spin_(x.clone(), bias, generator(1), 0.5)
    ones = numba.draw_bernoulli_(x.clone(), 2 * bias, generator(1), 1.0)
    assert torch.equal(found, 2 * ones - 1)


@each_backend
@pytest.mark.parametrize("sizes", [[], [0, 6], [3, 2], [3, 4], [-1, 7]])
def test_sizes_that_do_not_fit_are_refused(kernels, sizes):
    x, bias = torch.zeros(4, 6), torch.zeros(6)
    for method in (kernels.draw_categorical_, kernels.mean_categorical_):
        with pytest.raises(ValueError, match="6 columns"):
            method(x, bias, sizes)
