"""Distances between samples, each against its definition or a case that is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from montecarlo import quantile
from oracle import agree, random_rbm

import gibbsite as gb
from gibbsite.sampling.diagnostics import autocorrelation_times, nested_r_hat
from gibbsite.sampling.discrepancy import (
    Discrepancy,
    Features,
    best_step,
    moment_discrepancy,
)
from gibbsite.sampling.occupancy import compare_occupancy, k_means


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model() -> gb.RBM:
    return random_rbm(gb.Bernoulli(6), 3, seed=1).double()


def mean_kernel(features: Features, a, b, pairs) -> float:
    (x, u), (y, w) = features(a), features(b)
    values = [x[i] @ y[j] + (x[i] @ y[j]) ** 2 + u[i] * w[j] for i, j in pairs]
    return float(torch.stack(values).mean())


def test_the_discrepancy_by_its_definition():
    """Mean kernel within either sample, of different draws, less that across; and its jackknife."""
    rbm = model()
    v, w = (gb.exact.sample(rbm, n, generator=seeded(n)) for n in (5, 7))
    features = Features(rbm, w)
    different = lambda n: [(i, j) for i in range(n) for j in range(n) if i != j]  # noqa: E731

    def distance(v):
        across = itertools.product(range(len(v)), range(7))
        return (
            mean_kernel(features, v, v, different(len(v)))
            + mean_kernel(features, w, w, different(7))
            - 2 * mean_kernel(features, v, w, list(across))
        )

    found = moment_discrepancy(features, v[None])
    agree(found.value, distance(v))
    without = np.array([distance(torch.cat([v[:i], v[i + 1 :]])) for i in range(5)])
    agree(found.stderr, math.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum()))


def test_records_of_a_chain_count_as_one_draw():
    rbm = model()
    v, w = (gb.exact.sample(rbm, n, generator=seeded(n)) for n in (8, 20))
    features = Features(rbm, w)
    once, twice = (moment_discrepancy(features, v[None].expand(k, -1, -1)) for k in (1, 2))
    agree(once.value, twice.value)
    agree(once.stderr, twice.stderr)


def test_samples_of_one_distribution_are_at_distance_0_on_average():
    rbm = model()
    values, errors = [], []
    for seed in range(200):
        v = gb.exact.sample(rbm, 120, generator=seeded(seed))
        found = moment_discrepancy(Features(rbm, v[:100]), v[None, 100:])
        values.append(found.value)
        errors.append(found.stderr)
    spread = np.std(values)
    # the ranks have the reference's own mean taken off: that biases by 1/(12 * 100) at most
    assert abs(np.mean(values)) < quantile() * spread / math.sqrt(200) + 1 / 1200
    assert 0.7 * spread < np.mean(errors) < 2 * spread  # a jackknife errs upwards at 0


def test_samples_that_differ_in_correlations_alone_are_apart():
    rbm = gb.RBM(gb.Spin(2), gb.Bernoulli(1))
    both = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).repeat(50, 1)
    either = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(50, 1)
    found = moment_discrepancy(Features(rbm, both), either[None])
    assert found.stderr < 0.01
    # total variance 2: |x x'|^2 is 1 within a sample and 0 across; first moments are all 0
    assert abs(found.value - 2) < 0.1


def course(*values, error=0.01) -> list[Discrepancy]:
    return [Discrepancy(value, error) for value in values]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (course(0.5, 0.1, 0.02, 0.3), 4),
        (course(0.5, 0.1, 0.02, 0.02), None),
        (course(0.5, 0.3, 0.2, 0.1), None),
        (course(0.5, 0.1, 0.02, 0.3, error=0.1), None),  # by chance
        (course(0.0, 0.0, 0.0, 0.015, error=1e-4), None),  # certain, but nothing
        (course(0.5, 0.2, 0.3, 0.3), None),  # never near
        (course(0.01, 0.1, 0.02, 0.3), 1),
    ],
)
def test_best_step(values, expected):
    assert best_step([1, 2, 4, 8], values) == expected


def test_k_means_finds_clusters_that_are_apart():
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    rows = centres.repeat(30, 1) + 0.1 * torch.randn(90, 2, generator=seeded(0))
    found = k_means(rows, 3, seeded(1))
    assert torch.cdist(centres, found).amin(1).max() < 0.1
    assert len(k_means(torch.zeros(5, 2), 3, seeded(1))) == 1  # no more than there are rows


def shares(n: int, first: float, seed: int) -> torch.Tensor:
    """Time in two clusters of chains of 50 independent steps each."""
    ones = (torch.rand(n, 50, generator=seeded(seed)) < first).double().mean(1)
    return torch.stack([ones, 1 - ones], 1)


def test_occupancy_of_chains_that_are_alike_and_that_are_not():
    reference = torch.arange(40) < 10
    above = 0
    for seed in range(50):
        found = compare_occupancy(shares(40, 0.3, seed), reference, seeded(seed))
        above += found.distance > found.limit
        # |difference| of two means of 500 and 1,500 draws, on average
        expected = math.sqrt(2 / math.pi * 0.21 * (1 / 500 + 1 / 1500))
        assert 0.6 * expected < found.noise < 1.5 * expected
    assert above <= 2  # one in a thousand: three of fifty have a chance of 2e-5
    apart = torch.cat([shares(10, 0.8, 1), shares(30, 0.3, 2)])
    found = compare_occupancy(apart, reference, seeded(0))
    assert abs(found.distance - 0.5) < 0.1
    assert found.distance > found.limit


def test_nested_r_hat_by_loops():
    g = seeded(0)
    x = torch.randn(6, 30, generator=g, dtype=torch.float64)  # chains, steps
    x[4:] += 1
    groups = [[0, 1], [2, 3], [4, 5]]
    means = [np.mean([x[c].mean() for c in group]) for group in groups]
    between = np.var(means, ddof=1)
    within = np.mean(
        [
            np.var([x[c].mean() for c in group], ddof=1) + np.mean([x[c].var() for c in group])
            for group in groups
        ]
    )
    starts = torch.tensor([0, 0, 1, 1, 2, 2])
    agree(nested_r_hat(x.mean(1), x.var(1), starts).item(), math.sqrt(1 + between / within))


def test_nested_r_hat_of_constant_chains():
    starts, zeros = torch.tensor([0, 0, 1, 1]), torch.zeros(4)
    assert nested_r_hat(zeros, zeros, starts).item() == 1
    assert nested_r_hat(torch.tensor([0.0, 0, 1, 1]), zeros, starts).item() == math.inf


def test_times_of_many_quantities_are_those_of_each():
    series = torch.randn(300, 4, 5, generator=seeded(0)).cumsum(0)
    series[..., 3] = 2.5
    found = autocorrelation_times(series)
    agree(found, [gb.autocorrelation_time(series[..., k]) for k in range(5)])
    assert found[3] == 1
