"""TableRBM: its answers against enumeration of the model, frames in and out, files."""

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import gibbsite as gb
from gibbsite.estimators.distribution import distribution

SMALL = {"n_components": 3, "n_iter": 30, "random_state": 0}


def make_frame(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Columns of every kind that depend on a hidden sort."""
    rng = np.random.default_rng(seed)
    sort = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "sort": pd.Categorical(np.array(["ant", "bee", "cow"])[sort]),
            "legs": rng.poisson(np.array([2, 6, 11])[sort]),
            "mass": np.array([-3.0, 0.0, 5.0])[sort] * 10 + 40 + rng.normal(0, 6, rows),
            "wings": rng.random(rows) < np.array([0.1, 0.9, 0.05])[sort],
            "price": np.exp(np.array([0.0, 1.0, 3.0])[sort] + rng.normal(size=rows)),
        },
        index=pd.RangeIndex(100, 100 + rows),
    )


def punched(frame: pd.DataFrame, share: float = 0.2, seed: int = 1) -> pd.DataFrame:
    """The frame with some cells taken away."""
    holes = np.random.default_rng(seed).random(frame.shape) < share
    frame = frame.astype({"wings": "boolean", "legs": "Int64"})
    return frame.mask(holes)


FRAME = make_frame()
HOLES = punched(FRAME)
KINDS = {"price": "quantile"}


@pytest.fixture(scope="module")
def model() -> gb.TableRBM:
    return gb.TableRBM(n_components=6, columns=KINDS, n_iter=150, random_state=0).fit(HOLES)


# scikit-learn

@parametrize_with_checks([gb.TableRBM(n_components=2, n_iter=2)])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)
