"""ExchangeLikelihood: log Z of the ladders of training, which it leaves alone."""

import pytest
import torch
from oracle import random_rbm

import gibbsite as gb

DATA = gb.datasets.load("digits")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(sampler, callbacks=(), epochs=6):
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8))
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.1)
    history = gb.fit(
        rbm,
        DATA.train,
        gradient=gb.Centered(gb.PCD(40, sampler=sampler)),
        optimizer=optimizer,
        epochs=epochs,
        callbacks=callbacks,
        generator=generator(0),
    )
    return rbm, history


@pytest.mark.parametrize("make", [gb.Tempering, gb.Trajectory])
def test_the_figure_is_that_of_enumeration_as_training_goes(make):
    sampler, test = make(), DATA.test.round()
    shown = gb.ExchangeLikelihood(test, sampler, sweeps=200, generator=generator(1), every=2)
    _, history = trained(sampler, [shown, gb.Monitor(DATA.train, test)])
    records = [record for record in history.records if "exchange_stderr" in record]
    assert [record["epoch"] for record in records] == [2, 4, 6]
    for record in records:
        gap = record["exchange_log_likelihood"] - record["test_log_likelihood"]
        assert abs(gap) < 4 * record["exchange_stderr"] + 0.02  # ladders lag behind the model
        assert record["exchange_stderr"] < 0.2
        assert record["exchange_trips"] > 1


def test_training_is_left_alone():
    models = [
        trained(gb.Tempering(), callbacks, 2)[0]
        for callbacks in ([], [gb.ExchangeLikelihood(DATA.test, gb.Tempering())])
    ]
    assert torch.equal(models[0].weight, models[1].weight)


def test_chains_without_ladders_are_refused():
    with pytest.raises(gb.ArgumentError, match="without ladders"):
        trained(gb.Gibbs(), [gb.ExchangeLikelihood(DATA.test, gb.Tempering())], 1)


@pytest.mark.parametrize("bad", [{"sweeps": 1}, {"every": 0}])
def test_counts_are_checked(bad):
    with pytest.raises(gb.GibbsiteError):
        gb.ExchangeLikelihood(DATA.test, gb.Tempering(), **bad)


def test_equilibrium_starts_by_replica_exchange_cross_where_gibbs_does_not(monkeypatch):
    """Two modes of one weight: with ladders the bridge is trusted and right."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    rbm = gb.RBM(gb.Spin(12), gb.Spin(4)).double()
    with torch.no_grad():
        rbm.weight.fill_(0.6)
    truth = gb.exact.log_partition(rbm).item()
    by = {
        sampler: gb.log_partition(
            rbm, "bridge", temperatures=1000, sampler=sampler, generator=generator(3)
        )
        for sampler in (gb.Gibbs(), gb.Tempering())
    }
    gibbs, tempering = by.values()
    assert tempering.verdict == "trustworthy"
    assert tempering.lower <= truth <= tempering.upper
    assert "did not start at equilibrium" in gibbs.verdict
    assert gibbs.upper == float("inf")


def test_draws_of_ladders_are_as_many_as_asked_for():
    rbm = random_rbm(gb.Bernoulli(30), 25, seed=0, scale=0.3)
    draws = gb.likelihood.equilibrium_draws(
        rbm, 100, 200, None, generator(0), gb.Tempering(rungs=4)
    )
    assert draws.v.shape == (100, 30)
