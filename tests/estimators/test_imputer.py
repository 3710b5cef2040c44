"""RBMImputer: scikit-learn's rules for transformers, indicators, pipelines."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import gibbsite as gb

SMALL = {"n_components": 2, "n_iter": 20, "random_state": 0}


def numbers(rows: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 1)) * [1.0, -2.0, 3.0] + rng.normal(0, 0.2, (rows, 3))
    X[rng.random(X.shape) < [0.3, 0.0, 0.2]] = np.nan
    return X


X = numbers()


@parametrize_with_checks([gb.RBMImputer(n_components=2, n_iter=2)])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_cells_are_filled_as_the_model_does():
    imputer = gb.RBMImputer(**SMALL).fit(X)
    filled = imputer.transform(X)
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled, imputer.transform(X))


@pytest.mark.parametrize("library", ["numpy", "pandas", "polars"])
def test_indicators_say_what_was_missing(library):
    names = ["a", "b", "c"]
    made = {"numpy": X, "pandas": pd.DataFrame(X, columns=names), "polars": pl.DataFrame(X, names)}
    imputer = gb.RBMImputer(**SMALL, add_indicator=True)
    filled = imputer.fit_transform(made[library])
    marks = np.asarray(filled)[:, 3:].astype(bool)
    np.testing.assert_array_equal(marks, np.isnan(X)[:, [0, 2]])
    if library != "numpy":
        expected = [*names, "missingindicator_a", "missingindicator_c"]
        assert list(filled.columns) == imputer.get_feature_names_out().tolist() == expected


def test_output_is_set_and_pipelines_take_it():
    imputer = gb.RBMImputer(**SMALL).set_output(transform="pandas")
    assert isinstance(imputer.fit_transform(X), pd.DataFrame)
    y = np.nan_to_num(X[:, 1]) > 0
    pipeline = make_pipeline(gb.RBMImputer(**SMALL), LogisticRegression())
    assert pipeline.fit(X[:, [0, 2]], y).score(X[:, [0, 2]], y) > 0.8
