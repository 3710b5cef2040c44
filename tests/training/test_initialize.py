"""The starting point, and training in standardised units."""

import numpy as np
import pytest
import torch
from montecarlo import assert_mean
from oracle import random_rbm

import gibbsite as gb
from gibbsite.training import column_scales, scaling, to_data_units
from gibbsite.training.initialize import WEIGHT_SCALE

ROWS = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_biases_of_binary_units_are_the_log_odds():
    rbm = random_rbm(gb.Bernoulli(3), 2, seed=0)
    gb.initialize(rbm, ROWS, generator())
    expected = np.log([0.5 / 4.5, 4.5 / 0.5, 1.5 / 3.5])
    np.testing.assert_allclose(rbm.visible.bias.detach(), expected, rtol=1e-12)
    assert not rbm.hidden.bias.any()


def test_biases_of_real_units_are_the_means():
    rbm = random_rbm(gb.Gaussian(3), 2, seed=0)
    gb.initialize(rbm, 10 * ROWS, generator())
    assert rbm.visible.bias.tolist() == [0.0, 10.0, 2.5]


def test_it_is_the_best_model_without_weights():
    """Up to the half counts, no other visible bias does better: the gradient vanishes."""
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)).double()
    data = (
        torch.rand(20_000, 4, generator=generator()) < torch.tensor([0.1, 0.4, 0.5, 0.9])
    ).double()
    gb.initialize(rbm, data, generator())
    with torch.no_grad():
        rbm.weight.zero_()
    assert gb.exact.gradient(rbm, data)["visible.bias"].abs().max() < 1 / len(data)


def test_weights_are_normal_and_small():
    rbm = gb.RBM(gb.Bernoulli(200), gb.Bernoulli(100))
    gb.initialize(rbm, torch.zeros(1, 200), generator())
    w = rbm.weight.detach().numpy().reshape(-1, 1) / WEIGHT_SCALE
    assert WEIGHT_SCALE == 0.01
    assert_mean(w, [0.0])
    assert_mean(w**2, [1.0])
    assert_mean(w**4, [3.0])


def test_the_generator_decides():
    def weights(seed):
        rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
        gb.initialize(rbm, ROWS, generator(seed))
        return rbm.weight

    before = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("learn_sigma", [False, True])
@pytest.mark.parametrize("sigma", [0.7, [0.5, 1.0, 2.0]])
def test_a_model_in_data_units_has_the_transformed_density(sigma, learn_sigma):
    """log p'(m + s v) = log p(v) - sum log s, for every v."""
    visible = gb.Gaussian(3, sigma=sigma, learn_sigma=learn_sigma)
    rbm = random_rbm(visible, 2, seed=0)
    v = torch.randn(6, 3, generator=generator(), dtype=torch.float64)
    shift = torch.tensor([10.0, -300.0, 0.0]).double()
    scale = torch.tensor([0.1, 50.0, 1.0]).double()
    moved = to_data_units(rbm, shift, scale)
    expected = gb.exact.log_likelihood(rbm, v) - scale.log().sum()
    torch.testing.assert_close(gb.exact.log_likelihood(moved, shift + scale * v), expected)
    torch.testing.assert_close(moved.hidden_mean(shift + scale * v), rbm.hidden_mean(v))


def test_the_model_in_standard_units_is_left_alone():
    rbm = random_rbm(gb.Gaussian(2), 2, seed=0)
    before = {name: value.clone() for name, value in rbm.state_dict().items()}
    to_data_units(rbm, torch.tensor([1.0, 2.0]).double(), torch.tensor([3.0, 4.0]).double())
    assert all(torch.equal(value, before[name]) for name, value in rbm.state_dict().items())


def test_binary_units_have_no_units_to_change():
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    with pytest.raises(gb.ArgumentError, match=r"Bernoulli\(2\) cannot be rescaled"):
        to_data_units(rbm, torch.zeros(2), torch.ones(2))


def test_column_scales():
    data = torch.tensor([[1.0, 10.0], [3.0, 10.5]])
    shift, scale = column_scales(data)
    assert shift.tolist() == [2.0, 10.25]
    assert scale.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_constant_columns_are_named_and_only_shifted(value):
    data = torch.tensor([[1.0, value], [3.0, value]])
    shift, scale = column_scales(data)
    assert shift.tolist() == [2.0, value]
    assert scale.tolist() == [1.0, 1.0]
    found = scaling(data)
    assert found.constant.tolist() == [False, True]
    assert found.warning().startswith("constant: column 2 (counted from 1)")
    assert "column 2 (age)" in found.warning(["height", "age"])
    assert not scaling(data[:, :1]).warning()
    assert scaling(torch.ones(3, 20)).warning().count("column") == 11
