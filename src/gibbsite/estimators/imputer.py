"""Missing cells of a table filled within a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from gibbsite.datasets.frames import append_columns, read_frame
from gibbsite.estimators.table import TableRBM

Array = NDArray[Any]


@dataclass(eq=False, repr=False)
class RBMImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Missing cells filled by what a `TableRBM` says of them given the rest of the row.

    A transformer for pipelines. Frames come back as frames with their dtypes, arrays as arrays,
    unless ``set_output`` says otherwise; what is known stays as it is. Numbers and counts get the
    conditional mean, categories the most probable one. With the same rows the result is the same.

    Args:
        n_components, columns, numbers, n_iter, seconds, random_state: as of `TableRBM`.
        add_indicator: whether to append a column for each one that has missing cells in `fit`,
            true where a cell is missing, named ``missingindicator_`` and its name.

    Attributes:
        model_: the fitted `TableRBM`.
        indicated_: positions of the columns that have an indicator.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    A column that is all missing in `fit` stays so: leave it out.

    >>> import numpy as np, gibbsite as gb
    >>> X = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, -2.0, 3.0]
    >>> X[::5, 1] = np.nan
    >>> imputer = gb.RBMImputer(n_components=4, n_iter=50, random_state=0, add_indicator=True)
    >>> imputer.fit_transform(X).shape, imputer.get_feature_names_out()[-1]
    ((200, 4), 'missingindicator_x1')
    """

    n_components: int | None = None
    columns: Mapping[Any, str] | None = None
    numbers: str = "gaussian"
    n_iter: int | None = None
    seconds: float | None = None
    random_state: int | np.random.RandomState | None = None
    add_indicator: bool = False

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the model on the rows of a table; errors are those of `TableRBM.fit`."""
        random = check_random_state(self.random_state)
        options = {name: value for name, value in self.get_params().items() if name in SHARED}
        self.model_ = TableRBM(**options, random_state=random).fit(X)
        self._seed = int(random.randint(2**31 - 1))
        table = self.model_.columns_.read(X)
        missing = [bool(cells.missing.any()) for cells in table.cells]
        self.indicated_ = np.flatnonzero(missing) if self.add_indicator else np.array([], int)
        self.n_features_in_ = self.model_.n_features_in_
        if hasattr(self.model_, "feature_names_in_"):
            self.feature_names_in_ = self.model_.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any) -> Any:
        """The table with its missing cells filled, and indicators behind it, if asked for."""
        check_is_fitted(self)
        filled = self.model_.impute(X, random_state=self._seed)
        if not len(self.indicated_):
            return filled
        cells = self.model_.columns_.read(X).cells
        names = self.get_feature_names_out()[self.n_features_in_ :]
        masks = [cells[index].missing for index in self.indicated_]
        return append_columns(read_frame(X).package, filled, names.tolist(), masks)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns that `transform` gives."""
        check_is_fitted(self)
        names: Array = _check_feature_names_in(self, input_features)
        indicators = [f"missingindicator_{name}" for name in names[self.indicated_]]
        return np.concatenate([names, np.array(indicators, dtype=object)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


SHARED = ("n_components", "columns", "numbers", "n_iter", "seconds")
"""Hyperparameters of `TableRBM` that are those of the imputer."""
