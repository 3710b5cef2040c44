"""Starts of the reverse direction: draws of the model, and checks that cannot be fooled cheaply."""

import math

import numpy as np
import pytest
import torch
from montecarlo import state_numbers, total_variation, tv_floor
from oracle import bernoulli_case
from planted import curie_weiss, exchangeable, ferromagnet, opposite_patterns, rows_of

import gibbsite as gb
from gibbsite.likelihood import equilibrium_draws
from gibbsite.likelihood.weights import unseen_95

CASE = bernoulli_case(0)
DATA = torch.from_numpy(CASE.data)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def markov_starts(monkeypatch):
    """As in a model too large to enumerate."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)


def test_an_exact_start_is_a_draw_of_the_model():
    start = equilibrium_draws(CASE.rbm, 50_000, 0, generator=generator())
    assert start.problems == ()
    assert start.independent == 50_000
    assert total_variation(state_numbers(start.v), CASE.p_v) < tv_floor(CASE.p_v, 50_000)


@pytest.mark.parametrize("data", [None, DATA])
def test_a_chain_start_is_a_draw_of_the_model(data, markov_starts):
    """20 sweeps leave less than 1e-4 of any start of this model (see test_run)."""
    start = equilibrium_draws(CASE.rbm, 20_000, 80, data, generator())
    assert start.problems == ()
    assert total_variation(state_numbers(start.v), CASE.p_v) < tv_floor(CASE.p_v, 20_000) + 1e-4


def test_half_of_the_chains_start_at_data(markov_starts):
    """Seen with no sweeps at all: 5 rows of data, 5 of noise; an odd one goes to noise."""
    rows = torch.full((3, 2), 100.0).double()
    rbm = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).double()
    for n, at_data in ((10, 5), (11, 5), (1, 0)):
        start = equilibrium_draws(rbm, n, 0, rows, generator())
        assert (start.v[:, 0] == 100).sum() == at_data
        assert "too few steps" in start.problems[0]


def test_slow_chains_are_too_short():
    """One real unit a side, coupling w: v is an AR(1) chain with rho = w^2, and F goes as v^2.

    So the autocorrelation time of F is (1 + rho^2)/(1 - rho^2), 20 here: of 200 steps the second
    half are 5 times that.
    """
    rbm = gb.RBM(gb.Gaussian(1), gb.Gaussian(1)).double().requires_grad_(False)
    rbm.weight.fill_(math.sqrt(0.95))
    problems = equilibrium_draws(rbm, 100, 200, generator=generator()).problems
    found = [p for p in problems if "autocorrelation times of the free energy" in p]
    assert "fewer than 20; use more temperatures" in found[0]


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_too_few_steps_to_test_equilibrium(steps, markov_starts):
    start = equilibrium_draws(CASE.rbm, 10, steps, generator=generator())
    assert start.problems == ("the chains ran for too few steps to test; use more temperatures",)


@pytest.mark.parametrize("given", [True, False])
def test_both_phases_of_a_ferromagnet_are_started_in(given, markov_starts):
    """All off or all on, which the visible bias alone never draws."""
    data = torch.zeros(10, 100) if given else None
    start = equilibrium_draws(ferromagnet(0.15), 100, 200, data, generator())
    on = (start.v.mean(1) > 0.5).float().mean()
    assert 0.1 < on < 0.9
    assert any("hidden unit" in problem for problem in start.problems)


def test_modes_of_equal_free_energy_are_told_by_the_hidden_units(markov_starts):
    """Both phases have the same F for ever, so only the units can tell that chains stay."""
    start = equilibrium_draws(curie_weiss(60, 2.0, 0.0), 100, 400, None, generator())
    assert [p for p in start.problems if "mean of hidden unit 1" in p]
    assert not [p for p in start.problems if "R-hat of the free energy" in p]


@pytest.mark.parametrize("seed", range(3))
def test_the_floor_is_no_more_than_log_z(seed, markov_starts):
    log_z = float(np.log(CASE.z()))
    start = equilibrium_draws(CASE.rbm, 100, 400, None, generator(seed))
    assert start.floor <= log_z + 1e-9
    assert start.floor > log_z - 0.05  # 8 states of h, nearly all visited


def test_the_floor_of_a_large_model(markov_starts):
    rbm = ferromagnet(0.15)
    start = equilibrium_draws(rbm, 100, 200, rows_of(torch.zeros(100)), generator())
    assert start.floor < exchangeable(rbm)


def test_real_units_on_both_sides_have_no_floor():
    rbm = gb.RBM(gb.Gaussian(2), gb.Gaussian(2))
    assert equilibrium_draws(rbm, 10, 40, None, generator()).floor == -math.inf


def test_an_estimate_below_the_floor_is_refused(monkeypatch, markov_starts):
    """Walks find one of two modes that the chains see, and nothing bounds log Z from above."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    rbm, rows = opposite_patterns(2, 40.0)
    result = gb.log_partition(
        rbm, "bridge", data=1 - rows, temperatures=100, generator=generator(2)
    )
    truth = gb.exact.log_partition(rbm.double()).item()
    assert result.value < truth - 0.25
    assert result.upper == math.inf
    assert "add up to log Z >=" in result.verdict


def test_starts_follow_the_certificate(monkeypatch, markov_starts):
    """Two modes that only a ladder crosses between: with a certificate there are bounds."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    rbm, _ = opposite_patterns(2, 20.0)
    stuck = gb.log_partition(rbm, "bridge", temperatures=200, generator=generator(2))
    assert stuck.upper == math.inf
    rbm.certificate = gb.diagnose(rbm, generator=generator(1))
    assert rbm.certificate.sampler == "Tempering"
    assert rbm.certificate.is_equilibrium
    result = gb.log_partition(rbm, "bridge", temperatures=200, generator=generator(2))
    assert result.lower < gb.exact.log_partition(rbm.double()).item() < result.upper < math.inf


def test_what_may_be_unseen():
    """A share of the mass that 100 draws all miss once in forty times."""
    share = 1 - math.exp(-unseen_95(100))
    assert (1 - share) ** 100 == pytest.approx(0.025)
