"""Hyperparameters left to "auto": the recipe's, or those that suit scikit-learn's rate."""

import logging
import pickle
from functools import partial

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.errors import DivergenceError
from gibbsite.estimators import training
from gibbsite.estimators.settings import NAMES, completed
from gibbsite.training import Traits, recipe_for

RNG = np.random.default_rng(0)
BINARY = (RNG.random((200, 6)) < 0.3).astype(np.float32)
COPIES = np.hstack([BINARY[:, :3]] * 2)
REAL = RNG.normal(0, 1, (150, 3)) @ RNG.normal(0, 2, (3, 3)) + 5
ALL = {"n_components": "auto", "learning_rate": "auto", "batch_size": "auto"}


def settings_of(model) -> dict:
    return dict(model._training.settings)


def test_all_left_to_the_recipe_are_those_of_fit():
    model = gb.BernoulliRBM(**ALL, n_iter=2, random_state=0).fit(BINARY)
    recipe = recipe_for(Traits.of(gb.Bernoulli(6), gb.Rows(BINARY)), {"epochs": 2})
    wanted = {"n_components": recipe.hidden, "n_iter": 2, "centered": True, "gradient": "pcd"}
    same = "batch_size", "learning_rate", "chains", "schedule", "momentum", "l2", "average"
    wanted |= {name: getattr(recipe, name) for name in (*same, "sampler")}
    assert settings_of(model) == wanted
    assert model.h_samples_.shape == (recipe.chains, recipe.hidden)
    theirs = model.to_sklearn().get_params()
    assert (theirs["n_components"], theirs["learning_rate"]) == (16, recipe.learning_rate)


def test_beside_a_rate_nothing_looks_at_the_data():
    model = gb.BernoulliRBM(4, n_iter=5, momentum=0.2)
    found = completed(model._given(), lambda: pytest.fail("looked"))
    wanted = {"momentum": 0.2, "chains": 100, "centered": False, "schedule": "linear", "l2": 0.0}
    assert wanted.items() <= found.items()
    assert found["average"] == pytest.approx(0.2)


def test_given_values_stay():
    given = {"n_components": 3, "n_iter": 2, "batch_size": 7, "learning_rate": 0.02, "chains": 9}
    given |= {"schedule": "constant", "momentum": 0.1, "l2": 0.5, "average": 0.0}
    given |= {"centered": False, "gradient": "pcd"}
    assert set(given) == set(NAMES)
    model = gb.GaussianRBM(**given).fit(REAL)
    assert settings_of(model) == {**given, "sampler": "gibbs"}


def test_the_average_is_what_is_fitted_and_the_last_step_goes_on():
    model = gb.BernoulliRBM(3, n_iter=4, average=2.0, random_state=0).fit(BINARY)
    plain = gb.BernoulliRBM(3, n_iter=4, average=0.0, random_state=0).fit(BINARY)
    assert torch.equal(model._training.rbm.weight, plain.rbm_.weight)
    assert not torch.equal(model.rbm_.weight, plain.rbm_.weight)
    again = pickle.loads(pickle.dumps(model)).partial_fit(BINARY)
    assert torch.equal(again.rbm_.weight, plain.partial_fit(BINARY).rbm_.weight)


def test_replica_exchange_where_columns_determine_each_other_goes_on():
    model = gb.BernoulliRBM(**ALL, n_iter=2, random_state=0).fit(COPIES)
    assert settings_of(model)["sampler"] == "tempering"
    passages = model._training.state.inner.passages
    model = pickle.loads(pickle.dumps(model))
    before = model._training.gradient
    model.partial_fit(COPIES)
    assert model._training.gradient == before
    assert isinstance(model._training.sampler, gb.Tempering)
    assert type(model._training.state.inner.passages) is type(passages)
    assert settings_of(model)["sampler"] == "tempering"
    assert settings_of(model)["l2"] == settings_of(model)["average"] == 0


@pytest.mark.parametrize(
    ("options", "columns", "whitened"),
    [
        ({}, 3, True),
        ({}, 1, False),
        ({"standardize": False}, 3, False),
        ({"likelihood": "pseudo"}, 3, False),
        ({"whiten": False}, 3, False),
        ({"whiten": True, "standardize": False}, 3, True),
    ],
)
def test_real_columns_are_whitened_where_the_command_does(options, columns, whitened):
    model = gb.GaussianRBM(n_iter=1, random_state=0, **options).fit(REAL[:, :columns])
    assert (not model.rbm_.visible.independent) == whitened
    assert settings_of(model)["momentum"] == (0.5 if whitened else 0.0)
    assert settings_of(model)["n_components"] == (12 if whitened else 16)
    assert np.isfinite(model.score(REAL[:, :columns]))


def test_a_recipe_that_diverges_starts_again_at_a_quarter_of_the_rate(monkeypatch, caplog):
    rates = []

    def advance(self, rows, weights, plan, name, own=training.Training.advance):
        rates.append(plan.learning_rate)
        if len(rates) < 3:
            self.rbm.weight.data.fill_(9)
            raise DivergenceError("diverged", 5, gb.History())
        own(self, rows, weights, plan, name)

    fitted = partial(gb.GaussianRBM(3, n_iter=1, random_state=0).fit, REAL)
    quarter = gb.GaussianRBM(3, n_iter=1, learning_rate=0.1 / 16, random_state=0).fit(REAL)
    monkeypatch.setattr(training.Training, "advance", advance)
    with caplog.at_level(logging.WARNING, "gibbsite"):
        model = fitted()
    assert rates == [0.1, 0.1 / 4, 0.1 / 16]
    assert "diverged at update 5 with a learning rate of 0.1; it starts again" in caplog.text
    assert torch.equal(model.rbm_.weight, quarter.rbm_.weight)
    assert model.score(REAL) == pytest.approx(quarter.score(REAL))
