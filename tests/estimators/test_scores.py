"""Scores against every state written out."""

import numpy as np
import pytest
import torch
from oracle import agree, arrays, bernoulli_log_z, bernoulli_table, bits, random_rbm
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.estimators import scores
from gibbsite.rows import Rows


def estimator(seed: int, **options) -> gb.BernoulliRBM:
    model = gb.BernoulliRBM(3, n_iter=0, random_state=0, **options).fit(bits(4))
    model.rbm_.load_state_dict(random_rbm(gb.Bernoulli(4), 3, seed, 1.5).state_dict())
    return model


def minus_free_energy(model: gb.BernoulliRBM, v: np.ndarray) -> np.ndarray:
    w, b, c = arrays(model.rbm_)
    return v @ b + logsumexp(v @ w @ bits(3).T + bits(3) @ c, axis=1)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("likelihood", ["auto", "exact"])
def test_exact_scores_are_log_probabilities(seed, likelihood):
    model = estimator(seed, likelihood=likelihood)
    log_p = np.log(bernoulli_table(*arrays(model.rbm_)).sum(1))
    agree(model.score_samples(bits(4)), log_p)
    assert model.score_samples(bits(4)).dtype == np.float64
    grey = np.array([[0.2, 0.9, 0.5, 0.0]])
    agree(
        model.score_samples(grey),
        minus_free_energy(model, grey) - bernoulli_log_z(*arrays(model.rbm_)),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_pseudo_scores_are_the_conditionals_of_every_unit(seed):
    model = estimator(seed, likelihood="pseudo")
    v = np.vstack([bits(4), [[0.2, 0.9, 0.5, 0.0]]])
    expected = np.zeros(len(v))
    for unit in range(4):
        ends = []
        for value in (0.0, 1.0):
            other = v.copy()
            other[:, unit] = value
            ends.append(minus_free_energy(model, other))
        expected += minus_free_energy(model, v) - logsumexp(ends, axis=0)
    agree(model.score_samples(v), expected)
    agree(model.score(v), gb.pseudo_likelihood(model.rbm_, torch.from_numpy(v)))


def test_estimated_scores_are_near_exact_and_the_same_each_time():
    model = estimator(0)
    exact = model.score_samples(bits(4))
    model.set_params(likelihood="ais")
    offset = model.score_samples(bits(4)) - exact
    np.testing.assert_array_equal(model.score_samples(bits(4)) - exact, offset)
    agree(offset, np.full(16, offset[0]))
    result = gb.log_partition(model.rbm_, "ais", generator=torch.Generator().manual_seed(0))
    agree(offset[0], gb.exact.log_partition(model.rbm_).item() - result.value)
    assert abs(offset[0]) < 6 * result.stderr + 0.01


def test_beyond_twenty_hidden_units_auto_is_pseudo_and_exact_says_so():
    X = (np.random.default_rng(0).random((20, 30)) < 0.3).astype(float)
    for n_components, instead in ((20, None), (21, "pseudo")):
        model = gb.BernoulliRBM(n_components, n_iter=0, random_state=0).fit(X)
        auto = model.score_samples(X)
        other = model.set_params(likelihood=instead or "exact").score_samples(X)
        np.testing.assert_array_equal(auto, other)
    X = (np.random.default_rng(0).random((20, 26)) < 0.3).astype(float)
    model = gb.BernoulliRBM(26, n_iter=0, random_state=0, likelihood="exact").fit(X)
    with pytest.raises(gb.TooLargeError, match="2\\^25"):
        model.score(X)


def test_blocks_do_not_show(monkeypatch):
    model = estimator(0)
    for likelihood in ("exact", "pseudo"):
        whole = scores.log_scores(model.rbm_, Rows(bits(4)), likelihood)
        monkeypatch.setattr(scores, "BLOCK_BYTES", 8 * 7 * 3)  # three rows
        agree(scores.log_scores(model.rbm_, Rows(bits(4)), likelihood), whole, 1e-14)
        monkeypatch.undo()
