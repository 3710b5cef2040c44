"""Training on whitened rows: its start, the floor of sigma, the rate of log sigma."""

import math

import pytest
import torch
from oracle import agree

import gibbsite as gb
from gibbsite.training import SigmaFloor, sigma_floor, sigma_groups, start_whitened, whitening


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def model(columns: int = 4, hidden: int = 6) -> gb.RBM:
    return gb.RBM(gb.Gaussian(columns, torch.ones(columns), True), gb.Bernoulli(hidden))


@torch.no_grad()
def test_the_start_has_mean_0_and_every_unit_on_for_one_row_in_twenty():
    """Of one hidden unit, whose share is then exact."""
    rbm = model(hidden=1).double()
    start_whitened(rbm, generator())
    h = rbm.hidden.states(0, 2)
    shares = (-rbm.mirror().free_energy(h)).softmax(0)
    lift = rbm.visible.bias @ rbm.weight[:, 0] / rbm.visible.sigma[0]  # by the visible bias
    assert shares[1].item() == pytest.approx(1 / (1 + 19 * math.exp(-lift.item())), rel=1e-9)
    mean = 0.05 * rbm.visible_mean(h[1:]) + 0.95 * rbm.visible_mean(h[:1])
    agree(mean, torch.zeros(1, 4), 1e-9)
    agree(rbm.visible.sigma, torch.full((4,), 0.7), 1e-7)


def test_the_floor_is_for_learned_sigmas():
    rbm = gb.RBM(gb.Gaussian(2, [0.01, 1.0], learn_sigma=True), gb.Bernoulli(1))
    SigmaFloor(0.3)(rbm)
    agree(rbm.visible.sigma.detach(), torch.tensor([0.3, 1.0]), 1e-6)
    fixed = gb.RBM(gb.Gaussian(2, 0.01), gb.Bernoulli(1))
    SigmaFloor(0.3)(fixed)
    agree(fixed.visible.sigma, torch.tensor([0.01, 0.01]), 1e-6)


def test_a_column_of_two_values_does_not_collapse():
    bits = (torch.rand(400, 1, generator=generator()) < 0.5).float()
    rows = torch.cat([bits, torch.randn(400, 1, generator=generator())], 1)
    u = whitening(rows).rows(rows)
    floor, rbm = sigma_floor(u), model(2, 4)
    assert floor < 0.6
    start_whitened(rbm, generator())
    optimizer = torch.optim.SGD(sigma_groups(rbm, 0.2), momentum=0.5)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.02)
    floors = [SigmaFloor(floor)]
    gb.fit(rbm, u, optimizer=optimizer, epochs=60, projections=floors, generator=generator())
    assert floor * 0.999 < rbm.visible.sigma.min() < 0.8
    alone = torch.distributions.Normal(0.0, 1.0).log_prob(u.dense()).sum(1).mean()
    assert gb.exact.log_likelihood(rbm, u.dense()).mean() > alone + 0.01


def test_one_row_far_out_raises_the_floor():
    """As far as a Gaussian of the other rows has it, so that it may be in the table or not."""
    u = torch.randn(500, 3, generator=generator())
    low = sigma_floor(u)
    far = torch.cat([u, torch.tensor([[40.0, 0, 0]])])
    assert sigma_floor(whitening(far).rows(far)) > 0.9 > low + 0.2
    distance = float((u**2).sum(1).max())
    distance /= 1 - distance / 500
    assert low == pytest.approx((1 + 0.5 * 500 / distance) ** -0.5)
