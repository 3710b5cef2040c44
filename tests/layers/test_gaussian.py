"""Continuous units: closed forms, the scale in all its forms, bad scales."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from outcomes import outcome
from scipy.stats import kstest, norm

import gibbsite as gb


def test_formulas():
    layer = gb.Gaussian(2, sigma=[0.5, 2.0]).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, -1.0]))
    x, inputs = torch.tensor([2.0, 3.0]).double(), torch.tensor([0.3, -0.4]).double()
    assert layer.energy(x).item() == pytest.approx((1 / 0.5) ** 2 / 2 + (4 / 2) ** 2 / 2)
    assert layer.statistic(x).tolist() == pytest.approx([2 / 0.5, 3 / 2])
    assert layer.mean(inputs).tolist() == pytest.approx([1 + 0.5 * 0.3, -1 - 2 * 0.4])
    assert layer.moments(inputs).variance.tolist() == pytest.approx([0.25, 4.0])


def test_log_prob_is_the_normal_density():
    layer = gb.Gaussian(2, sigma=[0.5, 2.0]).double()
    x, inputs = torch.tensor([0.7, 3.0]).double(), torch.tensor([0.3, -0.4]).double()
    expected = norm.logpdf([0.7, 3.0], [0.5 * 0.3, -2 * 0.4], [0.5, 2.0]).sum()
    assert layer.log_prob(x, inputs).item() == pytest.approx(expected)


def test_samples_are_normal():
    """Kolmogorov-Smirnov, at a significance of 1e-6."""
    layer = gb.Gaussian(2, sigma=[0.5, 2.0])
    rows = torch.tensor([[0.3, -0.4]]).expand(20_000, 2)
    x = layer.sample(rows, torch.Generator().manual_seed(0)).numpy()
    for column, mean, sigma in zip(x.T, [0.15, -0.8], [0.5, 2.0], strict=True):
        assert kstest((column - mean) / sigma, norm.cdf).pvalue > 1e-6


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize(
    ("sigma", "stored"), [(0.5, 1), ([0.5, 1.0, 2.0], 3), (torch.tensor([2.0] * 3), 3), (2, 1)]
)
def test_sigma_is_stored_as_given(sigma, stored, learn):
    layer = gb.Gaussian(3, sigma=sigma, learn_sigma=learn)
    expected = torch.as_tensor(sigma, dtype=torch.float32).expand(3)
    torch.testing.assert_close(layer.sigma, expected)
    name = "log_sigma" if learn else "fixed_sigma"
    assert layer.state_dict()[name].numel() == stored
    assert ("log_sigma" in dict(layer.named_parameters())) == learn


def test_learned_sigma_stays_positive():
    layer = gb.Gaussian(3, sigma=1.0, learn_sigma=True)
    with torch.no_grad():
        layer.log_sigma.fill_(-50.0)
    assert (layer.sigma > 0).all()


def test_sigma_is_a_copy():
    given_sigma = torch.ones(2, requires_grad=True)
    layer = gb.Gaussian(2, sigma=given_sigma)
    with torch.no_grad():
        given_sigma.fill_(5.0)
    assert layer.sigma.tolist() == [1.0, 1.0]
    assert not layer.sigma.requires_grad


def test_sigma_follows_the_dtype():
    assert gb.Gaussian(2, sigma=0.3).double().sigma.dtype == torch.float64


@pytest.mark.parametrize("sigma", [0, 0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e300])
def test_scales_that_are_none(sigma):
    message = "expected positive finite numbers"
    with pytest.raises(gb.ArgumentError, match=message) as error:
        gb.Gaussian(3, sigma=sigma)
    assert repr(sigma) in str(error.value)
    with pytest.raises(gb.ArgumentError, match=message):
        gb.Gaussian(3, sigma=[1.0, sigma, 1.0])


@pytest.mark.parametrize("sigma", [[], [1.0, 2.0], [1.0] * 4])
def test_wrong_number_of_scales(sigma):
    with pytest.raises(gb.ArgumentError, match=rf"{len(sigma)} entries for 3 units; .* 3"):
        gb.Gaussian(3, sigma=sigma)


@pytest.mark.parametrize("sigma", ["wide", None, 1j, [1.0, None, 1.0], {"a": 1.0}])
def test_scales_that_are_not_numbers(sigma):
    with pytest.raises(gb.ArgumentError, match="sigma"):
        gb.Gaussian(3, sigma=sigma)


def test_scales_from_a_reversed_array():
    assert gb.Gaussian(3, sigma=np.array([1.0, 2.0, 3.0])[::-1]).sigma.tolist() == [3.0, 2.0, 1.0]


@given(sigma=st.one_of(st.floats(), st.integers(), st.lists(st.floats(), max_size=4)))
def test_any_scale_is_taken_or_refused_by_name(sigma):
    layer, message = outcome(lambda: gb.Gaussian(3, sigma=sigma))
    if message is not None:
        assert "sigma" in message
        return
    assert torch.isfinite(layer.sigma).all()
    assert (layer.sigma > 0).all()


def test_shared_scale_gets_the_summed_gradient():
    """Sharing sigma is adding up the gradients of the units that share it."""
    shared = gb.Gaussian(3, sigma=0.8, learn_sigma=True)
    apart = gb.Gaussian(3, sigma=[0.8] * 3, learn_sigma=True)
    units = shared.moments(torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.4, 0.1]]))
    arguments = (units, torch.tensor([0.4, 0.6]), lambda: torch.tensor([0.2, 0.5, -0.3]))
    one = shared.gradient(*arguments)["log_sigma"]
    many = apart.gradient(*arguments)["log_sigma"]
    assert one.shape == (1,)
    torch.testing.assert_close(one[0], many.sum())


def test_initial_bias_is_the_column_mean():
    layer = gb.Gaussian(2)
    layer.initialize(torch.tensor([[1.0, -4.0], [3.0, 0.0]]))
    assert layer.bias.tolist() == [2.0, -2.0]


@pytest.mark.parametrize("spread", [0.0, 1.0, 25.3])
def test_grid_is_exact_in_double_precision(spread):
    """Mean, variance and mass of a normal of width sigma anywhere within the spread."""
    layer = gb.Gaussian(1, sigma=0.7).double()
    points, log_weights = layer.unit_states(0, spread)
    assert points.dtype == log_weights.dtype == torch.float64
    x, weight = points[:, 0].detach().numpy(), log_weights.exp().detach().numpy()
    density = weight * norm.pdf(x, 0.7 * spread, 0.7)
    np.testing.assert_allclose(density.sum(), 1, atol=1e-14)
    np.testing.assert_allclose(density @ x, 0.7 * spread, atol=1e-13)
    np.testing.assert_allclose(density @ (x - 0.7 * spread) ** 2, 0.49, atol=1e-13)


def test_rescaled_density_is_that_of_the_rescaled_variable():
    layer = gb.Gaussian(2, sigma=[0.5, 2.0], learn_sigma=True).double()
    shift, scale = torch.tensor([10.0, -3.0]).double(), torch.tensor([4.0, 0.1]).double()
    x, inputs = torch.tensor([0.7, 3.0]).double(), torch.tensor([0.3, -0.4]).double()
    expected = layer.log_prob(x, inputs) - scale.log().sum()
    actual = layer.rescaled(shift, scale).log_prob(shift + scale * x, inputs)
    torch.testing.assert_close(actual, expected)
    assert math.isfinite(actual.item())
