"""Diagnosis of models with known answers.

In a ferromagnet, spins v and h with one weight w between all, the sum S of v is a Markov chain of
its own under Gibbs sweeps, with n + 1 states: its autocorrelation times are exact sums over its
eigenvalues, whatever the barrier.
"""

import copy
import math

import numpy as np
import pytest
import torch
from montecarlo import quantile
from scipy.stats import binom

import gibbsite as gb
from gibbsite.diagnosis import Course
from gibbsite.sampling.diagnose import _Task, steps_within
from gibbsite.sampling.recording import make_starts


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ferromagnet(weight: float, n: int = 20, m: int = 10) -> gb.RBM:
    rbm = gb.RBM(gb.Spin(n), gb.Spin(m))
    with torch.no_grad():
        rbm.weight.fill_(weight)
    return rbm


def exact_time(weight: float, n: int = 20, m: int = 10) -> float:
    """Autocorrelation time of E[h_1 | v] = tanh(w S), by the eigenvalues of the chain of S."""
    sums, theirs = np.arange(-n, n + 1, 2), np.arange(-m, m + 1, 2)
    up = 1 / (1 + np.exp(-2 * weight * sums))
    back = 1 / (1 + np.exp(-2 * weight * theirs))
    down = binom.pmf(np.arange(m + 1)[None], m, up[:, None])
    moves = down @ binom.pmf(np.arange(n + 1)[None], n, back[:, None])
    p = np.array([math.comb(n, k) for k in range(n + 1)]) * (2 * np.cosh(weight * sums)) ** m
    p = p / p.sum()
    root = np.sqrt(p)
    rho, vectors = np.linalg.eigh(root[:, None] * moves / root[None])  # reversible: symmetric
    share = (vectors.T @ (root * np.tanh(weight * sums))) ** 2
    rho, share = rho[:-1], share[:-1] / share[:-1].sum()  # without the constant
    return float((share * (1 + rho) / (1 - rho)).sum())


def time_limit(tau: float, n: int) -> float:
    """Error of an estimate from n records in all (Sokal 1997), relative to tau."""
    return quantile() * math.sqrt(2 * (10 * tau + 1) / n) + 2 * math.exp(-10) + 10 * tau**2 / n


def trained(epochs: int = 60) -> tuple[gb.RBM, torch.Tensor]:
    """Digits at equilibrium: trained by PCD with a falling rate."""
    data = gb.datasets.load("digits").train
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(64))
    gb.fit(rbm, data, epochs=epochs, batch_size=50, generator=seeded(0))
    return rbm, data


@torch.no_grad()
def trained_from_noise(steps: int, epochs: int, rate: float) -> tuple[gb.RBM, torch.Tensor]:
    """Digits out of equilibrium: every update's chains start from noise and run a few steps."""
    data, g = gb.datasets.load("digits").train, seeded(0)
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(64))
    gb.initialize(rbm, data, generator=g)
    sampler = gb.Gibbs()
    for _ in range(epochs):
        for index in torch.randperm(len(data), generator=g).split(50):
            state = sampler.init(rbm, gb.random_start(rbm, 50, g))
            positive = rbm.data_phase(data[index])
            negative = rbm.data_phase(sampler.advance(rbm, state, steps, g).v)
            for name, parameter in rbm.named_parameters():
                parameter += rate * (positive[name] - negative[name])
    return rbm, data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_independent_units_mix_at_once(dtype):
    rbm = gb.RBM(gb.Bernoulli(10), gb.Gaussian(4)).to(dtype)
    found = gb.diagnose(rbm, budget=1000, generator=seeded(0))
    assert (found.kind, found.sampler) == ("equilibrium", "Gibbs")
    (mixing,) = found.mixing
    assert mixing.time < 1 + time_limit(1.0, 500 * 99)
    assert mixing.problems == ()
    assert found.verdict.startswith("at equilibrium")


@pytest.mark.parametrize(
    ("weight", "budget"), [(0.03, 2000), (0.05, 2000), (0.08, 2000), (0.05, 12_000), (0.08, 12_000)]
)
def test_times_of_a_ferromagnet_are_those_of_its_transition_matrix(weight, budget):
    tau = exact_time(weight)
    found = gb.diagnose(ferromagnet(weight), budget=budget, generator=seeded(1))
    limit = time_limit(tau, budget // 2 * 99)
    if budget > 2000:  # records six steps apart: tau is that of one exponential, to a few per cent
        limit += 0.1
    assert limit < 0.6
    assert abs(found.mixing[0].unit_time / tau - 1) < limit
    assert found.kind == "equilibrium"
    assert found.steps >= 5 * tau


def test_a_low_barrier_mixes_slowly():
    tau = exact_time(0.1)
    assert 1000 / 20 < 0.7 * tau < 1.4 * tau < 1000 / 5  # too long to be sure of, not to be told
    found = gb.diagnose(ferromagnet(0.1), generator=seeded(1))
    assert found.kind == "slow"
    assert found.steps > 5 * tau
    assert "at least" in found.verdict


@pytest.fixture(scope="module")
def divided() -> gb.RBM:
    """Two modes that no Gibbs chain crosses between."""
    assert exact_time(0.2) > 1e5
    rbm = ferromagnet(0.2)
    rbm.certificate = gb.diagnose(rbm, generator=seeded(2))
    return rbm


def test_a_high_barrier_takes_replica_exchange(divided):
    found = divided.certificate
    gibbs, tempering = found.mixing
    assert found.is_equilibrium
    assert found.sampler == "Tempering"
    assert gibbs.problems
    assert tempering.time < 250
    assert tempering.trips > 100
    assert tempering.barrier > 1
    assert 0.2 < tempering.trip_rate * (2 + 2 * tempering.barrier) < 1.5
    assert found.betas[0] == 0
    assert found.betas[-1] == 1
    assert [len(means) for means in found.means] == [20, divided.hidden.n]


def test_the_sampler_of_a_certificate_finds_both_modes(divided):
    v = gb.sample(divided, 200, start=-torch.ones(200, 20), generator=seeded(3))
    up = (v.sum(1) > 0).double().mean().item()
    assert abs(up - 0.5) < quantile() * 0.5 / math.sqrt(200)
    v = gb.sample(divided, 200, sampler=gb.Gibbs(), start=-torch.ones(200, 20), generator=seeded(3))
    assert not bool((v.sum(1) > 0).any())


def test_a_given_sampler_is_judged_alone():
    found = gb.diagnose(ferromagnet(0.2), sampler=gb.Gibbs(), budget=200, generator=seeded(0))
    assert [mixing.sampler for mixing in found.mixing] == ["Gibbs"]
    assert found.kind == "unknown"
    assert found.steps is None
    assert found.verdict.startswith("cannot tell: Gibbs: 100 steps are")
    with pytest.raises(gb.ArgumentError, match="sampler="):
        gb.diagnose(ferromagnet(0.1), sampler="Gibbs")
    with pytest.raises(gb.ArgumentError, match="clamped"):
        gb.diagnose(ferromagnet(0.1), sampler=gb.Gibbs(clamp=torch.ones(1, 20)))


@pytest.fixture(scope="module")
def out_of_equilibrium():
    return trained_from_noise(10, 150, 0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_model_trained_out_of_equilibrium_is_named(out_of_equilibrium, seed):
    rbm, data = out_of_equilibrium
    found = gb.diagnose(rbm, data, generator=seeded(seed))
    assert found.kind == "out of equilibrium"
    assert 4 <= found.steps <= 32  # the ten that it was trained with
    course = found.course
    assert course.discrepancy[-1] > 2 * min(course.discrepancy)
    assert "samples look right only near" in found.verdict


@pytest.fixture(scope="module")
def at_equilibrium():
    return trained()


@pytest.mark.parametrize("seed", range(4))
def test_a_model_at_equilibrium_is_not(at_equilibrium, seed):
    rbm, data = at_equilibrium
    found = gb.diagnose(rbm, data, generator=seeded(seed))
    assert found.kind in ("equilibrium", "slow")
    assert found.course.discrepancy[-1] < 0.05


@pytest.mark.parametrize(("fits", "expected"), [(True, None), (False, 2)])
def test_a_rise_of_chains_that_have_not_mixed_is_judged_by_those_that_have(fits, expected):
    """Gibbs chains stray from the data, yet those of a ladder come back to them, or do not."""
    rbm = ferromagnet(0.05)
    data = gb.exact.sample(rbm, 300, generator=seeded(0)) if fits else torch.ones(300, 20)
    task = _Task(rbm, data, 200, seeded(1))
    _, recording = task.judge(gb.Tempering(), 40)
    strayed = Course((1, 2, 4), (), (), (0.5, 0.01, 0.9), (0.01, 0.01, 0.01), "data")
    assert task.nearer_than_equilibrium(strayed, recording) == expected


def test_data_of_one_mode_are_noticed():
    """Chains from one mode keep to it, the others do not: their shares of the clusters differ."""
    found = gb.diagnose(
        ferromagnet(0.2), torch.ones(50, 20), sampler=gb.Gibbs(), budget=400, generator=seeded(0)
    )
    assert found.mixing[0].occupancy > found.mixing[0].occupancy_limit
    assert any("clusters" in problem for problem in found.mixing[0].problems)
    assert found.kind != "equilibrium"


def test_same_generator_same_diagnosis(at_equilibrium):
    rbm, data = at_equilibrium
    one, other = (gb.diagnose(rbm, data, budget=100, generator=seeded(7)) for _ in range(2))
    assert one == other
    assert gb.diagnose(rbm, data, budget=100, generator=seeded(8)) != one


LAYERS = {
    "categorical": lambda: gb.Categorical(4, 3),
    "gaussian": lambda: gb.Gaussian(5, sigma=0.5),
    "poisson": lambda: gb.Poisson(4),
    "mixed": lambda: gb.Mixed(gb.Bernoulli(3), gb.Gaussian(2), gb.Categorical(1, 3)),
    "truncated": lambda: gb.TruncatedExponential(4),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_every_unit_type(make):
    rbm = gb.RBM(make(), gb.Bernoulli(3))
    with torch.no_grad():
        rbm.weight.copy_(0.3 * torch.randn(rbm.weight.shape, generator=seeded(0)))
    data = gb.sample(rbm, 100, steps=50, generator=seeded(1))
    found = gb.diagnose(rbm, data, budget=400, generator=seeded(2))
    assert found.kind == "equilibrium"
    assert found.course.starts == ("data", "noise", "coins", "corner")


def test_the_ladder_of_every_unit_type_comes_back():
    """Base means of categories are no data; a sampler is made of them all the same."""
    rbm = gb.RBM(gb.Categorical(6, 3), gb.Bernoulli(4))
    found = gb.diagnose(rbm, sampler=gb.Tempering(), budget=100, generator=seeded(0))
    rbm.certificate = found
    sampler = gb.sampling.certified_sampler(found, rbm)
    assert sampler.betas == found.betas
    assert gb.sample(rbm, 5, generator=seeded(0)).shape == (5, 18)


def test_starts_are_where_they_say():
    rbm, g = ferromagnet(3.0), seeded(0)
    data = torch.ones(7, 20)
    starts = make_starts(rbm, 50, data, g)
    assert list(starts) == ["data", "noise", "coins", "corner"]
    assert bool((starts["data"] == 1).all())
    assert bool((starts["corner"].sum(1).abs() == 20).double().mean() > 0.5)  # h tells all v
    assert starts["noise"].sum(1).abs().max() < 20


def test_steps_within_a_budget():
    rbm = gb.RBM(gb.Bernoulli(10), gb.Bernoulli(5))
    few, many = steps_within(rbm, 0.01), steps_within(rbm, 5.0)
    assert 16 <= few < many
    with pytest.raises(gb.ArgumentError, match="seconds"):
        steps_within(rbm, math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 3}, "chains=3"),
        ({"budget": 2}, "budget=2"),
        ({"budget": 1.5}, "budget=1.5"),
        ({"generator": 3}, "generator=3"),
        ({"data": torch.ones(5, 3)}, "columns"),
        ({"data": torch.ones(0, 20)}, "at least one"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((gb.ArgumentError, gb.DataError), match=message):
        gb.diagnose(ferromagnet(0.1), **options)


def test_few_rows_of_data_and_few_steps_do():
    rbm = ferromagnet(0.05)
    found = gb.diagnose(rbm, torch.ones(1, 20), chains=16, budget=16, generator=seeded(0))
    assert found.kind in ("slow", "unknown")  # of eight records
    assert copy.deepcopy(found) == found
