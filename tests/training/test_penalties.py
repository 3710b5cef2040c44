"""Penalties against the gradient of what they penalise, and what training makes of them."""

import math

import pytest
import torch
from oracle import random_rbm

import gibbsite as gb

DATA = torch.tensor([[0.0, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 0, 0]])
PENALTIES = {
    "L2": (gb.L2(0.3), lambda weight: 0.3 / 2 * (weight**2).sum()),
    "L1": (gb.L1(0.3), lambda weight: 0.3 * weight.abs().sum()),
}

each_penalty = pytest.mark.parametrize(("penalty", "cost"), PENALTIES.values(), ids=PENALTIES)


@each_penalty
def test_a_penalty_subtracts_the_slope_of_its_cost(penalty, cost):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    plain = gb.exact.gradient(rbm, DATA)
    penalised = dict(plain)
    penalty(rbm, penalised)
    objective = gb.exact.log_likelihood(rbm, DATA).mean() - cost(rbm.weight)
    (expected,) = torch.autograd.grad(objective, rbm.weight)
    torch.testing.assert_close(penalised["weight"], expected)
    assert not penalised["weight"].requires_grad  # fit would hand the graph to the optimiser


@each_penalty
def test_biases_and_scales_are_not_penalised(penalty, cost):
    rbm = random_rbm(gb.Gaussian(4, learn_sigma=True), 3, seed=0)
    plain = gb.exact.gradient(rbm, DATA)
    penalised = dict(plain)
    penalty(rbm, penalised)
    assert penalised.keys() == plain.keys()
    assert all(penalised[name] is plain[name] for name in plain if name != "weight")


@each_penalty
def test_training_with_a_penalty_climbs_the_penalised_likelihood(penalty, cost):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)

    def objective():
        return (gb.exact.log_likelihood(rbm, DATA).mean() - cost(rbm.weight)).item()

    before = objective()
    values = gb.fit(
        rbm,
        DATA,
        gradient=gb.ExactGradient(),
        optimizer=torch.optim.SGD(rbm.parameters(), lr=0.01),
        penalties=[penalty],
        callbacks=[lambda rbm, record: {"objective": objective()}],
        epochs=50,
    ).column("objective")
    assert all(b > a for a, b in zip([before, *values], values, strict=False))


def train(*penalties) -> gb.RBM:
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    gb.fit(
        rbm,
        DATA,
        gradient=gb.ExactGradient(),
        optimizer=torch.optim.SGD(rbm.parameters(), lr=0.2),
        penalties=penalties,
        epochs=600,
        generator=torch.Generator().manual_seed(0),
    )
    return rbm


def test_l2_stops_where_the_gradient_is_strength_times_weight():
    rbm = train(gb.L2(0.05))
    gradient = gb.exact.gradient(rbm, DATA)["weight"]
    torch.testing.assert_close(gradient, 0.05 * rbm.weight.detach(), rtol=0.01, atol=1e-3)


def test_strong_l1_leaves_no_weights():
    """Each update then moves a weight at most strength + 1 times the rate past zero."""
    assert train(gb.L1(2.0)).weight.abs().max() < 0.2 * 3
    assert train().weight.abs().max() > 1


def test_penalties_are_applied_in_turn():
    calls = []
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    penalties = [lambda rbm, gradient, k=k: calls.append(k) for k in "ab"]
    gb.fit(rbm, DATA, penalties=penalties, epochs=1, batch_size=2)
    assert calls == ["a", "b", "a", "b"]


def test_strength_zero_is_no_penalty():
    plain, penalised = train(), train(gb.L2(0.0), gb.L1(0.0))
    assert torch.equal(plain.weight, penalised.weight)


@pytest.mark.parametrize("make", [gb.L1, gb.L2])
@pytest.mark.parametrize("strength", [-1, -1e-9, math.nan, math.inf, "strong", None, [0.1], 1j])
def test_strengths_that_are_none(make, strength):
    with pytest.raises(gb.ArgumentError, match=r"strength=.*finite number of at least 0") as error:
        make(strength)
    assert repr(strength) in str(error.value)
