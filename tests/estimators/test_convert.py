"""Models from scikit-learn and to it: equal free energies, features and columns."""

import numpy as np
import pandas as pd
import pytest
import torch
from oracle import agree
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

import gibbsite as gb

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
X = (np.random.default_rng(0).random((60, 6)) < 0.4).astype(float)
OPTIONS = {
    "n_components": 4,
    "learning_rate": 0.05,
    "batch_size": 7,
    "n_iter": 5,
    "random_state": 3,
}


def frame(dtype) -> pd.DataFrame:
    return pd.DataFrame(X.astype(dtype), columns=list("abcdef"))


def assert_equal_models(ours: gb.BernoulliRBM, theirs: BernoulliRBM, dtype) -> None:
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    table = frame(dtype)
    v = table.to_numpy()
    free_energy = ours.rbm_.free_energy(torch.from_numpy(v.copy())).detach().numpy()
    agree(free_energy, theirs._free_energy(v), tolerance)
    agree(ours.transform(table), theirs.transform(table), tolerance)
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype == dtype
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_) == list("abcdef")
    assert ours.n_features_in_ == theirs.n_features_in_ == 6
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    shared = theirs.get_params()
    assert {name: ours.get_params()[name] for name in shared} == shared


@DTYPES
def test_a_model_of_scikit_learn_is_the_same_here(dtype):
    theirs = BernoulliRBM(**OPTIONS).fit(frame(dtype))
    ours = gb.BernoulliRBM.from_sklearn(theirs)
    assert_equal_models(ours, theirs, dtype)
    assert ours.data_range_ == (0, 1)
    assert ours.h_samples_.shape == (100, 4)
    assert (
        ours.score(frame(dtype)) > gb.BernoulliRBM(4, n_iter=0, random_state=0).fit(X).score(X) - 5
    )


@DTYPES
def test_a_model_of_ours_is_the_same_there_and_comes_back(dtype):
    ours = gb.BernoulliRBM(**OPTIONS).fit(frame(dtype))
    theirs = ours.to_sklearn()
    assert type(theirs) is BernoulliRBM
    assert_equal_models(ours, theirs, dtype)
    assert theirs.h_samples_.shape == (7, 4)
    assert_equal_models(gb.BernoulliRBM.from_sklearn(theirs), theirs, dtype)
    assert theirs.score_samples(frame(dtype)).shape == (60,)


def test_both_go_on_training_apart():
    theirs = BernoulliRBM(**OPTIONS).fit(X)
    start = theirs.components_.copy()
    ours = gb.BernoulliRBM.from_sklearn(theirs).partial_fit(X)
    np.testing.assert_array_equal(theirs.components_, start)
    back = ours.to_sklearn()
    kept = ours.components_.copy()
    back.partial_fit(X[:7])
    assert (back.components_ != kept).any()
    np.testing.assert_array_equal(ours.components_, kept)


def test_columns_without_names_stay_without():
    theirs = BernoulliRBM(**OPTIONS).fit(X)
    ours = gb.BernoulliRBM.from_sklearn(theirs)
    assert not hasattr(ours, "feature_names_in_")
    assert not hasattr(ours.to_sklearn(), "feature_names_in_")


def test_what_cannot_be_converted_says_why():
    with pytest.raises(NotFittedError):
        gb.BernoulliRBM.from_sklearn(BernoulliRBM())
    with pytest.raises(NotFittedError):
        gb.BernoulliRBM().to_sklearn()
    with pytest.raises(gb.ArgumentError, match="a PCA: expected a sklearn"):
        gb.BernoulliRBM.from_sklearn(PCA())
    grey = gb.BernoulliRBM(**OPTIONS, data_range=(0, 16)).fit(16 * X)
    with pytest.raises(gb.ArgumentError, match="0 for 0 and 16 for 1"):
        grey.to_sklearn()
