"""Densities in units of the data, against quadrature and mixtures of Gaussians written out."""

import pickle

import numpy as np
import pytest
import torch
from oracle import agree, arrays, bits, gaussian_energy, quadrature_grid
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import gibbsite as gb

RNG = np.random.default_rng(0)
SIGNS = RNG.choice([-1.0, 1.0], (300, 1))
X = np.hstack(
    [5 + SIGNS + RNG.normal(0, 0.5, (300, 1)), -100 + 20 * SIGNS + RNG.normal(0, 8, (300, 1))]
)
OPTIONS = {"n_components": 3, "n_iter": 20, "learning_rate": 0.05, "random_state": 0}
OPTIONS |= {"whiten": False, "batch_size": 10, "momentum": 0.0, "schedule": "linear"}
OPTIONS |= {"average": 0.0, "l2": 0.0}
MODELS = {
    "learned sigma": {},
    "fixed sigma": {"learn_sigma": False, "sigma": 0.6},
    "sigma by column": {"learn_sigma": False, "sigma": [0.5, 0.8]},
    "own units": {"standardize": False, "sigma": [1.0, 20.0], "learning_rate": 0.001},
}
each_model = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


def fitted(X=X, **options) -> gb.GaussianRBM:
    return gb.GaussianRBM(**OPTIONS | options).fit(X)


def mixture(model: gb.GaussianRBM, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p(h), (8,); log p(x_i | h), (rows, columns, 8); log p(x), (rows,)."""
    w, b, c = arrays(model.rbm_)
    sigma = model.sigma_.astype(float)
    inputs = bits(3) @ w.T
    log_prior = bits(3) @ c + (b / sigma * inputs + inputs**2 / 2).sum(1)
    log_prior -= logsumexp(log_prior)
    means = b + sigma * inputs
    parts = norm.logpdf(X[:, :, None], means.T[None], sigma[None, :, None])
    return log_prior, parts, logsumexp(log_prior + parts.sum(1), axis=1)


@each_model
def test_scores_are_log_densities_of_the_data_as_given(options):
    model = fitted(**options)
    agree(model.score_samples(X), mixture(model, X)[2], 1e-8)
    agree(model.score(X), model.score_samples(X).mean())
    w, b, _ = arrays(model.rbm_)
    points, cell = quadrature_grid(w, b, model.sigma_.astype(float))
    agree(cell * np.exp(model.score_samples(points)).sum(), 1.0, 1e-9)


def test_scores_by_the_definition_of_the_energy():
    model = fitted()
    w, b, c = arrays(model.rbm_)
    sigma = model.sigma_.astype(float)
    points, cell = quadrature_grid(w, b, sigma, step=0.5)
    rows = [X[0], X[1]]
    minus_f = [logsumexp([-gaussian_energy(w, b, c, sigma, v, h) for h in bits(3)]) for v in rows]
    own = -(((points - b) / sigma) ** 2).sum(1) / 2
    all_h = logsumexp((points / sigma) @ w @ bits(3).T + bits(3) @ c, axis=1)
    agree(model.score_samples(X[:2]), minus_f - np.log(cell) - logsumexp(own + all_h), 1e-9)


@each_model
def test_pseudo_scores_are_the_conditional_densities(options):
    model = fitted(**options, likelihood="pseudo")
    log_prior, parts, whole = mixture(model, X)
    others = [logsumexp(log_prior + parts[:, 1 - i], axis=1) for i in range(2)]
    agree(model.score_samples(X), 2 * whole - others[0] - others[1], 1e-7)


def test_units_of_measurement_move_the_score_by_their_logarithm_only():
    """Metres or millimetres: the same model, a density 1,000 times smaller a column."""
    model, other = fitted(X), fitted(X * [1000, 0.01] + [7, -3])
    moved = X * [1000, 0.01] + [7, -3]
    agree(other.transform(moved), model.transform(X), 1e-6)
    agree(other.score_samples(moved), model.score_samples(X) - np.log(1000) - np.log(0.01), 1e-5)
    agree(other.sigma_, model.sigma_ * [1000, 0.01], 1e-6)
    agree(
        other.sample(5, random_state=3),
        model.sample(5, random_state=3) * [1000, 0.01] + [7, -3],
        1e-5,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_steps_and_reconstructions_are_in_units_of_the_data(dtype):
    model = fitted(X.astype(dtype))
    h = model.transform(X.astype(dtype))
    back, drawn, stepped = (
        model.inverse_transform(h),
        model.sample(500),
        model.gibbs(X.astype(dtype)),
    )
    for table in (back, drawn, stepped):
        assert table.dtype == dtype
        assert (np.abs(table.mean(0) - X.mean(0)) < X.std(0)).all()
    w, b, _ = arrays(model.rbm_)
    agree(back, b + model.sigma_ * (h @ w.T), 1e-4)


def test_training_sees_standardised_columns():
    model = fitted()
    agree(model.mean_, X.mean(0))
    agree(model.scale_, X.std(0))
    alone = fitted(((X - X.mean(0)) / X.std(0)).astype(np.float32), standardize=False)
    agree(alone.components_, model.components_, 1e-6)
    agree(fitted(standardize=False, learning_rate=1e-9).scale_, [1, 1])


def test_it_explains_two_clusters():
    """A mixture of two Gaussians is worth log 2 less than two separate normals would say."""
    normal = norm.logpdf(X, X.mean(0), X.std(0)).sum(1).mean()
    assert fitted(n_iter=60).score(X) > normal + 0.5


def test_a_constant_column_is_shifted_and_keeps_its_sigma():
    table = np.column_stack([X, np.full(300, 1e6)])
    with pytest.warns(UserWarning, match=r"constant: column 3 \(counted from 1\)"):
        model = fitted(table)
    agree(model.sigma_[2], 1.0, 1e-12)
    agree(model.scale_[2], 1.0)
    assert np.isfinite(model.score_samples(table)).all()
    agree(model.mean_[2], 1e6)


def test_a_mean_large_beside_its_scale_costs_no_digits():
    far = X + np.array([1e7, 0])
    agree(fitted(far).components_, fitted().components_, 1e-6)
    agree(fitted(far).score_samples(far), fitted().score_samples(X), 1e-5)


@pytest.mark.parametrize(
    ("sigma", "words"),
    [
        (0, "expected positive"),
        (-1.0, "expected positive"),
        ([1.0, np.nan], "expected positive"),
        ([1.0, 2.0, 3.0], "3 entries for 2 units"),
        ("wide", "expected an array of real numbers"),
    ],
)
def test_a_bad_sigma_is_refused(sigma, words):
    with pytest.raises(ValueError, match=words) as refused:
        fitted(sigma=sigma)
    assert isinstance(refused.value, gb.GibbsiteError)


def test_sigma_is_learned_only_if_asked():
    scale = X.std(0)
    agree(fitted(learn_sigma=False, sigma=0.5).sigma_, 0.5 * scale, 1e-6)
    assert (fitted(n_iter=60).sigma_ < 0.9 * scale).all()
    assert isinstance(fitted().rbm_.visible.log_sigma, torch.nn.Parameter)


def test_columns_as_they_are_keep_their_digits_in_training():
    """A mean of 10^8 beside a standard deviation of 2 is beyond float32."""
    X = np.random.default_rng(0).normal(0, 2, (300, 3))
    options = {"standardize": False, "sigma": 2.0, "n_iter": 5, "random_state": 0}
    options |= {"learning_rate": 0.01}
    far, near = (gb.GaussianRBM(4, **options).fit(X + mean) for mean in (1e8, 0.0))
    assert far.score(X + 1e8) == pytest.approx(near.score(X), abs=0.05)


@pytest.mark.parametrize("ratio", [1.0, 1e4])
def test_single_precision_columns_far_from_zero_score_as_near_it(ratio):
    """Multiples of 1/64, which float32 has at either place; the model keeps its digits."""
    near = (np.round(64 * (X - X.mean(0)) / X.std(0)) / 64).astype(np.float32)
    far = near + np.float32(ratio)
    ours, theirs = fitted(far), fitted(near)
    assert np.abs(ours.score_samples(far) - theirs.score_samples(near)).max() < 2e-3
    assert ours.rbm_.weight.dtype == (torch.float32 if ratio == 1 else torch.float64)
    assert ours.transform(far).dtype == np.float32


def test_whitened_training_gives_a_model_of_the_data():
    """A density of the rows as given, as good as the Gaussian of their covariance at least."""
    steep = np.column_stack([X, X @ [1.0, 0.1] + RNG.normal(0, 0.05, 300)])
    model = fitted(steep, whiten=True, learning_rate=0.1)
    assert model.rbm_.visible.describe() == "MultivariateGaussian(3)"
    gaussian = multivariate_normal(steep.mean(0), np.cov(steep.T)).logpdf(steep).mean()
    assert model.score(steep) > gaussian - 0.05
    agree(model.mean_, steep.mean(0), 1e-9)
    agree(model.scale_, steep.std(0), 1e-9)
    drawn = model.sample(4000, random_state=0)
    agree(np.cov(drawn.T), np.cov(steep.T), 0.3)
    score = model.score(steep)
    assert pickle.loads(pickle.dumps(model)).partial_fit(steep).score(steep) > score - 0.1
    with pytest.raises(gb.ArgumentError, match="whiten=True for 1 columns: expected 2 to 2000"):
        fitted(steep[:, :1], whiten=True)
