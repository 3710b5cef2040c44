"""Spins: closed forms, their limits, draws and the checks of data."""

import math

import mpmath
import numpy as np
import pytest
import torch
from discrete import assert_frequencies, spins
from montecarlo import assert_mean

import gibbsite as gb


def layer_with_bias(*bias: float, dtype=torch.float64) -> gb.Spin:
    layer = gb.Spin(len(bias)).to(dtype)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(bias, dtype=dtype))
    return layer


def test_formulas_by_sums_over_all_states():
    layer, inputs = (
        layer_with_bias(0.5, -1.0, 0.2),
        torch.tensor([2.0, -0.3, 0.0], dtype=torch.float64),
    )
    x, fields = spins(3), np.array([2.5, -1.3, 0.2])
    weights = np.exp(x @ fields)
    assert layer.log_partition(inputs).item() == pytest.approx(math.log(weights.sum()), rel=1e-14)
    assert layer.mean(inputs).tolist() == pytest.approx((weights @ x / weights.sum()).tolist())
    energy = layer.energy(torch.tensor(x))
    assert energy.tolist() == pytest.approx((x @ [-0.5, 1.0, -0.2]).tolist())
    log_p = layer.log_prob(torch.tensor(x), inputs)
    assert log_p.tolist() == pytest.approx(np.log(weights / weights.sum()).tolist())


@pytest.mark.parametrize("field", [-3e4, -20.5, -1e-9, 0.0, 1e-4, 7.0, 20.5, 1e4])
def test_log_cosh_to_rounding(field):
    """log 2cosh, of 300 digits, at every size; in float32 to its own."""
    mpmath.mp.dps = 300
    expected = float(mpmath.log(2 * mpmath.cosh(mpmath.mpf(field))))
    for dtype, digits in ((torch.float64, 1e-15), (torch.float32, 1e-6)):
        actual = gb.Spin(1).to(dtype).log_partition(torch.tensor([field], dtype=dtype))
        assert actual.item() == pytest.approx(expected, rel=digits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits_of_huge_inputs(dtype):
    layer = gb.Spin(1).to(dtype)
    inputs = torch.tensor([[-1e4], [1e4]], dtype=dtype, requires_grad=True)
    assert layer.log_partition(inputs).tolist() == [1e4, 1e4]
    assert layer.mean(inputs).tolist() == [[-1.0], [1.0]]
    assert layer.sample(inputs).tolist() == [[-1.0], [1.0]]
    assert layer.sample(inputs).dtype == dtype
    (slope,) = torch.autograd.grad(layer.log_partition(inputs).sum(), inputs)
    assert slope.tolist() == [[-1.0], [1.0]]
    assert layer.log_prob(layer.sample(inputs), inputs).tolist() == [0.0, 0.0]


def test_derivatives_by_finite_differences():
    layer, inputs = layer_with_bias(0.5, -1.0), torch.randn(3, 2, dtype=torch.float64)
    inputs.requires_grad_()
    for function in (layer.log_partition, layer.mean):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradcheck(lambda _, f=function: f(inputs), layer.bias)


def test_same_family_as_binary_units():
    """x = 2c - 1: inputs meet c doubled, and the log-partition is lower by b + inputs."""
    spin, inputs = layer_with_bias(0.5, -1.0), torch.randn(4, 2, dtype=torch.float64)
    binary = gb.Bernoulli(2).double()
    with torch.no_grad():
        binary.bias.copy_(2 * spin.bias)
    torch.testing.assert_close(spin.mean(inputs), 2 * binary.mean(2 * inputs) - 1)
    shift = (spin.bias + inputs).sum(-1)
    torch.testing.assert_close(spin.log_partition(inputs), binary.log_partition(2 * inputs) - shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws(dtype):
    layer, inputs = layer_with_bias(0.3, -0.6, 0.1, dtype=dtype), torch.tensor([0.2, 0.3, -0.8])
    g = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    draws = layer.sample(inputs.to(dtype).expand(100_000, 3), g)
    assert torch.equal(torch.get_rng_state(), before)
    assert draws.dtype == dtype
    assert_mean(draws.numpy(), np.tanh([0.5, -0.3, -0.7]))
    states = spins(3)
    weights = np.exp(states @ [0.5, -0.3, -0.7])
    index = (draws.numpy() > 0) @ [4, 2, 1]
    assert_frequencies(index, weights / weights.sum())


def test_rare_states_come_at_their_rate():
    """p(x = 1) = 1e-5, far beyond what a coarse uniform number could tell apart."""
    field = 0.5 * math.log(1e-5 / (1 - 1e-5))
    draws = gb.Spin(400).sample(torch.full((10_000, 400), field), torch.Generator().manual_seed(1))
    assert abs((draws == 1).sum().item() - 40) < 5 * math.sqrt(40)


def test_states():
    layer = gb.Spin(3)
    assert layer.n_states == 8
    assert layer.states(0, 3).tolist() == [[-1, -1, -1], [1, -1, -1], [-1, 1, -1]]
    assert {tuple(x) for x in layer.states(0, 8).tolist()} == {tuple(x) for x in spins(3)}
    points, log_weights = layer.unit_states(1, reach=5.0)
    assert points.tolist() == [[-1.0], [1.0]]
    assert log_weights.tolist() == [0.0, 0.0]
    spread = layer.overdispersed(500, torch.Generator().manual_seed(0))
    assert set(spread.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("value", [0.5, 0.0, -0.999, 2.0, -3.0])
def test_other_values_are_named(value):
    data = torch.ones(3, 4)
    data[1, 2] = value
    message = rf"data hold {value:g} at row 2, column 3 .*for 0 and 1 use gb.Bernoulli, or 2 x - 1"
    with pytest.raises(gb.DataError, match=message):
        gb.Spin(4).check_data(data)
    layer = gb.Spin(4)
    with pytest.raises(gb.DataError):
        layer.check_states(data)


def test_means_may_lie_between():
    gb.Spin(2).check_means(torch.tensor([[0.3, -1.0]]))
    with pytest.raises(gb.DataError, match=r"outside of \[-1, 1\]"):
        gb.Spin(2).check_means(torch.tensor([[0.3, -1.1]]))


def test_initial_bias_is_half_the_log_odds_with_half_counts():
    layer = layer_with_bias(0.7, 0.0, 0.0)
    layer.initialize(torch.tensor([[-1.0, 1, 1], [-1, 1, -1], [-1, 1, -1]]).double())
    expected = 0.5 * np.log([0.5 / 3.5, 3.5 / 0.5, 1.5 / 2.5])
    assert layer.bias.tolist() == pytest.approx(expected.tolist())
