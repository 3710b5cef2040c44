"""Unit types: sums and quadrature over one unit's energy, and fifty digits near cancellations."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from one_unit import INPUTS, UNITS, Unit, brute_log_totals, fields, log_partitions, means
from oracle import agree, bits, derivative
from scipy.special import logsumexp

import gibbsite as gb


@pytest.fixture(params=UNITS)
def unit(request) -> Unit:
    return Unit(request.param)


def test_gibbsite_12_1_conditional_of_a_layer(unit):
    """Gibbsite (12.1): probabilities, or densities, that sum to 1 with the log-partition."""
    agree(log_partitions(unit), brute_log_totals(unit))
    x = 1.0
    for inputs in INPUTS:
        expected = inputs * x - unit.energy(x) - unit.log_total(inputs)
        state, given = torch.tensor([[x], [inputs]], dtype=torch.float64)
        agree(unit.layer.log_prob(state, given).item(), expected)


def test_gibbsite_12_2_moments_are_derivatives(unit):
    """Gibbsite (12.2): the first derivative of A is the mean, the second the variance."""
    for inputs in INPUTS:
        mean = unit.mean(inputs)
        variance = unit.mean(inputs, lambda x, mean=mean: (x - mean) ** 2)
        at = np.array(inputs)
        agree(derivative(lambda z: np.array(unit.log_total(float(z))), at), mean)
        agree(derivative(lambda z: np.array(unit.mean(float(z))), at), variance)
        agree(unit.ask("mean", inputs).item(), mean)


def test_gibbsite_12_3_free_energy_of_any_pair():
    """Gibbsite (12.3): hidden units of each type below visible units of each other."""
    refused = 0
    for one, other in itertools.product(UNITS, UNITS):
        visible, hidden = Unit(one), Unit(other, seed=1)
        try:
            rbm = gb.RBM(visible.layer, hidden.layer).double()
        except gb.ArgumentError:
            refused += 1  # no finite Z: section 14
            continue
        with torch.no_grad():
            rbm.weight.fill_(0.4)
        for v in (0.0, 1.0):
            expected = visible.energy(v) - hidden.log_total(0.4 * v)
            state = torch.full((1, 1), v, dtype=torch.float64)
            agree(rbm.free_energy(state).item(), expected)
    assert refused == 7  # Poisson units with each of the four unbounded types, either way round


def test_gibbsite_12_4_spin():
    """Gibbsite (12.4)."""
    unit = Unit("spin")
    a = fields(unit)
    agree(np.log(np.exp(a) + np.exp(-a)), brute_log_totals(unit))
    agree(np.log(2 * np.cosh(a)), log_partitions(unit))
    up = [unit.mean(z, lambda x: float(x == 1)) for z in INPUTS]
    agree(1 / (1 + np.exp(-2 * a)), up)
    agree(np.tanh(a), [unit.mean(z) for z in INPUTS])
    agree(means(unit), np.tanh(a))


def test_gibbsite_12_5_spins_are_binary_units():
    """Gibbsite (12.5): the same energies, state by state."""
    rng = np.random.default_rng(0)
    w, b, c = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=2)
    rbm = gb.RBM(gb.Spin(3), gb.Spin(2)).double()
    binary = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).double()
    ours, theirs = (w, b, c), (4 * w, 2 * b - 2 * w.sum(1), 2 * c - 2 * w.sum(0))
    with torch.no_grad():
        for model, values in ((rbm, ours), (binary, theirs)):
            parameters = model.weight, model.visible.bias, model.hidden.bias
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(torch.from_numpy(value))
        constant = b.sum() + c.sum() - w.sum()
        for v, h in itertools.product(bits(3), bits(2)):
            expected = -(2 * v - 1) @ w @ (2 * h - 1) - b @ (2 * v - 1) - c @ (2 * h - 1)
            v, h = torch.from_numpy(v), torch.from_numpy(h)
            agree(rbm.energy(2 * v - 1, 2 * h - 1).item(), expected)
            agree(binary.energy(v, h).item() + constant, expected)
        difference = gb.exact.log_partition(binary) - gb.exact.log_partition(rbm)
    agree(difference.item(), constant)


def test_gibbsite_12_6_categorical():
    """Gibbsite (12.6): sums over one-hot states of both units."""
    rng = np.random.default_rng(1)
    b, inputs = rng.normal(size=5), rng.normal(size=5)
    states = [
        np.concatenate([np.eye(2)[k], np.eye(3)[m]])
        for k, m in itertools.product(range(2), range(3))
    ]
    exponents = np.array([(b + inputs) @ x for x in states])
    a = b + inputs
    agree(logsumexp(a[:2]) + logsumexp(a[2:]), logsumexp(exponents))
    p = np.exp(exponents - logsumexp(exponents)) @ np.array(states)
    softmax = np.concatenate([np.exp(x - logsumexp(x)) for x in (a[:2], a[2:])])
    agree(softmax, p)
    layer = gb.Categorical([2, 3]).double()
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(b))
        agree(layer.log_partition(torch.from_numpy(inputs)).item(), logsumexp(exponents))
        agree(layer.mean(torch.from_numpy(inputs)), p)


def test_gibbsite_12_7_gauge():
    """Gibbsite (12.7): probabilities stay, and without the change of c they do not."""
    rng = np.random.default_rng(2)
    rbm = gb.RBM(gb.Categorical([2, 3]), gb.Bernoulli(2)).double()
    u = torch.from_numpy(rng.normal(size=(2, 2)))
    g = torch.from_numpy(rng.normal(size=2))
    unit_of_column = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
        v, h = rbm.visible.states(0, 6)[:, None], rbm.hidden.states(0, 4)[None]

        def joint() -> np.ndarray:
            weights = torch.exp(-rbm.energy(v, h)).numpy()
            return weights / weights.sum()

        before = joint()
        rbm.visible.bias += g[unit_of_column]
        agree(joint(), before)
        rbm.weight += u[unit_of_column]
        assert np.abs(joint() - before).max() > 1e-3
        rbm.hidden.bias -= u.sum(0)
        agree(joint(), before)


def test_gibbsite_12_14_truncated_exponential():
    """Gibbsite (12.14)."""
    unit = Unit("truncated exponential")
    a = fields(unit)
    agree(np.log((np.exp(a) - 1) / a), brute_log_totals(unit))
    agree(1 / (1 - np.exp(-a)) - 1 / a, [unit.mean(z) for z in INPUTS])
    agree(means(unit), [unit.mean(z) for z in INPUTS])


@pytest.mark.parametrize("a", [1e-12, 1e-6, -1e-3, 0.3, -0.99, 2.5])
def test_gibbsite_12_15_series_near_zero(a):
    """Gibbsite (12.15): the series in exact arithmetic, and the library in double precision."""
    layer = gb.TruncatedExponential(1).double()
    inputs = torch.tensor([a], dtype=torch.float64)
    with mpmath.workdps(50), torch.no_grad():
        x = mpmath.mpf(a)
        closed = mpmath.log((mpmath.exp(x) - 1) / x)
        series = x / 2 + mpmath.nsum(
            lambda k: (
                mpmath.bernoulli(2 * int(k))
                * x ** (2 * int(k))
                / (2 * k * mpmath.factorial(2 * int(k)))
            ),
            [1, 60],
        )
        mean = 1 / (1 - mpmath.exp(-x)) - 1 / x
        assert abs(closed - series) < mpmath.mpf(10) ** -20
        agree(layer.log_partition(inputs).item(), float(closed), 1e-14)
        agree(layer.mean(inputs).item(), float(mean), 1e-14)


def test_gibbsite_12_16_poisson():
    """Gibbsite (12.16)."""
    unit = Unit("poisson")
    rate = np.exp(fields(unit))
    agree(rate, brute_log_totals(unit))
    agree(rate, means(unit))
    variance = [unit.mean(z, lambda x, z=z: (x - unit.mean(z)) ** 2) for z in INPUTS]
    agree(rate, variance)


def test_gibbsite_12_17_binomial():
    """Gibbsite (12.17)."""
    unit = Unit("binomial")
    a = fields(unit)
    agree(5 * np.log(1 + np.exp(a)), brute_log_totals(unit))
    agree(5 / (1 + np.exp(-a)), means(unit))


def test_gibbsite_12_17_a_sum_of_binary_units():
    """Gibbsite (12.17): three binary hidden units with one bias and one weight vector."""
    rng = np.random.default_rng(3)
    w, b, c = rng.normal(size=4), rng.normal(size=4), rng.normal()
    one = gb.RBM(gb.Bernoulli(4), gb.Binomial(1, 3)).double()
    three = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)).double()
    with torch.no_grad():
        for rbm in (one, three):
            rbm.weight.copy_(torch.from_numpy(w)[:, None].expand_as(rbm.weight))
            rbm.visible.bias.copy_(torch.from_numpy(b))
            rbm.hidden.bias.fill_(c)
        v = torch.from_numpy(bits(4))
        brute = [b @ x + logsumexp([h.sum() * (c + w @ x) for h in bits(3)]) for x in bits(4)]
        agree(one.free_energy(v), -np.array(brute))
        agree(three.free_energy(v), -np.array(brute))
