"""Models to and from ``sklearn.neural_network.BernoulliRBM``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gibbsite.errors import ArgumentError
from gibbsite.estimators.settings import is_auto
from gibbsite.estimators.tables import ROUNDING, Units
from gibbsite.estimators.training import Training
from gibbsite.layers import Bernoulli
from gibbsite.model import RBM

SHARED = ("n_components", "learning_rate", "batch_size", "n_iter", "verbose", "random_state")


@torch.no_grad()
def import_model(cls: Any, model: BernoulliRBM) -> Any:
    """A fitted estimator of the class with the parameters of scikit-learn's model."""
    if not isinstance(model, BernoulliRBM):
        raise ArgumentError(
            f"a {type(model).__name__}: expected a sklearn.neural_network.BernoulliRBM"
        )
    check_is_fitted(model)
    estimator = cls(**{name: getattr(model, name) for name in SHARED})
    weight = torch.tensor(np.asarray(model.components_)).T
    rbm = RBM(Bernoulli(weight.shape[0]), Bernoulli(weight.shape[1])).to(weight.dtype)
    rbm.weight.copy_(weight)
    rbm.visible.bias.copy_(torch.tensor(model.intercept_visible_))
    rbm.hidden.bias.copy_(torch.tensor(model.intercept_hidden_))
    seed = check_random_state(model.random_state).randint(2**31 - 1)
    estimator._keep(Training(rbm, Units(0.0, 1.0), np.random.RandomState(seed)))
    _copy_columns(model, estimator)
    return estimator


def export_model(estimator: Any) -> BernoulliRBM:
    """scikit-learn's model with the parameters of a fitted estimator of binary units."""
    check_is_fitted(estimator)
    low, high = estimator.data_range_
    if max(abs(low), abs(high - 1)) > ROUNDING:
        raise ArgumentError(
            f"the model takes {low:g} for 0 and {high:g} for 1, which scikit-learn's cannot; fit "
            "one to data scaled to [0, 1]"
        )
    settings = {name: getattr(estimator, name) for name in SHARED}
    chosen = estimator._training.settings
    model = BernoulliRBM(
        **{name: chosen[name] if is_auto(value) else value for name, value in settings.items()}
    )
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        setattr(model, name, getattr(estimator, name).copy())
    n_components, _ = model.components_.shape
    # its partial_fit is right only with as many chains as there are rows in a batch
    model.h_samples_ = np.resize(estimator.h_samples_, (model.batch_size, n_components))
    model._n_features_out = n_components
    _copy_columns(estimator, model)
    return model


def _copy_columns(source: Any, target: Any) -> None:
    """Copy what scikit-learn keeps about the columns of the data."""
    target.n_features_in_ = source.components_.shape[1]
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_
