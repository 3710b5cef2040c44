"""Monitors against brute-force conditionals, quadrature and loops."""

import numpy as np
import pytest
import torch
from oracle import agree, arrays, bernoulli_case, gaussian_case, gaussian_energy, random_rbm
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.likelihood import monitors

BINARY = bernoulli_case(0)
REAL = {
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=True),
}
CASES = {"bernoulli": BINARY} | REAL

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def conditionals_by_table(case) -> float:
    """Mean over rows of sum_i log p(v_i | others), from the table of p(v)."""
    p = dict(zip(map(tuple, case.v), case.p_v, strict=True))
    total = 0.0
    for row in case.data:
        for i in range(len(row)):
            flipped = row.copy()
            flipped[i] = 1 - flipped[i]
            total += np.log(p[tuple(row)] / (p[tuple(row)] + p[tuple(flipped)]))
    return total / len(case.data)


@pytest.mark.parametrize("seed", [0, 1])
def test_pseudo_likelihood_of_binary_units(seed):
    case = bernoulli_case(seed)
    agree(gb.pseudo_likelihood(case.rbm, case.data), conditionals_by_table(case))


def conditionals_by_quadrature(case) -> float:
    """The same for real units, by the trapezoid rule over each unit, far and fine."""
    total = 0.0
    for row in case.data:
        for i in range(len(row)):
            x = case.b[i] + case.sigma[i] * np.arange(-25, 25, 0.25)
            trials = np.tile(row, (len(x), 1))
            trials[:, i] = x
            log_mass = logsumexp(case.log_p(trials)) + np.log(0.25 * case.sigma[i])
            total += case.log_p(row[None])[0] - log_mass
    return total / len(case.data)


@pytest.mark.parametrize("case", REAL.values(), ids=REAL)
def test_pseudo_likelihood_of_real_units(case):
    agree(gb.pseudo_likelihood(case.rbm, case.data), conditionals_by_quadrature(case))


def test_pseudo_likelihood_with_strong_weights():
    """Conditional means tens of sigma apart: the quadrature must reach them."""
    rbm = random_rbm(gb.Gaussian(2, sigma=0.5), 3, seed=2, scale=8.0)
    w, b, c = arrays(rbm)
    v = gb.exact.sample(rbm, 3, generator=torch.Generator().manual_seed(0)).numpy()
    h = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T

    def log_weight(row):
        return logsumexp([-gaussian_energy(w, b, c, [0.5, 0.5], row, state) for state in h])

    total = 0.0
    for row in v:
        for i in range(2):
            x = np.arange(-40, 40, 0.1)
            trials = [np.where(np.arange(2) == i, value, row) for value in x]
            total += log_weight(row) - logsumexp([log_weight(t) for t in trials]) - np.log(0.1)
    agree(gb.pseudo_likelihood(rbm, v), total / 3, 1e-8)


def test_pseudo_likelihood_of_real_units_on_both_sides_is_refused():
    """One unit given the others is then of no bounded width, and the grid would miss mass."""
    rbm = gb.RBM(gb.Gaussian(2), gb.Gaussian(2))
    with pytest.raises(gb.ArgumentError, match="no bounds"):
        gb.pseudo_likelihood(rbm, torch.zeros(1, 2))


@pytest.mark.parametrize("block_bytes", [1, 500])
@each_case
def test_pseudo_likelihood_in_blocks(case, block_bytes, monkeypatch):
    whole = gb.pseudo_likelihood(case.rbm, case.data)
    monkeypatch.setattr(monitors, "BLOCK_BYTES", block_bytes)
    agree(gb.pseudo_likelihood(case.rbm, case.data), whole, 1e-12)


def test_pseudo_likelihood_of_independent_units_is_the_likelihood():
    rbm = random_rbm(gb.Bernoulli(5), 3, seed=0)
    with torch.no_grad():
        rbm.weight.zero_()
    v = torch.eye(5)
    agree(gb.pseudo_likelihood(rbm, v), gb.exact.log_likelihood(rbm, v).mean().item())


@each_case
def test_free_energy_gap_is_the_difference_of_likelihoods(case):
    train, test = case.data[:2], case.data[2:]
    expected = case.log_p(train).mean() - case.log_p(test).mean()
    agree(gb.free_energy_gap(case.rbm, train, test), expected)


@each_case
def test_reconstruction_error_by_loops(case):
    means = case.rbm.visible_mean(case.rbm.hidden_mean(case.data)).numpy()
    total = 0.0
    for row, mean in zip(case.data, means, strict=True):
        for x, m in zip(row, mean, strict=True):
            total += (x - m) ** 2
    agree(gb.reconstruction_error(case.rbm, case.data), total / case.data.size)


MONITORS = {
    "pseudo_likelihood": gb.pseudo_likelihood,
    "reconstruction_error": gb.reconstruction_error,
    "free_energy_gap, train": lambda rbm, v: gb.free_energy_gap(rbm, v, torch.zeros(1, 4)),
    "free_energy_gap, test": lambda rbm, v: gb.free_energy_gap(rbm, torch.zeros(1, 4), v),
}


@pytest.mark.parametrize("monitor", MONITORS.values(), ids=MONITORS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 3), "3 columns .* 4 units"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.tensor([[0.0, 1, float("nan"), 0]]), "nan at row 1, column 3"),
        (torch.full((2, 4), 7.0), "7 at row 1, column 1"),
    ],
)
def test_unfit_data(monitor, data, message):
    with pytest.raises(gb.DataError, match=message):
        monitor(BINARY.rbm, data)


@pytest.mark.parametrize("monitor", MONITORS.values(), ids=MONITORS)
def test_results_are_plain_numbers_and_leave_no_graph(monitor):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0).float()
    assert type(monitor(rbm, torch.eye(4))) is float
    assert all(parameter.grad is None for parameter in rbm.parameters())


def test_pseudo_likelihood_of_many_finite_units_with_unbounded_inputs():
    """More states than a float can count, and inputs without bounds: sums over units are exact."""
    rbm = gb.RBM(gb.Categorical(700, 3), gb.Gaussian(2)).double()
    assert rbm.visible.n_states == np.inf
    v = rbm.visible.sample(rbm.visible.zero_inputs(2))
    agree(gb.pseudo_likelihood(rbm, v), 700 * np.log(1 / 3))


def test_pseudo_likelihood_of_a_rate_far_up():
    """The range of the inputs, not of the inputs there are, says which counts to sum over."""
    rbm = random_rbm(gb.Poisson(1), 2, seed=0)
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([[3.0, -30.0]]))
        rbm.visible.bias.fill_(1.0)
    v = torch.tensor([[20.0]], dtype=torch.float64)
    agree(gb.pseudo_likelihood(rbm, v), gb.exact.log_likelihood(rbm, v).item(), 1e-9)


def test_pseudo_likelihood_with_too_many_counts_is_refused():
    rbm = gb.RBM(gb.Poisson(1), gb.Bernoulli(30))
    with torch.no_grad():
        rbm.weight.fill_(1.0)
    with pytest.raises(gb.TooLargeError, match="too many counts to sum over"):
        gb.pseudo_likelihood(rbm, torch.zeros(1, 1))


def test_pseudo_likelihood_of_counts_in_blocks(monkeypatch):
    """Blocks of rows, and of the points of a unit."""
    rbm = random_rbm(gb.Poisson(2), 2, seed=0, scale=0.5)
    v = torch.tensor([[0.0, 3.0], [5.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    whole = gb.pseudo_likelihood(rbm, v)
    monkeypatch.setattr(monitors, "BLOCK_BYTES", 200)
    agree(gb.pseudo_likelihood(rbm, v), whole, 1e-12)


def test_pseudo_likelihood_of_a_model_that_needs_double_precision():
    """Columns thousands of sigmas from 0, in float32: as in float64."""
    rbm = random_rbm(gb.Gaussian(2, sigma=[0.01, 1.0]), 3, seed=1)
    with torch.no_grad():
        rbm.visible.bias.add_(torch.tensor([300.0, 0.0]))
    rbm = rbm.float()
    v = gb.exact.sample(rbm.double(), 4, generator=torch.Generator().manual_seed(0))
    expected = gb.pseudo_likelihood(rbm, v)
    agree(gb.pseudo_likelihood(rbm.float(), v), expected, 1e-9)
