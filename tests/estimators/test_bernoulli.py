"""Ranges of the data, and what the values between 0 and 1 mean."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import hoeffding
from oracle import agree

import gibbsite as gb

OPTIONS = {"n_components": 3, "n_iter": 2, "random_state": 0}
X = (np.random.default_rng(1).random((30, 4)) < 0.4).astype(float)


def fitted(X, **options) -> gb.BernoulliRBM:
    return gb.BernoulliRBM(**OPTIONS | options).fit(X)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.sampled_from([np.float32, np.float64]))
def test_any_range_gives_the_model_of_zeros_and_ones(low, width, dtype):
    low, high = float(dtype(low)), float(dtype(low + width))
    ones = X.astype(dtype)
    data = np.where(X == 1, high, low).astype(dtype)
    model, plain = fitted(data, data_range=(low, high)), fitted(ones)
    np.testing.assert_array_equal(model.components_, plain.components_)
    np.testing.assert_array_equal(model.transform(data), plain.transform(ones))
    np.testing.assert_array_equal(model.score_samples(data), plain.score_samples(ones))
    agree(model.data_range_, (low, high), 1e-6)
    ends = np.array([low, high], dtype)
    for drawn in (model.sample(9), model.gibbs(data)):
        nearest = np.abs(drawn[..., None] - ends).min(-1)
        assert nearest.max() <= 1e-6 * max(abs(low), abs(high))
    h = plain.transform(ones)
    expected = low + (high - low) * plain.inverse_transform(h)
    agree(model.inverse_transform(h), expected, 1e-5 * max(1, abs(low), abs(high)))


def test_grey_levels_beyond_one_are_scaled_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING, logger="gibbsite"):
        model = fitted(16 * X)
    assert model.data_range_ == (0, 16)
    assert "up to 16" in caplog.text
    assert "data_range=(0, 16)" in caplog.text
    np.testing.assert_array_equal(model.components_, fitted(X).components_)
    caplog.clear()
    fitted(16 * X, data_range=(0, 16))
    fitted(X)
    assert not caplog.records


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("bad", "data_range", "words"),
    [
        (-3.0, "auto", "data: -3 at row 3, column 2 (counted from 1), outside [0, 1]"),
        (7.0, (0, 1), "data: 7 at row 3, column 2 (counted from 1), outside [0, 1]"),
        (7.0, (0, 5), "7 at row 3, column 2 (counted from 1), outside [0, 5]"),
        (-7.0, (-1, 1), "data: -7 at row 3, column 2 (counted from 1), outside [-1, 1]"),
    ],
)
def test_values_out_of_range_are_named_with_their_place(form, bad, data_range, words):
    wrong = X.copy()
    wrong[2, 1] = bad
    with pytest.raises(gb.DataError) as refused:
        fitted(form(wrong), data_range=data_range)
    assert words in str(refused.value)
    assert "MinMaxScaler" in str(refused.value)


def test_a_zero_that_a_sparse_table_leaves_out_counts_too():
    with pytest.raises(gb.DataError, match=r"0 at row 1, column \d .*, outside \[1, 2\]"):
        fitted(sp.csr_matrix(2 * X), data_range=(1, 2))


def test_later_tables_must_lie_in_the_first_ones_range():
    model = fitted(X)
    for call in (model.partial_fit, model.score_samples, model.gibbs):
        with pytest.raises(gb.DataError, match=r"2 at row 1, column 1 .*, outside \[0, 1\]"):
            call(np.full((1, 4), 2.0))
    assert np.isfinite(model.transform(np.full((1, 4), 2.0))).all()


def test_rounding_just_outside_the_range_is_let_pass():
    near = np.where(X == 1, 1 + 2e-7, -2e-7)
    model = fitted(near)
    agree(model.components_, fitted(X).components_, 1e-4)
    assert np.isfinite(model.partial_fit(near).score_samples(near)).all()


@pytest.mark.parametrize("value", [(1, 0), (0, 0), (0, np.inf), "wide", 3, (0, 1, 2), ("a", "b")])
def test_a_bad_range_is_named(value):
    with pytest.raises(gb.ArgumentError, match=r"data_range=.*expected 'auto' or two numbers"):
        fitted(X, data_range=value)


def test_values_between_are_probabilities_of_a_one():
    """One grey row, visited 4,000 times: the model's mean is that row, not a rounding of it."""
    grey = np.tile([0.1, 0.5, 0.9], (4000, 1))
    model = fitted(grey, gradient="exact", n_iter=3, batch_size=100)
    means = gb.exact.moments(model.rbm_).visible.numpy()
    assert np.abs(means - grey[0]).max() < 3 * hoeffding(4000, 3)
    # no correlations in independent draws; values used as they are would have none to show either
    assert (
        abs(model.score(grey) - np.sum([p * np.log(p) + (1 - p) * np.log1p(-p) for p in grey[0]]))
        < 0.05
    )


def test_grey_levels_are_used_as_they_are_unless_binarised():
    """Each training is the better one by its own objective, on all rows at once."""
    rng = np.random.default_rng(0)
    grey = rng.choice([0.1, 0.5, 0.9], (200, 1)) * rng.uniform(0.6, 1, (200, 6))
    drawn = (rng.random((50, 200, 6)) < grey).reshape(-1, 6).astype(float)
    options = {"n_components": 3, "n_iter": 200, "batch_size": 200, "learning_rate": 1.0}
    options |= {"gradient": "exact", "random_state": 0}
    plain = gb.BernoulliRBM(**options).fit(grey)
    binarised = gb.BernoulliRBM(**options, binarize=True).fit(grey)
    assert plain.score(grey) > binarised.score(grey) + 0.005
    assert binarised.score(drawn) > plain.score(drawn) + 0.005
    assert plain.score(grey) < plain.score(drawn)  # the bound that it maximises


def test_starting_weights_have_the_scale_of_the_model():
    X = np.zeros((2, 100))
    for components, wanted in ((60, 0.1), (700, 0.05)):
        model = gb.BernoulliRBM(components, n_iter=0, random_state=0).fit(X)
        assert abs(model.components_.std() / wanted - 1) < 0.05
