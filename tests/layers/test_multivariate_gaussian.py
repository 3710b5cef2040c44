"""Correlated real units: closed forms, clamped units, models in units of the data."""

import re

import numpy as np
import pytest
import torch
from oracle import agree, random_rbm
from scipy.stats import multivariate_normal

import gibbsite as gb
from gibbsite.layers import Gaussian
from gibbsite.likelihood import baselines
from gibbsite.sampling.conditionals import Conditionals
from gibbsite.training import to_data_units, to_standard_units, whitening

FACTOR = torch.tensor([[1.0, 0.3, 0.0], [0.8, 0.5, -0.2], [-0.4, 0.1, 2.0]]).double()
SCALE = [0.5, 1.0, 2.0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(learn_scale: bool = False) -> gb.MultivariateGaussian:
    made = gb.MultivariateGaussian(FACTOR, SCALE, learn_scale)
    with torch.no_grad():
        made.bias.copy_(torch.tensor([1.0, -2.0, 30.0]))
    return made


def test_log_prob_is_the_normal_density():
    made, x = layer(), torch.randn(5, 3, generator=generator()).double() + 1
    inputs = torch.tensor([0.3, -0.4, 1.0]).double()
    scaled = FACTOR.numpy() @ np.diag(SCALE)
    mean = made.bias.detach().numpy() + scaled @ inputs.numpy()
    expected = multivariate_normal.logpdf(x.numpy(), mean, scaled @ scaled.T)
    agree(made.log_prob(x, inputs).detach(), torch.from_numpy(expected), 1e-9)
    agree(made.covariance, torch.from_numpy(scaled @ scaled.T))
    agree(made.sigma, made.covariance.diagonal().sqrt())


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        ([[1.0, 2.0]], r"factor of shape (1, 2): expected (n, n)"),
        ([[1.0, 2.0], [2.0, 4.0]], "factor has no inverse"),
        ([[float("nan")]], "not finite"),
    ],
)
def test_bad_factors(factor, words):
    with pytest.raises(gb.ArgumentError, match=re.escape(words)):
        gb.MultivariateGaussian(factor)


def test_the_inverse_follows_the_factor():
    made = layer()
    before = made.statistic(torch.ones(3).double())
    made.factor.mul_(2.0)
    agree(made.statistic(torch.ones(3).double()), before / 2)
    agree(made.float().double().statistic(torch.ones(3).double()), before / 2, 1e-5)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_free_units_are_drawn_given_the_clamped_ones(rows):
    """Mean and covariance of the conditional normal distribution, in closed form."""
    made, clamp = layer(), torch.tensor([[2.0, torch.nan, torch.nan]]).double().repeat(rows, 1)
    x = made.sample(torch.zeros(20_000, 3).double(), generator())
    drawn = made.clamped(x, clamp)
    covariance, free = made.covariance, [1, 2]
    gain = covariance[free, 0] / covariance[0, 0]
    mean = made.bias.detach()[free] + gain * (2.0 - made.bias.detach()[0])
    left = covariance[free][:, free] - torch.outer(gain, covariance[0, free])
    assert (drawn[:, 0] == 2).all()
    errors = (drawn[:, free].mean(0) - mean).abs() / (left.diagonal() / 20_000).sqrt()
    assert errors.max() < 5
    agree(drawn[:, free].T.cov(), left, 0.05)


def test_rows_may_have_different_units_clamped():
    made, nan = layer(), torch.nan
    clamp = torch.tensor([[nan, nan, nan], [5.0, nan, 1], [1, 2, 3], [nan, 0.5, nan]]).double()
    x = made.sample(torch.zeros(4, 3).double(), generator())
    drawn = made.clamped(x, clamp)
    held = ~torch.isnan(clamp)
    assert torch.equal(drawn[held], clamp[held])
    agree(drawn[0], x[0], 0.0)
    for row in (1, 3):
        alone = made.clamped(x[row : row + 1], clamp[row : row + 1])
        agree(drawn[row], alone[0], 1e-12)


def test_clamped_chains_have_the_conditional_of_the_model():
    """Against the mixture over h, each of whose parts is a normal distribution."""
    rbm = random_rbm(layer().float(), 2, seed=1).requires_grad_(False)
    clamp = torch.tensor([[3.0, torch.nan, torch.nan]]).double()
    h = rbm.hidden.states(0, 4)
    means, covariance = rbm.visible_mean(h), rbm.visible.covariance
    marginal = multivariate_normal(0, covariance[0, 0].item())
    weights = -(rbm.mirror().free_energy(h)).double()
    weights = weights + torch.from_numpy(marginal.logpdf(3.0 - means[:, 0].numpy()))
    gain = covariance[1:, 0] / covariance[0, 0]
    expected = weights.softmax(0) @ (means[:, 1:] + gain * (3.0 - means[:, :1]))
    model, v, draws = Conditionals(rbm, clamp=clamp), means[:1].repeat(400, 1), []
    for step in range(120):
        v, _ = model.sweep(v, generator(step))
        draws.append(v[:, 1:])
    found = torch.stack(draws[20:])
    error = found.mean(0).std(0) / 20
    assert ((found.mean((0, 1)) - expected).abs() < 5 * error).all()


@pytest.mark.parametrize("learn", [False, True])
def test_a_model_of_whitened_rows_is_one_of_the_data(learn):
    """log p'(m + L u) = log p(u) - log |det L|; and back it is one of Gaussian units."""
    rbm = random_rbm(gb.Gaussian(3, SCALE, learn), 2, seed=0).requires_grad_(False)
    shift = torch.tensor([10.0, -300.0, 0.0]).double()
    moved = to_data_units(rbm, shift, FACTOR).requires_grad_(False)
    u = torch.randn(6, 3, generator=generator()).double()
    v = shift + u @ FACTOR.T
    expected = gb.exact.log_likelihood(rbm, u) - torch.linalg.slogdet(FACTOR)[1]
    agree(gb.exact.log_likelihood(moved, v), expected, 1e-9)
    agree(moved.hidden_mean(v), rbm.hidden_mean(u), 1e-9)
    back = to_standard_units(moved, shift, FACTOR).requires_grad_(False)
    assert type(back.visible) is Gaussian
    for ours, theirs in zip(back.state_dict().values(), rbm.state_dict().values(), strict=True):
        agree(ours, theirs, 1e-9)
    doubled = torch.tensor([2.0, 1, 1]).double()
    scaled = to_data_units(moved, torch.zeros(3).double(), doubled).requires_grad_(False)
    agree(scaled.visible.sigma, moved.visible.sigma * doubled)


def test_it_trains_as_any_layer_does():
    """The exact gradient raises the likelihood of bias, scale and weights together."""
    rows = torch.randn(200, 3, generator=generator()).double() @ FACTOR.T
    rows = rows + (rows[:, :1] > 0) * torch.tensor([2.0, 1.0, 0.0])
    rbm = gb.RBM(gb.MultivariateGaussian(FACTOR, SCALE, True), gb.Bernoulli(2).double())
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.03)
    gb.initialize(rbm, rows, generator())
    before = gb.exact.log_likelihood(rbm, rows).mean().item()
    gradient = gb.Centered(gb.ExactGradient())
    gb.fit(rbm, rows, gradient=gradient, optimizer=optimizer, epochs=60, batch_size=200)
    assert gb.exact.log_likelihood(rbm, rows).mean().item() > before + 0.2


def test_what_moves_one_unit_at_a_time_is_refused():
    rbm = gb.RBM(layer(), gb.Bernoulli(2).double())
    with pytest.raises(gb.ArgumentError, match=r"depend on each other; use gb\.evaluate"):
        gb.pseudo_likelihood(rbm, torch.zeros(2, 3))
    mixed = gb.Mixed(layer(), gb.Gaussian(1).double())
    assert not mixed.independent
    assert mixed.uncorrelated().independent


def test_baselines_are_those_of_the_columns():
    rows = torch.randn(300, 3, generator=generator()).double() @ FACTOR.T
    ours = baselines(gb.RBM(layer(), gb.Bernoulli(2).double()), rows)
    plain = baselines(gb.RBM(gb.Gaussian(3).double(), gb.Bernoulli(2).double()), rows)
    assert ours == pytest.approx(plain)
    alone = layer().fitted(rows)
    assert alone.log_prob(rows, torch.zeros(3).double()).mean() > ours["independent_columns"]


def test_whitened_rows_have_covariance_one():
    rows = torch.randn(4000, 3, generator=generator()).double() @ FACTOR.T + 100
    rows = torch.cat([rows, torch.full((4000, 1), 7.0).double()], 1)
    found = whitening(rows)
    assert found.scaling.constant.tolist() == [False, False, False, True]
    u = found.rows(rows).dense().double()
    agree(u.T.cov(), torch.diag(torch.tensor([1.0, 1, 1, 0])), 0.01)
    agree(found.scaling.shift + u @ found.factor.T, rows, 1e-4)
    lazy = found.rows(gb.Rows(rows.numpy()).take(torch.arange(10)))
    agree(lazy.dense(), u[:10].float(), 1e-4)


def test_columns_that_are_copies_share_what_they_have():
    rows = torch.randn(400, 2, generator=generator()).double()
    rows = torch.cat([rows, 3 * rows[:, :1]], 1)
    u = whitening(rows).rows(rows).dense()
    agree(u.var(0), torch.tensor([0.5, 1, 0.5]), 0.01)
    agree(u[:, 0], u[:, 2], 1e-4)


def test_few_rows_are_only_standardised():
    rows = torch.randn(6, 4, generator=generator())
    found = whitening(rows)
    assert found.shrinkage == 1
    agree(found.rows(rows).dense().std(0, correction=0), torch.ones(4), 1e-5)
