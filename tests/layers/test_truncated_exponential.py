"""Truncated exponential units: known values, near the uniform and far from it, bad data."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gibbsite as gb


@given(st.floats(-700, 700))
def test_formulas(a):
    """As derived, with math.fsum where they cancel near a = 0."""
    layer, inputs = gb.TruncatedExponential(1).double(), torch.tensor([a], dtype=torch.float64)
    log_partition = layer.log_partition(inputs).item()
    if abs(a) < 0.5:  # moments of the uniform: sum of a^k / (k + 1)!
        terms = [a**k / math.factorial(k + 1) for k in range(25)]
        total = math.fsum(terms)
        slope = math.fsum(k * a ** (k - 1) / math.factorial(k + 1) for k in range(1, 25))
        assert log_partition == pytest.approx(math.log(total), rel=1e-12, abs=1e-15)
        assert layer.mean(inputs).item() == pytest.approx(slope / total, rel=1e-14)
    else:
        assert log_partition == pytest.approx(math.log(math.expm1(a) / a), rel=1e-12)
        expected = 1 / -math.expm1(-a) - 1 / a
        assert layer.mean(inputs).item() == pytest.approx(expected, rel=1e-11)


def test_density():
    layer, x = gb.TruncatedExponential(1).double(), torch.tensor([[0.25]]).double()
    inputs = torch.tensor([[3.0]]).double()
    expected = math.log(3) + 0.75 - math.log(math.expm1(3))
    assert layer.log_prob(x, inputs).item() == pytest.approx(expected)


@pytest.mark.parametrize("a", [0.0, 1e-30, -1e-30, 1e-9, -1e-9])
def test_draws_near_the_uniform(a):
    layer = gb.TruncatedExponential(1).double()
    layer.shift_(torch.tensor([a]).double())
    drawn = layer.sample(torch.zeros(100, 1).double(), torch.Generator().manual_seed(0))
    flat = gb.TruncatedExponential(1).double()
    uniform = flat.sample(torch.zeros(100, 1).double(), torch.Generator().manual_seed(0))
    reflected = torch.minimum((drawn - uniform).abs(), (drawn - 1 + uniform).abs())
    assert float(reflected.max()) < 1e-8
    assert 0.3 < float(drawn.mean()) < 0.7


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_data_outside_of_the_interval_are_refused(value):
    with pytest.raises(gb.DataError, match=rf"{value:g} at row 1, column 2 .* \[0, 1\]"):
        gb.TruncatedExponential(2).check_data(torch.tensor([[0.5, value]]))


def test_there_are_no_states_to_count():
    assert gb.TruncatedExponential(2).n_states == math.inf
