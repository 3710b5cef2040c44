"""Counts without a limit: the closed forms against SciPy's Poisson law and sums by mpmath."""

import math

import mpmath
import numpy as np
import pytest
import torch
from montecarlo import assert_mean
from scipy import stats

import gibbsite as gb

each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def poisson(*bias: float, dtype=torch.float64) -> gb.Poisson:
    layer = gb.Poisson(len(bias)).to(dtype)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(bias, dtype=dtype))
    return layer


@pytest.mark.parametrize("log_rate", [-800.0, -3.0, 0.0, 1.7, 6.0])
def test_log_partition_is_the_sum_over_counts(log_rate):
    """sum_x exp(r x) / x! in 50 digits."""
    layer, inputs = poisson(0.4), torch.tensor([log_rate - 0.4], dtype=torch.float64)
    with mpmath.workdps(50):
        terms = (mpmath.exp(log_rate * x) / mpmath.factorial(x) for x in range(2000))
        expected = float(mpmath.log(mpmath.fsum(terms)))
    assert layer.log_partition(inputs).item() == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_log_prob_is_that_of_the_poisson_law():
    layer = poisson(0.3, -2.0, 7.0)
    x = torch.tensor([[0.0, 0, 0], [1, 2, 1100], [7, 0, 900]], dtype=torch.float64)
    inputs = torch.tensor([1.0, 0.5, -0.1], dtype=torch.float64)
    rates = np.exp([1.3, -1.5, 6.9])
    expected = stats.poisson.logpmf(x.numpy(), rates).sum(1)
    np.testing.assert_allclose(layer.log_prob(x, inputs).detach(), expected, rtol=1e-10)


def test_energy_of_large_counts_in_single_precision():
    """log x! - b x is thousands of times less than either: to rounding of the result alone."""
    layer, x = poisson(9.0, dtype=torch.float32), torch.tensor([8103.0])
    expected = math.lgamma(8104) - 9 * 8103
    assert layer.energy(x).item() == pytest.approx(expected, rel=1e-6)


@each_dtype
def test_a_rate_beyond_the_dtype_is_infinite_and_never_nan(dtype):
    layer = poisson(0.0, dtype=dtype)
    inputs = torch.tensor([[-1e4], [1e4]], dtype=dtype)
    assert layer.mean(inputs).tolist() == [[0.0], [math.inf]]
    assert layer.log_partition(inputs).tolist() == [0.0, math.inf]
    assert layer.sample(inputs[:1]).tolist() == [[0.0]]
    with pytest.raises(gb.errors.RateError, match=r"rate inf, beyond 2\^40.*smaller learning rate"):
        layer.sample(inputs)


def test_a_rate_that_is_nan_is_refused():
    with pytest.raises(gb.errors.RateError, match="rate nan"):
        poisson(0.0).sample(torch.tensor([[math.nan]], dtype=torch.float64))


def test_a_bias_of_an_infinite_rate_is_a_fault():
    assert poisson(1.0, 800.0).fault() == "exp(bias) holds inf"
    assert poisson(math.nan).fault() == "bias holds nan"
    assert poisson(20.0).fault() == ""


@each_dtype
@pytest.mark.parametrize("log_rate", [-3.0, 0.0, 2.0, 2.5, 6.0])
def test_draws_have_the_frequencies_of_the_poisson_law(log_rate, dtype):
    """Chi-squared, with counts of an expectation below 10 taken together; both draw algorithms."""
    n = 200_000
    inputs = torch.full((n, 1), log_rate - 0.5, dtype=dtype)
    x = poisson(0.5, dtype=dtype).sample(inputs, torch.Generator().manual_seed(1))
    assert x.dtype == dtype
    law = stats.poisson(math.exp(log_rate))
    edges = [k for k in range(2000) if n * law.cdf(k) > 10 and n * law.sf(k) > 10]
    expected = n * np.diff(law.cdf(edges), prepend=0, append=1)
    places = np.searchsorted(edges, x[:, 0].numpy())
    observed = np.bincount(places, minlength=len(expected))
    assert stats.chisquare(observed, expected).pvalue > 1e-6


@pytest.mark.parametrize("rate", [2.0**20, 2.0**39])
def test_draws_of_large_rates(rate):
    """Mean and variance of the standardised draws, which are near normal."""
    layer = poisson(math.log(rate))
    x = layer.sample(torch.zeros(100_000, 1).double(), torch.Generator().manual_seed(2)).numpy()
    z = (x - rate) / math.sqrt(rate)
    assert_mean(np.hstack([z, z**2, z**3]), [0.0, 1.0, 1 / math.sqrt(rate)])


def test_draws_depend_on_the_generator_alone():
    layer, inputs = poisson(1.0, 2.0), torch.zeros(3, 2).double()
    draws = [layer.sample(inputs, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(("bias", "reach"), [(-20.0, 0.0), (0.0, 0.0), (2.0, 1.5), (5.0, 4.0)])
def test_unit_states_leave_less_than_a_rounding_error(bias, reach):
    points, log_weights = poisson(0.0, bias).unit_states(1, reach)
    counts = points[:, 0].numpy()
    assert counts.tolist() == list(range(len(counts)))
    assert not log_weights.any()
    for inputs in (-reach, 0.0, reach):
        assert stats.poisson.sf(counts[-1], math.exp(bias + inputs)) < 1e-14


def test_too_many_counts_of_one_unit_are_refused():
    with pytest.raises(gb.TooLargeError, match=r"unit 0 of Poisson\(1\) .* smaller weights"):
        poisson(1.0).unit_states(0, 20.0)
    with pytest.raises(gb.TooLargeError, match="inf"):
        poisson(1.0).unit_states(0, math.inf)


def test_inputs_for_meet_the_means():
    layer = poisson(0.3, -1.0)
    rows = torch.tensor([[1.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    expected = np.log([5.5 / 2, 0.5 / 2])
    np.testing.assert_allclose(layer.inputs_for(rows) + layer.bias.detach(), expected)
    layer.initialize(rows)
    np.testing.assert_allclose(layer.bias.detach(), expected)


@pytest.mark.parametrize(
    ("value", "shown"), [(-1.0, "-1"), (0.5, "0.5"), (1e6 + 0.5, "1e\\+06"), (math.inf, "inf")]
)
def test_data_that_are_no_counts_are_refused(value, shown):
    rows = torch.tensor([[0.0, 3.0], [1.0, value]], dtype=torch.float64)
    with pytest.raises(gb.DataError, match=f"data hold {shown} at row 2, column 2"):
        poisson(0.0, 0.0).check_data(rows)


def test_counts_are_accepted():
    rows = torch.tensor([[0, 3], [10**9, 1]])
    assert torch.equal(poisson(0.0, 0.0).check_data(rows), rows.double())


def test_a_row_is_no_fit_for_its_extremes_alone():
    assert not gb.Poisson(2).checks_extremes


def test_states_have_no_end():
    layer = gb.Poisson(1)
    assert layer.n_states == math.inf
    with pytest.raises(gb.ArgumentError, match="no countable states"):
        layer.states(0, 2)
