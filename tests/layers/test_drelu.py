"""Double rectified linear units: their relation to other units, signs, bad arguments."""

import math

import pytest
import torch

import gibbsite as gb

INPUTS = torch.tensor([[-40.0, -1.0], [0.0, 0.3], [2.5, 1e3]]).double()


def drelu(plus, minus, gamma_plus=1.0, gamma_minus=1.0):
    layer = gb.DReLU(2).double()
    with torch.no_grad():
        layer.log_gamma_plus.fill_(math.log(gamma_plus))
        layer.log_gamma_minus.fill_(math.log(gamma_minus))
        layer.bias_plus.fill_(plus)
        layer.bias_minus.fill_(minus)
    return layer


def test_equal_sides_are_a_gaussian_unit():
    layer, gaussian = drelu(0.7, 0.7, 4.0, 4.0), gb.Gaussian(2, sigma=0.5).double()
    gaussian.initialize(torch.full((1, 2), 0.7 / 4, dtype=torch.float64))
    inputs = INPUTS / 0.5  # a Gaussian unit's statistic is x / sigma
    torch.testing.assert_close(layer.mean(INPUTS), gaussian.mean(0.5 * INPUTS))
    difference = layer.log_partition(INPUTS) - gaussian.log_partition(0.25 * inputs)
    constant = 2 * 0.7**2 / (2 * 4)  # the Gaussian energy is a square, this one is not
    torch.testing.assert_close(
        difference, torch.full((3,), constant, dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_a_large_repulsion_on_one_side_is_a_rectified_unit():
    layer, relu = drelu(0.3, 1e7, 2.0, 1.0), gb.ReLU(2, gamma=2.0).double()
    relu.shift_(torch.full((2,), 0.3).double())
    inputs = INPUTS[1:]
    torch.testing.assert_close(layer.mean(inputs), relu.mean(inputs), rtol=1e-6, atol=1e-6)


def test_signs_of_the_energy():
    """As -theta of the program that the units come from: both biases lower the energy of x > 0."""
    layer = drelu(3.0, -2.0, 1.0, 4.0)
    assert layer.energy(torch.tensor([1.0, 0.0]).double()).item() == pytest.approx(0.5 - 3.0)
    assert layer.energy(torch.tensor([-1.0, 0.0]).double()).item() == pytest.approx(2.0 - 2.0)


def test_two_modes():
    """b_+ > b_-: a mode on either side of 0, which holds no unit back."""
    x = drelu(3.0, -3.0).sample(torch.zeros(5000, 2).double(), torch.Generator().manual_seed(0))
    assert (x.abs() < 0.5).float().mean().item() < 0.05
    assert 0.4 < (x > 0).float().mean().item() < 0.6


@pytest.mark.parametrize("name", ["gamma_plus", "gamma_minus"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "steep", [1.0, 2.0, 3.0]])
def test_gammas_that_are_none(name, value):
    with pytest.raises(gb.ArgumentError, match=name):
        gb.DReLU(2, **{name: value})


def test_gammas_are_parameters():
    layer = gb.DReLU(2, gamma_plus=[0.5, 2.0], gamma_minus=3.0)
    assert layer.gamma_plus.tolist() == pytest.approx([0.5, 2.0])
    assert layer.gamma_minus.tolist() == pytest.approx([3.0, 3.0])
    names = ["bias_plus", "bias_minus", "log_gamma_plus", "log_gamma_minus"]
    assert [name for name, _ in layer.named_parameters()] == names


@pytest.mark.parametrize("side", ["plus", "minus"])
def test_a_gamma_out_of_range_is_a_fault(side):
    layer = gb.DReLU(2)
    with torch.no_grad():
        layer.get_parameter(f"log_gamma_{side}")[1] = -200.0
    assert layer.fault() == f"gamma_{side} holds 0"


def test_opposite_biases_far_out_are_told_apart():
    """Both sides at an exponent of 10^6: the odds depend on their difference alone."""
    layer = drelu(1500.0, -1500.0)
    mean = layer.mean(torch.tensor([[0.0, 1e-3]]).double())[0].tolist()
    assert mean[0] == pytest.approx(0.0, abs=1e-5)
    assert mean[1] == pytest.approx(1500 * math.tanh(1500 * 1e-3), rel=1e-4)
