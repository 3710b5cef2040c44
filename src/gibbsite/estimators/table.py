"""Models of tables with columns of any type and missing cells."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gibbsite import exact, observed
from gibbsite.checks import check_counts, check_strength
from gibbsite.datasets import Columns
from gibbsite.datasets.cells import Cells, Dtype, Name
from gibbsite.datasets.column import CONSTANT
from gibbsite.datasets.frames import Frame, write_frame
from gibbsite.errors import ArgumentError, DataError, LikelihoodWarning
from gibbsite.estimators.distribution import distribution, summary
from gibbsite.estimators.table_training import START_SIGMA, some_rows, train
from gibbsite.io import load
from gibbsite.layers import Layer
from gibbsite.likelihood import LogPartition, conditional_log_likelihood, log_partition
from gibbsite.likelihood.holes import Sums, observed_sums
from gibbsite.model import RBM
from gibbsite.sampling import impute, sample
from gibbsite.training import History

Array = NDArray[Any]

SAMPLES = 1000
"""Rows of the model's own that `anomaly_score` compares with."""

MOST_SUMS = 2**27
"""Terms of the sums over missing cells of these rows, at most, for all sets of missing cells."""

STEPS = 100
"""Steps of chains that fill missing cells: the known ones hold them, so that they mix fast."""


@dataclass(eq=False, repr=False)
class TableRBM(BaseEstimator):  # type: ignore[misc]
    r"""Joint distribution of all columns of a table, which answers any question about a row.

    A visible unit for each column, of the type that the column asks for, and binary hidden units:

    $$p(v) = \frac1Z\sum_h e^{-E(v,h)},\qquad
      \log p(v_\text{known}) = \log\sum_{v_\text{missing}} p(v)$$

    Tables are pandas or polars frames, or arrays. NaN, None and null are missing cells: they are
    summed over, in training and in every answer, which is right where a cell is missing for no
    reason that has to do with its value, given the others of the row (missing at random). Columns
    are typed by their dtypes and values, see `gibbsite.datasets.column.kind_for`; ``print(
    model.columns_.describe())`` says how. Log-likelihoods are in nats, for numbers of the density
    in units of the data (of ``quantile`` columns, of their normal scores).

    Args:
        n_components: number of hidden units. What is None is chosen from the data, for about 36 s
            of training at most (`gibbsite.training.recipe_for`).
        columns: kind of some columns by name, or by position in an array, such as
            ``{"age": "gaussian"}``: ``bernoulli``, ``categorical``, ``binomial``, ``poisson``,
            ``gaussian`` (standardised), or ``quantile``: Gaussian units for normal scores, the
            normal quantiles of the ranks, for numbers that have heavy tails or bounds. What the
            model then says of the column is never beyond its least and greatest number.
        numbers: kind of columns of numbers, ``gaussian`` or ``quantile``.
        n_iter: passes over the rows.
        l2: strength of the weight decay, in nats.
        seconds: time to train for, about, instead of 36 s.
        random_state: seed, `numpy.random.RandomState`, or None for a random one.

    Attributes:
        rbm_: the model, whose states are those that ``columns_.encode`` makes of rows: numbers are
            standardised. Save it with ``gb.save(model, path)``, the columns included.
        columns_: the `gibbsite.datasets.Columns` of the table.
        layers_: the visible layers, one for each type of unit.
        history_: record of training.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    >>> import numpy as np, pandas as pd, gibbsite as gb
    >>> rng = np.random.default_rng(0)
    >>> kind = rng.choice(["cat", "dog"], 300)
    >>> weight = np.where(kind == "cat", 4.0, 20.0) + rng.normal(size=300)
    >>> frame = pd.DataFrame({"kind": kind, "weight": weight})
    >>> model = gb.TableRBM(n_components=4, n_iter=300, random_state=0).fit(frame)
    >>> holes = pd.DataFrame({"kind": ["dog", None], "weight": [None, 4.5]})
    >>> filled = model.impute(holes, random_state=0)
    >>> filled["kind"].tolist(), bool(15 < filled["weight"][0] < 25)
    (['dog', 'cat'], True)
    >>> bool(model.conditional(holes, "kind")["cat"][1] > 0.8)
    True
    """

    n_components: int | None = None
    columns: Mapping[Any, str] | None = None
    numbers: str = "gaussian"
    n_iter: int | None = None
    l2: float | None = None
    seconds: float | None = None
    random_state: int | np.random.RandomState | None = None

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a new model on the rows of a table.

        Args:
            X: (n_samples, n_features), frame or array, with missing cells or without.
            y: ignored.
            sample_weight: (n_samples,), finite and not negative: the weighted mean log-likelihood
                of what is known is maximised then.

        Raises `DataError`, naming column and remedy, for dates, infinity, over 1,000 categories,
        names that occur twice, or a table in which nothing varies; `ArgumentError` for
        hyperparameters that cannot be used. Both are ValueErrors.
        """
        given = self._given()
        columns = Columns.of(X, self.columns, self.numbers)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        states = columns.encode(X, np.random.default_rng(seed))
        generator = torch.Generator().manual_seed(seed)
        visible = columns.layer(sigma=START_SIGMA, learn_sigma=True)
        weights = None if sample_weight is None else np.asarray(sample_weight, float)
        rbm, history = train(visible, states, weights, given, generator)
        rbm.schema = columns.as_record()
        self._keep(rbm, columns)
        self.history_: History = history
        self._start: Tensor | None = some_rows(rbm.visible, states.to(rbm.weight))
        if history.interrupted:
            raise KeyboardInterrupt  # the model is kept; the caller must stop
        return self

    @classmethod
    def from_model(cls, rbm: RBM) -> TableRBM:
        """The fitted estimator of a model that has the columns of its table (``rbm.schema``).

        Hyperparameters are the defaults. Raises `ArgumentError` for a model without columns, and
        `ModelFileError` if they are damaged.
        """
        if rbm.schema is None:
            raise ArgumentError(
                "the model does not say of what table it is; give one that TableRBM has fitted"
            )
        columns = Columns.from_record(rbm.schema)
        layer, visible = columns.layer(), rbm.visible
        if (layer.kinds(), layer.sizes) != (visible.kinds(), visible.sizes):
            raise ArgumentError("the model's units are not those of the columns that it names")
        estimator = cls()
        estimator._keep(rbm, columns)
        estimator._start = None
        return estimator

    @classmethod
    def load(cls, path: str | Path) -> TableRBM:
        """The fitted estimator of a file that ``gb.save(estimator, path)`` wrote; no pickle."""
        return cls.from_model(load(path))

    def _given(self) -> dict[str, Any]:
        """Settings of the recipe that are given, checked."""
        names = {"n_components": "hidden", "n_iter": "epochs", "l2": "l2", "seconds": "seconds"}
        given = {name: x for name in names if (x := getattr(self, name)) is not None}
        counts = given.keys() & {"n_components", "n_iter"}
        check_counts(**{name: given[name] for name in counts})
        check_strength(**{name: given[name] for name in given.keys() - counts})
        return {names[name]: value for name, value in given.items()}

    def _keep(self, rbm: RBM, columns: Columns) -> None:
        self.rbm_, self.columns_ = rbm, columns
        self.n_features_in_ = len(columns.columns)
        self._log_z: LogPartition | None = None
        self._samples: Tensor | None = None
        names = columns.names
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    @property
    def layers_(self) -> list[Layer]:
        """The visible layers, one for each type of unit, in order."""
        visible: Any = self.rbm_.visible
        return list(getattr(visible, "layers", [visible]))

    # likelihood

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """log p of the known cells of each row, in nats, (n_samples,); 0 where none is known.

        Rows with the same cells missing compare; one with fewer known cells has a higher value for
        that alone, see `anomaly_score`. Exact where the hidden units, or what is missing, have few
        states; else estimated by annealing, and a `LikelihoodWarning` tells if that fails its
        checks. Deterministic.
        """
        table, v = self._states(X)
        sums, log_z = self._sums(v), self.log_partition()
        empty = torch.isnan(v).all(1).numpy()
        problems = [*log_z.problems, *sums.problems()]
        _warn("scores", problems)
        scores = np.where(empty, 0.0, sums.values.numpy() - log_z.value)
        known = ~self.columns_.missing(table).numpy()
        found: NDArray[np.float64] = scores - known @ self.columns_.log_volumes
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples` over the rows, in nats."""
        return float(self.score_samples(X).mean())

    def log_partition(self) -> LogPartition:
        """log Z of `rbm_`, exact or with its error and `verdict`; the same at every call."""
        check_is_fitted(self)
        if self._log_z is None:
            generator = torch.Generator().manual_seed(0)
            self._log_z = log_partition(self.rbm_, data=self._start, generator=generator)
        return self._log_z

    def log_likelihood(self, X: Any, given: Sequence[Name] = ()) -> NDArray[np.float64]:
        """log p(the other columns | those given) of each row, in nats, (n_samples,).

        Missing cells are summed over on either side. By `gibbsite.conditional_log_likelihood`,
        whose failed checks are warned of; where it is not exact, each row takes the time of an
        estimate of log Z.
        """
        table, v = self._states(X)
        chosen = {self.columns_.index(name) for name in _listed(given)}
        mask = torch.tensor([index in chosen for index in self.columns_.units])
        generator = torch.Generator().manual_seed(0)
        found = conditional_log_likelihood(self.rbm_, v, given=mask, generator=generator)
        _warn("conditional log-likelihoods", found.warnings)
        asked = ~(self.columns_.missing(table) | mask).numpy()
        rows: NDArray[np.float64] = found.rows.numpy() - asked @ self.columns_.log_volumes
        return rows

    def anomaly_score(self, X: Any) -> NDArray[np.float64]:
        """p-value of each row's log-likelihood against 1,000 rows of the model's own, (n_samples,).

        The share of them, with the same cells taken away, that are no more likely than the row:
        small for odd rows, whatever is missing; at least 1/1,001, and 1 for a row that is all
        missing. To rank the oddest of rows with the same cells missing, take `score_samples`.
        Where missing cells are too many to sum over, for so many different sets of them, they are
        drawn given the known ones: a p-value still, but one that odd cells move less.
        """
        _, v = self._states(X)
        generator = torch.Generator().manual_seed(0)
        if self._samples is None:
            self._samples = self._draw(SAMPLES, generator)
        v = self._summable(v, generator)
        scores, result = self._sums(v).values, np.ones(len(v))
        patterns, which = torch.unique(torch.isnan(v), dim=0, return_inverse=True)
        for index, missing in enumerate(patterns):
            if bool(missing.all()):
                continue
            rows = which == index
            own = self._sums(self._samples.to(v).masked_fill(missing, torch.nan)).values
            below = torch.searchsorted(own.sort().values, scores[rows], right=True)
            result[rows.numpy()] = (1 + below.numpy()) / (1 + SAMPLES)
        return result

    # rows

    def impute(
        self, X: Any, *, draws: int | None = None, steps: int = STEPS, random_state: Any = None
    ) -> Any:
        """The table with its missing cells filled, a frame with the same dtypes, index and names.

        Numbers and counts get the conditional mean given the known cells of the row (rounded where
        the column is whole; of ``quantile`` columns that of normal scores), categories the most
        probable one. By `gibbsite.impute`. A column that was all missing in training stays so.

        Args:
            draws: number of frames to fill by draws instead, for multiple imputation; the result is
                a list of them.
            steps: of the Gibbs chains that fill the cells.
            random_state: as of `fit`.
        """
        check_counts(steps=steps, **({} if draws is None else {"draws": draws}))
        _, v = self._states(X)
        generator = self._generator(random_state)
        v = v.to(self.rbm_.weight)
        values = impute(self.rbm_, v, draws=draws, steps=steps, generator=generator).values
        if draws is None:
            return self.columns_.fill(X, values)
        return [self.columns_.fill(X, drawn) for drawn in values]

    def sample(
        self, n_samples: int = 1, *, steps: int | None = None, random_state: Any = None
    ) -> Any:
        """New rows, a frame with the names, dtypes and categories of the one trained on.

        Independent and exact if the hidden units, or the visible ones, have at most 2^20 states,
        else ends of chains as of `gibbsite.sample`, of 1,000 steps by default. Whole numbers are
        whole, and in the range of the dtype; numbers of Gaussian units may lie beyond those of the
        data, others do not.
        """
        check_is_fitted(self)
        check_counts(n_samples=n_samples, **({} if steps is None else {"steps": steps}))
        drawn = self._draw(n_samples, self._generator(random_state), steps)
        return self.columns_.decode(drawn)

    def conditional(
        self, X: Any, target: Name, given: Sequence[Name] | None = None, random_state: Any = 0
    ) -> Any:
        """Distribution of one column for each row, given the known cells of others.

        Of categories a frame with the probability of each; of numbers and counts one with mean,
        standard deviation and quantiles, in units of the data. Exact, unless so many other cells
        are missing that these are drawn (`gibbsite.estimators.distribution`).

        Args:
            X: the table; it may lack the target, whose cells are not used.
            target: name of the column, in an array its position.
            given: columns that are known; None for all others.
            random_state: of draws.
        """
        check_is_fitted(self)
        index = self.columns_.index(target)
        column = self.columns_.columns[index]
        if column.kind == CONSTANT:
            raise ArgumentError(f"{target!r} was constant in training: ask for one that varies")
        known = self.columns_.units if given is None else map(self.columns_.index, _listed(given))
        table, v = self._states(X, absent=(target,))
        unit, hidden = self.columns_.units.index(index), set(self.columns_.units) - set(known)
        for other in (unit, *(self.columns_.units.index(i) for i in hidden)):
            v[:, self.rbm_.visible.unit_columns(other)] = torch.nan
        real = not column.values and column.unit == "gaussian"
        found = distribution(self.rbm_, v, unit, real, self._generator(random_state))
        names, values = summary(found, column)
        number = Dtype("Float64" if table.package == "polars" else "float64")
        made = [Cells("", number, x, np.isnan(x)) for x in values]
        rows = table.source.index if table.package == "pandas" else None
        return write_frame(table.package, None if table.names is None else names, made, rows)

    # parts

    def _states(self, X: Any, absent: Sequence[Name] = ()) -> tuple[Frame, Tensor]:
        """The table in the order of the columns, and its states, float64 (rows, width)."""
        check_is_fitted(self)
        shape: Sequence[int] = () if hasattr(X, "columns") else getattr(X, "shape", ())
        if len(shape) == 2 and shape[1] != self.n_features_in_:
            raise DataError(  # in scikit-learn's words
                f"X has {shape[1]} features, but TableRBM is expecting {self.n_features_in_} "
                "features as input; give those, in that order"
            )
        table = self.columns_.read(X, absent)
        return table, self.columns_.encode_cells(table)

    def _sums(self, v: Tensor) -> Sums:
        """log p* of what is known in each row of v."""
        return observed_sums(self.rbm_, v, generator=torch.Generator().manual_seed(0))

    def _summable(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """Rows v, those filled by draws in which too much is missing for sums over it."""
        patterns = len(torch.unique(torch.isnan(v), dim=0))
        empty = torch.isnan(v).all(1)
        states = observed.states_to_sum(self.rbm_, v)
        many = (states * patterns * SAMPLES > MOST_SUMS) & ~empty & torch.isnan(v).any(1)
        if bool(many.any()):
            rows = v[many].to(self.rbm_.weight)
            drawn = impute(self.rbm_, rows, draws=1, steps=STEPS, generator=generator)
            v[many] = drawn.values[0].to(v)
        return v

    def _draw(self, n: int, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """n states of the model, (n, width)."""
        if exact.is_small(self.rbm_):
            return exact.sample(self.rbm_, n, generator)
        return sample(self.rbm_, n, steps=steps, generator=generator)

    def _generator(self, random_state: Any) -> torch.Generator:
        """A generator seeded as scikit-learn does."""
        seed = check_random_state(random_state).randint(2**31 - 1)
        return torch.Generator().manual_seed(int(seed))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "rbm_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _listed(names: Any) -> list[Name]:
    """Names of columns as a list; one name is a list of one."""
    return [names] if isinstance(names, (str, int)) else list(names)


def _warn(what: str, problems: Sequence[str]) -> None:
    """Warn of estimates that failed their checks."""
    if problems:
        warnings.warn(
            f"{what} of TableRBM rest on estimates that failed their checks: {'; '.join(problems)}",
            LikelihoodWarning,
            stacklevel=3,
        )
