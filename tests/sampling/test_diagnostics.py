"""Diagnostics on chains whose correlations are known.

An AR(1) chain x_t = rho x_(t-1) + noise, started at its stationary law, has autocorrelation
rho^t and so tau = (1 + rho)/(1 - rho). Sokal's (1997) estimate sums M = 5 tau lags and its
relative variance is 2(2M + 1)/N with N numbers in all.
"""

import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import FAILURE, quantile
from oracle import agree
from outcomes import outcome
from scipy.signal import lfilter
from scipy.stats import f

import gibbsite as gb


def ar1(rho: float, steps: int, chains: int, seed: int = 0) -> torch.Tensor:
    """Stationary from the first step, variance 1."""
    noise = np.random.default_rng(seed).standard_normal((steps, chains))
    noise[1:] *= np.sqrt(1 - rho**2)
    return torch.from_numpy(lfilter([1], [1, -rho], noise, axis=0))


def tau_limit(rho: float, steps: int, chains: int) -> float:
    """How far the estimate may be from tau: chance, the lags left out, the short series."""
    tau, n = (1 + rho) / (1 - rho), steps * chains
    window = 5 * tau
    chance = quantile() * tau * np.sqrt(2 * (2 * window + 1) / n)
    cut_off = 2 * rho**window / (1 - rho)
    short = 2 * rho / (1 - rho) ** 2 / steps + tau * (2 * window + 1) / n
    return chance + cut_off + short


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.9, 0.95])
@pytest.mark.parametrize(("steps", "chains"), [(20_000, 4), (4000, 20)])
def test_autocorrelation_time_of_known_chains(rho, steps, chains):
    tau, limit = (1 + rho) / (1 - rho), tau_limit(rho, steps, chains)
    assert limit < 0.6 * tau
    assert abs(gb.autocorrelation_time(ar1(rho, steps, chains)) - tau) < limit


def test_one_long_chain():
    rho, steps = 0.8, 100_000
    found = gb.autocorrelation_time(ar1(rho, steps, 1))
    assert abs(found - 9.0) < tau_limit(rho, steps, 1)


def test_autocorrelation_time_is_the_loss_in_the_error_of_a_mean():
    """What it is for: Var of a chain's mean is tau/steps, here over 2,000 chains."""
    chains = ar1(0.8, 2000, 2000)
    ratio = chains.mean(0).var().item() * 2000
    bound = quantile() * np.sqrt(2 / 1999)
    # a chain of 2,000 steps falls short of the limit by 2 rho/(1-rho)^2/steps = 0.02
    assert abs(ratio / gb.autocorrelation_time(chains) - 1) < bound + 0.02


def tau_by_loops(series: np.ndarray) -> float:
    """The definition: lag by lag, until the lag reaches five times the sum so far."""
    steps, chains = series.shape
    x = series - series.mean()
    lags = [
        sum(x[t, c] * x[t + lag, c] for c in range(chains) for t in range(steps - lag))
        for lag in range(steps)
    ]
    tau = 1.0
    for lag in range(1, steps):
        tau += 2 * lags[lag] / lags[0]
        if lag >= 5 * tau:
            break
    return max(1.0, tau)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize(("steps", "chains"), [(40, 3), (57, 1), (4, 2)])
def test_autocorrelation_time_by_loops(rho, steps, chains):
    series = ar1(rho, steps, chains, seed=1)
    agree(gb.autocorrelation_time(series), tau_by_loops(series.numpy()))


def test_chains_that_alternate_count_as_independent():
    """Anticorrelated: tau below 1 would promise more than there are."""
    assert gb.autocorrelation_time(ar1(-0.9, 1000, 4)) == 1.0


def test_chains_stuck_apart_have_a_long_autocorrelation_time():
    apart = ar1(0.0, 500, 4) * 0.1 + torch.arange(4.0)
    assert gb.autocorrelation_time(apart) > 100


def r_hat_limit(steps: int, chains: int) -> float:
    """For independent normal draws, (steps/2) between/within is F-distributed."""
    half, groups = steps // 2, 2 * chains
    ratio = f.isf(FAILURE, groups - 1, groups * (half - 1))
    return math.sqrt((half - 1) / half + ratio / half)


@pytest.mark.parametrize(("steps", "chains"), [(20, 2), (100, 4), (1000, 10), (1001, 3), (50, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_r_hat_of_independent_draws(steps, chains, seed):
    r_hat = gb.split_r_hat(ar1(0.0, steps, chains, seed))
    assert math.sqrt((steps // 2 - 1) / (steps // 2)) <= r_hat < r_hat_limit(steps, chains)


def test_r_hat_of_long_chains_is_one():
    assert gb.split_r_hat(ar1(0.5, 50_000, 4)) < 1.001


WRONG = {
    "one chain apart": lambda x: x + torch.tensor([0.0, 0.0, 0.0, 2.0]),
    "two groups": lambda x: x + torch.tensor([0.0, 0.0, 1.0, 1.0]),
    "all drift": lambda x: x + torch.linspace(0, 2, len(x))[:, None],
    "one drifts": lambda x: x + torch.linspace(0, 4, len(x))[:, None] * torch.eye(4)[0],
    "a jump halfway": lambda x: x + (torch.arange(len(x)) >= len(x) // 2)[:, None],
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_r_hat_notices(change):
    series = ar1(0.0, 400, 4)
    assert gb.split_r_hat(series) < r_hat_limit(400, 4) < 1.05
    assert gb.split_r_hat(change(series)) > 1.05


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_r_hat_of_shifted_chains(shift):
    """Half of the chains shifted: R^2 is 1 + shift^2/4 in the limit, groups/(groups - 1) times."""
    x = ar1(0.0, 20_000, 100)
    x[:, 50:] += shift
    expected = math.sqrt(1 + shift**2 / 4 * 200 / 199)
    # within and between are means over 2 and 0.02 million draws
    assert gb.split_r_hat(x) == pytest.approx(expected, rel=quantile() * 2 / math.sqrt(20_000))


def test_r_hat_by_loops():
    series = ar1(0.6, 30, 3, seed=2).numpy()
    halves = [series[a:b, c] for a, b in ((0, 15), (15, 30)) for c in range(3)]
    within = np.mean([half.var(ddof=1) for half in halves])
    between = 15 * np.var([half.mean() for half in halves], ddof=1)
    expected = np.sqrt(((15 - 1) / 15 * within + between / 15) / within)
    agree(gb.split_r_hat(torch.from_numpy(series)), expected)


def test_of_an_odd_number_of_steps_the_middle_one_is_left_out():
    series = ar1(0.5, 21, 3)
    changed = series.clone()
    changed[10] = 100.0
    assert gb.split_r_hat(changed) == gb.split_r_hat(series)


FIGURES = {"autocorrelation_time": gb.autocorrelation_time, "split_r_hat": gb.split_r_hat}
each_figure = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)


@each_figure
@pytest.mark.parametrize("value", [0.0, 0.1, -123.456, 1e30, 1 / 3])
@pytest.mark.parametrize("shape", [(4, 1), (50, 7), (1001, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constants_are_at_rest(figure, value, shape, dtype):
    """Exactly: the rounding of a mean is no variation."""
    assert figure(torch.full(shape, value, dtype=dtype)) == 1.0


def test_chains_that_rest_at_different_values():
    series = torch.tensor([0.1, 0.7, 0.3]).double().expand(100, 3)
    assert gb.split_r_hat(series) > 1e6
    assert gb.autocorrelation_time(series) > 20


@each_figure
@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_units_do_not_matter(figure, scale, shift):
    series = ar1(0.7, 200, 4)
    agree(figure((series + shift) * scale), figure(series), 1e-6)


@each_figure
def test_the_order_of_chains_does_not_matter(figure):
    series = ar1(0.7, 200, 4)
    agree(figure(series[:, [2, 0, 3, 1]]), figure(series), 1e-9)


@each_figure
def test_precision_and_graph(figure):
    series = ar1(0.7, 200, 4)
    before = series.clone()
    agree(figure(series.float()), figure(series), 1e-5)
    assert type(figure(series.clone().requires_grad_())) is float
    assert torch.equal(series, before)


@each_figure
@pytest.mark.parametrize(
    "series",
    [
        torch.zeros(3, 5),
        torch.zeros(0, 5),
        torch.zeros(10),
        torch.zeros(4, 3, 2),
        torch.full((10, 2), float("nan")),
        torch.full((10, 2), float("inf")),
    ],
    ids=lambda x: str(tuple(x.shape)),
)
def test_series_that_are_none(figure, series):
    with pytest.raises(gb.DataError, match=r"expected \(steps, chains\)") as error:
        figure(series)
    assert str(tuple(series.shape)) in str(error.value)


@each_figure
def test_no_chains(figure):
    with pytest.raises(gb.DataError, match=r"shape \(10, 0\)"):
        figure(torch.zeros(10, 0))


@given(
    shape=st.lists(st.integers(0, 6), min_size=0, max_size=3),
    value=st.floats(width=32),
    seed=st.integers(0, 5),
)
def test_any_series_gives_a_figure_or_is_refused(shape, value, seed):
    g = torch.Generator().manual_seed(seed)
    series = torch.randn(shape, generator=g, dtype=torch.float64) + value
    for figure in FIGURES.values():
        found, message = outcome(lambda figure=figure: figure(series))
        if message is None:
            assert found >= 1 or figure is gb.split_r_hat
            assert not math.isnan(found)
        else:
            assert str(tuple(series.shape)) in message


@pytest.mark.parametrize("chains", [2, 7])
@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99])
def test_as_arviz_has_them(chains, rho):
    """An oracle written by others: the same split R-hat, and nearly the same effective draws.

    It sums the autocorrelations by pairs up to the first that is negative, so not to the same lag.
    """
    series = ar1(rho, 4000, chains).double()
    by_chain = series.numpy().T
    expected = array_stats.rhat(by_chain, chain_axis=0, draw_axis=1, method="split")
    assert gb.split_r_hat(series) == pytest.approx(float(expected), rel=1e-9)
    if rho < 0.99:  # else too few to say
        draws = array_stats.ess(by_chain, chain_axis=0, draw_axis=1, method="mean")
        ours = series.numel() / gb.autocorrelation_time(series)
        assert ours == pytest.approx(float(draws), rel=0.35)
