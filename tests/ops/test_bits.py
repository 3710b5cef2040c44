"""Products by lookup tables against the matrix product."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gibbsite.ops import Numba, numba_kernels

product = Numba().product

LAYOUTS = [(columns, across) for columns in (False, True) for across in (False, True)]
layouts = pytest.mark.parametrize(("columns", "across"), LAYOUTS)


def bits(rows: int, n: int, seed: int = 0, columns: bool = False) -> torch.Tensor:
    """Coins, (rows, n); as a view of (n, rows) if they lie in columns."""
    coins = torch.randint(2, (rows, n), generator=torch.Generator().manual_seed(seed)).float()
    return coins.T.contiguous().T if columns else coins


def integers(n: int, m: int, seed: int = 1, across: bool = False) -> torch.Tensor:
    """Whole numbers, whose sums are exact, (n, m); as a view of (m, n) if across."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randint(-1000, 1001, (n, m), generator=g).float()
    return weight.T.contiguous().T if across else weight


@given(
    rows=st.integers(1, 300),
    n=st.integers(1, 80),
    m=st.integers(1, 140),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**31),
)
def test_sums_of_rows_are_the_product(rows, n, m, layout, seed):
    """Of every size, whole tiles or not."""
    x, weight = bits(rows, n, seed, layout[0]), integers(n, m, seed + 1, layout[1])
    out = torch.full((rows, m), math.nan)
    assert numba_kernels.lookup_product(x, weight, out)
    assert torch.equal(out, x @ weight)


@layouts
def test_the_product_is_as_exact_as_torchs(columns, across):
    x, weight = bits(200, 784, 0, columns), integers(784, 500, 1, across) / 7
    exact = x.double() @ weight.double()
    ours, theirs = ((found - exact).abs().max() for found in (product(x, weight), x @ weight))
    assert 0 < ours < 2 * theirs


@layouts
@pytest.mark.parametrize("value", [2.0, 0.5, -1.0, math.nan, math.inf, 1e-30, 1e30])
@pytest.mark.parametrize("place", [(0, 0), (0, 150), (99, 0), (99, 202), (50, 100)])
def test_a_matrix_that_is_not_binary_is_left_to_torch(columns, across, value, place):
    x, weight = bits(100, 203, 0, columns), integers(203, 300, 1, across)
    x[place] = value
    out = torch.empty(100, 300)
    assert not numba_kernels.lookup_product(x, weight, out)
    assert product(x, weight, out) is out
    torch.testing.assert_close(out, x @ weight, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@layouts
def test_sums_do_not_depend_on_the_number_of_threads(columns, across):
    x, weight = bits(1100, 300, 0, columns), integers(300, 130, 1, across) / 7
    threads, found = torch.get_num_threads(), [torch.empty(1100, 130) for _ in range(3)]
    try:
        for number, out in zip((1, 2, 5), found, strict=True):
            torch.set_num_threads(number)
            assert numba_kernels.lookup_product(x, weight, out)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(1, 784, 500), (1000, 784, 10), (1000, 10, 784), (4, 4, 4)])
def test_what_would_not_pay_is_left_to_torch(monkeypatch, shape):
    rows, n, m = shape
    monkeypatch.setattr(numba_kernels, "lookup_product", pytest.fail)
    x, weight = bits(rows, n), integers(n, m)
    assert torch.equal(product(x, weight), x @ weight)


def test_other_types_layouts_and_processors_are_left_to_torch(monkeypatch):
    x, weight = bits(400, 300), integers(300, 200)
    assert numba_kernels.lookup_pays(x, weight) == numba_kernels.X86
    monkeypatch.setattr(numba_kernels, "lookup_product", pytest.fail)
    cases = [(x.double(), weight.double()), (x[::2], weight), (x, integers(300, 400)[:, ::2])]
    for left, right in cases:
        torch.testing.assert_close(product(left, right), left @ right)
    monkeypatch.setattr(numba_kernels, "X86", False)
    assert torch.equal(product(x, weight), x @ weight)


def test_a_weight_that_is_not_finite_counts_for_the_ones_alone():
    x, weight = bits(100, 200), integers(200, 300)
    weight[7], out = math.nan, torch.empty(100, 300)
    assert numba_kernels.lookup_product(x, weight, out)
    assert torch.equal(out.isnan().any(1), x[:, 7] == 1)
