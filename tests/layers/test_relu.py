"""Rectified linear units: known values, gamma in all its forms, data that do not fit."""

import math

import pytest
import torch
from scipy.stats import truncnorm

import gibbsite as gb


def test_mean_and_square_are_those_of_the_truncated_normal():
    layer = gb.ReLU(1, gamma=4.0).double()
    layer.shift_(torch.tensor([0.5]).double())
    mean, square = layer.moments(torch.tensor([1.5]).double())
    law = truncnorm(-1.0, math.inf, loc=0.5, scale=0.5)  # mean 2/4, standard deviation 1/2
    assert mean.item() == pytest.approx(law.mean())
    assert square.item() == pytest.approx(law.var() + law.mean() ** 2)


def test_log_prob_is_the_truncated_normal_density():
    layer, x = gb.ReLU(2, gamma=[0.25, 4.0]).double(), torch.tensor([0.7, 3.0]).double()
    inputs = torch.tensor([-0.5, 8.0]).double()
    expected = truncnorm(1.0, math.inf, loc=-2.0, scale=2.0).logpdf(0.7)
    expected += truncnorm(-4.0, math.inf, loc=2.0, scale=0.5).logpdf(3.0)
    assert layer.log_prob(x, inputs).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [2.0, [0.5, 1.0, 2.0], torch.full((3,), 2.0)])
def test_gamma_is_a_parameter_of_each_unit(gamma):
    layer = gb.ReLU(3, gamma=gamma)
    torch.testing.assert_close(layer.gamma, torch.as_tensor(gamma).expand(3))
    assert [name for name, _ in layer.named_parameters()] == ["bias", "log_gamma"]
    assert layer.log_gamma.shape == (3,)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan, math.inf, 1e60, "steep", [1.0, 0.0, 1.0]])
def test_gammas_that_are_none(gamma):
    with pytest.raises(gb.ArgumentError, match="gamma"):
        gb.ReLU(3, gamma=gamma)


def test_wrong_number_of_gammas():
    with pytest.raises(gb.ArgumentError, match=r"gamma has 2 entries for 3 units; .* 3"):
        gb.ReLU(3, gamma=[1.0, 2.0])


@pytest.mark.parametrize("value", [200.0, -200.0])
def test_a_gamma_out_of_range_is_a_fault(value):
    layer = gb.ReLU(2)
    with torch.no_grad():
        layer.log_gamma[1] = value
    assert layer.fault().startswith("gamma holds ")


def test_negative_data_are_refused():
    with pytest.raises(gb.DataError, match=r"-0.5 at row 2, column 1 .*ReLU units .* \[0, inf\]"):
        gb.ReLU(1).check_data(torch.tensor([[1.0], [-0.5]]))


def test_there_are_no_states_to_count():
    assert gb.ReLU(2).n_states == math.inf
    rbm = gb.RBM(gb.ReLU(2), gb.ReLU(3))
    with pytest.raises(gb.errors.TooLargeError):
        gb.exact.log_partition(rbm)
