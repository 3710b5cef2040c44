"""Counts with a limit: against SciPy's binomial law, and against sums of binary units."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

import gibbsite as gb

each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def binomial(bias: list[float], trials, dtype=torch.float64) -> gb.Binomial:
    layer = gb.Binomial(len(bias), trials).to(dtype)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(bias, dtype=dtype))
    return layer


def test_log_prob_is_that_of_the_binomial_law():
    layer = binomial([0.3, -2.0, 1.0], [4, 1, 3000])
    x = torch.tensor([[0.0, 0, 0], [4, 1, 3000], [2, 0, 2100]], dtype=torch.float64)
    inputs = torch.tensor([1.0, 0.5, -0.1], dtype=torch.float64)
    p = 1 / (1 + np.exp(-np.array([1.3, -1.5, 0.9])))
    expected = stats.binom.logpmf(x.numpy(), [4, 1, 3000], p).sum(1)
    np.testing.assert_allclose(layer.log_prob(x, inputs).detach(), expected, rtol=1e-10)


def test_a_unit_is_a_sum_of_binary_units():
    """exp(-energy(x)) counts the states of t binary units with x ones."""
    layer, bias = binomial([0.7], 5), 0.7
    factors = np.zeros(6)
    for state in itertools.product([0, 1], repeat=5):
        factors[sum(state)] += math.exp(bias * sum(state))
    x = torch.arange(6.0).double()[:, None]
    np.testing.assert_allclose(torch.exp(-layer.energy(x)).detach(), factors, rtol=1e-13)
    total = math.log(factors.sum())
    assert layer.log_partition(torch.zeros(1).double()).item() == pytest.approx(total)


@each_dtype
def test_of_one_trial_it_is_the_binary_unit(dtype):
    one, binary = binomial([0.3, -2.0, 5.0], 1, dtype), gb.Bernoulli(3).to(dtype)
    binary.load_state_dict(one.state_dict())
    inputs = torch.tensor([[-1e4, 0.0, 2.0], [1e4, -40.0, 0.1]], dtype=dtype)
    x = torch.tensor([[0.0, 1, 1], [1, 0, 1]], dtype=dtype)
    rows = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 0, 1]], dtype=dtype)
    for name, arguments in {
        "energy": (x,),
        "log_partition": (inputs,),
        "mean": (inputs,),
        "log_prob": (x, inputs),
        "inputs_for": (rows,),
        "states": (0, 8),
    }.items():
        torch.testing.assert_close(
            getattr(one, name)(*arguments), getattr(binary, name)(*arguments)
        )
    assert one.n_states == binary.n_states
    assert one.interval == binary.interval
    for unit in range(3):
        assert torch.equal(one.unit_states(unit)[0], binary.unit_states(unit)[0])
    visible = torch.eye(3, dtype=dtype)
    log_z = []
    for layer in (one, binary):
        rbm = gb.RBM(layer, gb.Bernoulli(2).to(dtype))
        with torch.no_grad():
            rbm.weight.copy_(torch.tensor([[0.5, -1], [2, 0.1], [-0.3, 1]], dtype=dtype))
        log_z.append(gb.exact.log_likelihood(rbm, visible).detach())
    torch.testing.assert_close(*log_z)


@each_dtype
def test_limits_of_huge_inputs(dtype):
    layer = binomial([0.0], 7, dtype)
    inputs = torch.tensor([[-1e4], [1e4]], dtype=dtype, requires_grad=True)
    log_z = layer.log_partition(inputs)
    assert log_z.tolist() == [0.0, 7e4]
    assert layer.mean(inputs).tolist() == [[0.0], [7.0]]
    assert layer.sample(inputs).tolist() == [[0.0], [7.0]]
    assert torch.autograd.grad(log_z.sum(), inputs)[0].tolist() == [[0.0], [7.0]]
    x = torch.tensor([[0.0], [7.0]], dtype=dtype)
    assert layer.log_prob(x, inputs).tolist() == [0.0, 0.0]


def test_energy_of_many_trials_in_single_precision():
    """The logarithms of factorials are far larger than what is left of them."""
    layer, x = binomial([0.0], 100_000, torch.float32), torch.tensor([3.0])
    expected = -math.log(math.comb(100_000, 3))
    assert layer.energy(x).item() == pytest.approx(expected, rel=1e-6)


@each_dtype
@pytest.mark.parametrize("trials", [1, 6, 40, 5000])
@pytest.mark.parametrize("odds", [-7.0, -0.4, 0.0, 0.4, 7.0])
def test_draws_have_the_frequencies_of_the_binomial_law(trials, odds, dtype):
    """Chi-squared, with counts of an expectation below 10 taken together."""
    n = 50_000
    inputs = torch.full((n, 1), odds - 0.5, dtype=dtype)
    x = binomial([0.5], trials, dtype).sample(inputs, torch.Generator().manual_seed(1))
    assert x.dtype == dtype
    law = stats.binom(trials, 1 / (1 + math.exp(-odds)))
    counts = np.arange(trials + 1)
    edges = counts[(n * law.cdf(counts) > 10) & (n * law.sf(counts) > 10)]
    expected = n * np.diff(law.cdf(edges), prepend=0, append=1)
    observed = np.bincount(np.searchsorted(edges, x[:, 0].numpy()), minlength=len(expected))
    if len(expected) > 1:
        assert stats.chisquare(observed, expected).pvalue > 1e-6
    assert 0 <= x.min() <= x.max() <= trials


def test_a_rare_failure_comes_at_its_rate():
    """P(x < t) = t e^-30 in float32, where 1 - p is 0: no draw of 1e5 may show it."""
    layer = binomial([0.0], 3, torch.float32)
    x = layer.sample(torch.full((100_000, 1), 30.0), torch.Generator().manual_seed(0))
    assert (x == 3).all()
    often = layer.sample(torch.full((400_000, 1), 9.0), torch.Generator().manual_seed(0))
    expected = 400_000 * 3 / (1 + math.exp(9.0))
    assert stats.poisson.sf(float((3 - often).sum()) - 1, expected) > 1e-6
    assert stats.poisson.cdf(float((3 - often).sum()), expected) > 1e-6


def test_states_are_the_digits_of_mixed_sizes():
    layer = gb.Binomial(3, [2, 1, 3])
    assert layer.n_states == 3 * 2 * 4
    expected = [[a, b, c] for c in range(4) for b in range(2) for a in range(3)]
    assert layer.states(0, 24).tolist() == expected
    assert layer.states(5, 9).tolist() == expected[5:9]


def test_states_of_many_units():
    """Later units stay in their first state, whatever the product of the sizes."""
    layer = gb.Binomial(200, 3)
    assert layer.states(0, 5)[:, :2].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]]
    assert not layer.states(0, 16)[:, 2:].any()
    assert gb.Binomial(600, 3).n_states == math.inf


def test_inputs_for_are_log_odds_of_the_shares():
    layer = binomial([0.3, -1.0], [4, 10])
    rows = torch.tensor([[1.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    expected = np.log([5.5 / 3.5, 0.5 / 20.5])
    np.testing.assert_allclose(layer.inputs_for(rows) + layer.bias.detach(), expected)


@pytest.mark.parametrize(
    ("trials", "value", "message"),
    [
        (3, 4.0, "4 at row 2, column 2 .* from 0 to 3 in whole numbers"),
        (3, 0.5, "0.5 at row 2, column 2"),
        (3, -1.0, "-1 at row 2, column 2"),
        ([9, 3], 4.0, "4 at row 2, column 2 .* the unit's trials"),
    ],
)
def test_unfit_data(trials, value, message):
    rows = torch.tensor([[0.0, 3.0], [1.0, value]], dtype=torch.float64)
    with pytest.raises(gb.DataError, match=message):
        binomial([0.0, 0.0], trials).check_data(rows)
    with pytest.raises(gb.DataError):
        binomial([0.0, 0.0], trials).check_states(rows)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (0, "trials=0: expected a whole number of at least 1"),
        (2.5, "trials=2.5"),
        (True, "trials=True"),
        ([3, 3, 3], "3 entries for 2 units"),
        ([3, 0], "trials=0"),
        ("34", "trials='3'"),
        (2**24 + 1, "at most 2\\^24; use gb.Poisson"),
    ],
)
def test_unfit_trials(trials, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.Binomial(2, trials)


@pytest.mark.parametrize("trials", [4, [4, 4], [2, 9]])
def test_saved_and_loaded(trials, tmp_path):
    rbm = gb.RBM(binomial([0.3, -1.0], trials), gb.Binomial(1, 2).double())
    gb.save(rbm, tmp_path / "model.safetensors")
    loaded = gb.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.visible.trials, rbm.visible.trials)
    assert loaded.state_dict().keys() == {"weight", "visible.bias", "hidden.bias"}
    torch.testing.assert_close(
        loaded.free_energy(torch.ones(1, 2)), rbm.free_energy(torch.ones(1, 2))
    )


def test_trials_of_numpy_and_torch():
    for trials in (np.array([2, 5]), torch.tensor([2, 5]), (2, 5), np.int64(3)):
        assert gb.Binomial(2, trials).options() in ({"trials": [2, 5]}, {"trials": 3})
