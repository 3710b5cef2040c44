"""Trajectory AIS: the running estimate follows the exact figure, and its weights are right."""

import copy

import pytest
import torch
from oracle import random_rbm

import gibbsite as gb
from gibbsite.likelihood.trajectory import _resample, _Walk

DATA = gb.datasets.load("digits")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_follows_the_exact_likelihood_of_training():
    tracker = gb.TrajectoryAIS(DATA.test, generator=generator(1))
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8))
    monitor = gb.Monitor(DATA.train, DATA.test)
    history = gb.fit(
        rbm, DATA.train, epochs=10, generator=generator(0), callbacks=[tracker, monitor]
    )
    estimates, truths = (
        history.column(name) for name in ("ais_log_likelihood", "test_log_likelihood")
    )
    for estimate, truth, stderr in zip(
        estimates, truths, history.column("ais_stderr"), strict=True
    ):
        assert abs(estimate - truth) < 5 * stderr + 0.02  # float32 sums of 64 + 8 terms


def test_it_leaves_model_and_training_alone():
    models = []
    for callbacks in ([], [gb.TrajectoryAIS(DATA.test, generator=generator(1))]):
        rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(4))
        gb.fit(rbm, DATA.train, epochs=2, generator=generator(0), callbacks=callbacks)
        models.append(rbm)
    assert torch.equal(models[0].weight, models[1].weight)


@pytest.mark.parametrize("make", [gb.Bernoulli, lambda n: gb.Gaussian(n, learn_sigma=True)])
def test_weights_are_unbiased_for_any_sequence_of_models(make):
    """Mean of Z estimates over many chains, against enumeration, after two jumps."""
    models = [random_rbm(make(5), 4, seed=seed, scale=0.5) for seed in range(3)]
    rows = gb.exact.sample(models[0], 50, generator(3))
    tracker = gb.TrajectoryAIS(rows, chains=4000, substeps=10, generator=generator(2))
    for rbm in models:
        figures = tracker(rbm, {})
        truth = gb.exact.log_likelihood(rbm, rows).mean().item()
        assert abs(figures["ais_log_likelihood"] - truth) < 5 * figures["ais_stderr"] + 1e-3


def test_resampling_keeps_the_weighted_mean():
    v = torch.arange(1000.0)[:, None]
    weights = torch.linspace(-2, 2, 1000, dtype=torch.float64)
    walk = _Walk(gb.RBM(gb.Bernoulli(1), gb.Bernoulli(1)), v, weights.clone(), 3.0)
    expected = (torch.softmax(weights, 0)[:, None] * v).sum()
    _resample(walk, generator(0))
    # systematic resampling gets a monotone sum right to one row's share
    assert walk.v.mean().item() == pytest.approx(expected.item(), abs=1.0)
    assert walk.log_z == pytest.approx(3.0 + weights.exp().mean().log().item())
    assert not walk.log_weights.any()


def test_a_model_that_does_not_move_keeps_its_estimate():
    rbm = random_rbm(gb.Bernoulli(5), 4, seed=0)
    rows = gb.exact.sample(rbm, 20, generator(0))
    tracker = gb.TrajectoryAIS(rows, generator=generator(1))
    first, second = tracker(rbm, {}), tracker(copy.deepcopy(rbm), {})
    assert second["ais_log_likelihood"] == pytest.approx(first["ais_log_likelihood"], abs=1e-9)
