"""Binary visible units: what scikit-learn's class of the same name models."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError, location
from gibbsite.estimators.base import BaseRBM
from gibbsite.estimators.convert import export_model, import_model
from gibbsite.estimators.runs import import_run, read_run
from gibbsite.estimators.settings import Settings, is_auto
from gibbsite.estimators.tables import ROUNDING, Units, as_rows, extremes, locate
from gibbsite.estimators.training import Training
from gibbsite.layers import Bernoulli, Layer
from gibbsite.rows import Rows
from gibbsite.training.initialize import WEIGHT_SCALE
from gibbsite.training.recipe import AVERAGED
from gibbsite.training.run import Penalty

log = logging.getLogger("gibbsite")

LARGEST_SCALE = 0.1
"""Standard deviation of starting weights, at most: larger ones saturate units of small models."""


@dataclass(eq=False, repr=False, kw_only=True)
class BernoulliRBM(BaseRBM):
    r"""RBM with binary visible and binary hidden units, as a scikit-learn transformer.

    $$p(v,h) = e^{b\cdot v + c\cdot h + v^T W h}/Z$$

    Replaces ``sklearn.neural_network.BernoulliRBM``: the arguments the two share mean the same.
    Defaults that differ: there are 100 chains whatever the batch, momentum is 0.5, the learning
    rate of `fit` falls, parameters are averaged, the visible biases start at the log-odds of the
    columns, and the weights are drawn with a standard deviation of
    sqrt(2 / (n_features + n_components)), at most 0.1, ten times scikit-learn's in small models.

    Any of `n_components`, `learning_rate`, `batch_size` and `n_iter` may be "auto", for what
    `gibbsite.training.recipe_for` chooses from the data. With ``learning_rate="auto"`` that holds
    for all others left to "auto" too, so that ``BernoulliRBM("auto", learning_rate="auto",
    batch_size="auto", n_iter="auto")`` trains as `gibbsite.fit` does. Beside a rate given they are
    those in brackets, which suit scikit-learn's few short passes: the recipe's are for long runs.

    Values are states, 0 or 1, or, in between, probabilities of a one. Training, `transform` and
    `score_samples` put those into the formulas as they are, so that `fit` maximises the `score` of
    its rows: for grey values a lower bound of the mean log-likelihood of rows drawn with such
    probabilities (-F is convex). With `binarize` training draws them anew at each visit, which
    maximises that mean itself: the objective for a model to sample from, but its features are worse
    for a classifier. Zeros and ones make no difference. Data outside [0, 1] are governed by
    `data_range`; nothing is ever clipped.

    Args:
        n_components: number of hidden units.
        learning_rate: step size of gradient ascent, in parameter units per nat.
        batch_size: rows an update.
        n_iter: passes over the data in `fit`; 0 only initialises.
        verbose: whether to print a line an epoch.
        random_state: int, RandomState or None (numpy's global one); where all seeds come from.
        gradient: "pcd" (persistent chains), "fpcd" (with fast weights), "cd" (chains from the
            data), "noise-cd" (chains from noise: give it 10 steps or more), "mean-field", or
            "exact" (enumeration, for small models). ["pcd"; the recipe's may be by `Tempering`]
        steps: Gibbs or mean-field steps an update.
        chains: those of "pcd", "fpcd" and "noise-cd". [100]
        centered: whether to centre the gradient: the same fixed points, and over many epochs often
            a better likelihood. [False, as hidden units that are each on about half the time, which
            centring brings, are worse features for a linear classifier]
        momentum: of the updates, 0 up to less than 1; m multiplies the effective step by 1/(1-m).
            [0.5]
        schedule: learning rate in `fit`: "linear" falls towards 0, "quadratic" as the square of
            that, "constant" stays. ["linear"]
        average: horizon of the exponential average of the parameters that `fit` gives, in epochs,
            as of `Averaged`; 0 for none. [the recipe's too: 0.04 of `n_iter`]
        l1, l2: strengths of the penalties l1 |W|_1 and l2/2 |W|^2, in nats. [l2: 0]
        likelihood: what `score_samples` returns: log p(v) by "auto", "exact", "bridge" or "ais",
            or "pseudo".
        device: "cpu", "cuda", or "auto": CUDA where there is one.
        warm_start: whether `fit` goes on from the model of the last call, with its chains,
            momentum, random numbers and units of measurement, as `partial_fit` does, but for
            `n_iter` passes and along the schedule, from `learning_rate` anew.
        data_range: the numbers (low, high) that mean 0 and 1; others are mapped linearly, and
            values outside raise `DataError` in `fit`, `partial_fit`, `score_samples`, `gibbs`.
            With "auto" low is 0, so that negative values raise `DataError`, and high is 1 unless
            the (first) training data go beyond: then it is their greatest value, as befits grey
            levels, and the logger "gibbsite" says so. ``data_range=(0, 1)`` refuses such data.
            A millionth of the range is allowed for rounding: the range is widened by it.
        binarize: whether training draws grey values as 0 or 1, anew at each visit (see above).

    Attributes:
        rbm_: the model, an `RBM` over 0 and 1; save it with ``gb.save``.
        components_, intercept_hidden_, intercept_visible_: its parameters, as scikit-learn has
            them: W transposed, c and b.
        h_samples_: hidden states of the chains. history_: what training recorded.
        data_range_: (low, high) in use.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Source: Tieleman (2008) for "pcd"; Melchior, Fischer, Wiskott (2016) for centring; Glorot,
    Bengio (2010), equation (16), for the scale of the weights (there that of a uniform draw).

    >>> import numpy as np, gibbsite as gb
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    >>> model = gb.BernoulliRBM(n_components=2, random_state=0).fit(X)
    >>> model.transform(X).shape, model.components_.shape
    ((4, 2), (2, 3))
    >>> states = np.indices((2, 2, 2)).reshape(3, 8).T
    >>> print(f"{np.exp(model.score_samples(states)).sum():.4f}")  # log p(v), exact
    1.0000
    """

    data_range: str | tuple[float, float] = "auto"
    binarize: bool = False

    _beside_a_rate: ClassVar[Settings] = {
        "gradient": "pcd",
        "chains": 100,
        "centered": False,
        "momentum": 0.5,
        "schedule": "linear",
        "l2": 0.0,
    }

    @classmethod
    def from_sklearn(cls, model: Any) -> BernoulliRBM:
        """The fitted estimator with the parameters of a ``sklearn.neural_network.BernoulliRBM``.

        Hyperparameters that both have are taken over; so are the names of the columns. Chains are
        not: `partial_fit` starts new ones. Nor are rows: an estimate of log Z has none to start
        from, so that `score` warns; ``gb.evaluate(ours.rbm_, X)`` starts from those of X. Raises
        NotFittedError for a model not fitted, and `ArgumentError` for anything else.

        >>> import numpy as np, sklearn.neural_network, gibbsite as gb
        >>> theirs = sklearn.neural_network.BernoulliRBM(2, random_state=0).fit(np.eye(3))
        >>> ours = gb.BernoulliRBM.from_sklearn(theirs)
        >>> np.allclose(ours.transform(np.eye(3)), theirs.transform(np.eye(3)))
        True
        """
        estimator: BernoulliRBM = import_model(cls, model)
        return estimator

    @classmethod
    def from_run(cls, folder: str | Path) -> BernoulliRBM:
        """The fitted estimator with the model of a run of the command, from the run's folder.

        Hyperparameters are the run's settings (but SGD by Gibbs sampling, whatever the run's
        optimiser and sampler), and grey values are drawn, as in the run. The chains of its last
        checkpoint go on, if there is one; nothing else does. As no rows are kept, see
        `from_sklearn` for `score`. Raises `DataError` without a usable run.json, and
        `ArgumentError` for a model of other units.

        >>> import gibbsite as gb, json, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())  # as `gibbsite fit` leaves it, in short
        >>> settings = {"epochs": 5, "seed": 0, "gradient": "pcd", "steps": 1, "chains": 100,
        ...             "centered": True, "batch_size": 10, "learning_rate": 0.1, "momentum": 0.5,
        ...             "schedule": "linear", "average": 0.0, "l1": 0.0, "l2": 0.0}
        >>> record = {"format": 1, "settings": settings, "data": {"names": None}}
        >>> _ = (folder / "run.json").write_text(json.dumps(record))
        >>> gb.save(gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), folder / "model.safetensors")
        >>> gb.BernoulliRBM.from_run(folder).transform([[0, 1, 1]])
        array([[0.5, 0.5]])
        """
        run = read_run(folder, "bernoulli")
        estimator = cls(binarize=True, **run.hyperparameters())
        fitted: BernoulliRBM = import_run(estimator, run, run.rbm, Units(0.0, 1.0))
        return fitted

    def to_sklearn(self) -> Any:
        """A fitted ``sklearn.neural_network.BernoulliRBM`` with these parameters.

        Raises NotFittedError before `fit`, and `ArgumentError` if `data_range_` is not (0, 1),
        which scikit-learn's model cannot have.
        """
        return export_model(self)

    @property
    def data_range_(self) -> tuple[float, float]:
        """The values of the data that mean 0 and 1."""
        low, width, _ = self._training.units
        return low, low + width

    def _given(self) -> Settings:
        """The average as of the recipe, but without a look at the data."""
        given = super()._given()
        if "auto" in (self.learning_rate, self.n_iter) or not is_auto(self.average):
            return given
        return {**given, "average": AVERAGED * int(self.n_iter)}

    def _start(self, X: Any) -> tuple[Layer, Units, list[Penalty]]:
        automatic = isinstance(self.data_range, str) and self.data_range == "auto"
        low, high = (0.0, max(1.0, extremes(X)[1])) if automatic else _pair(self.data_range)
        if automatic and high > 1 + ROUNDING:
            log.warning(
                "%s: the data go up to %g, which is taken to mean 1; data_range=(0, %g) says so "
                "quietly, data_range=(0, 1) refuses such data",
                *(type(self).__name__, high, high),
            )
        return Bernoulli(X.shape[1]), _range_with(X, low, high), []

    def _rows(self, X: Any, units: Units) -> Rows:
        return replace(as_rows(X, units), drawn=bool(self.binarize))

    def _initialize(self, training: Training, X: Any, weights: Tensor | None) -> None:
        super()._initialize(training, X, weights)
        wanted = min(LARGEST_SCALE, math.sqrt(2 / sum(training.rbm.weight.shape)))
        with torch.no_grad():
            training.rbm.weight.mul_(wanted / WEIGHT_SCALE)

    def _admit(self, X: Any) -> Units:
        return _range_with(X, *self.data_range_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = isinstance(self.data_range, str)
        return tags


def _pair(value: Any) -> tuple[float, float]:
    """(low, high) of a `data_range`, else `ArgumentError`."""
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise ArgumentError(
            f"data_range={value!r}: expected 'auto' or two numbers (low, high), low below high"
        )
    return low, high


def _range_with(X: Any, low: float, high: float) -> Units:
    """Units in which low is 0 and high is 1, widened to values that rounding put just outside.

    Values further outside raise a `DataError` that names the most extreme one.
    """
    (least, most), slack = extremes(X), ROUNDING * (high - low)
    if low - slack <= least and most <= high + slack:
        low, high = min(low, least), max(high, most)
        return Units(low, high - low)
    value = least if least < low - slack else most
    row, column = locate(X, value)
    what = "Negative values in data" if low == 0 > value else "Values out of range in data"
    raise DataError(
        f"{what}: {value:g} at {location(row, column)} (counted from 1), outside "
        f"[{low:g}, {high:g}]. Rescale the data (MinMaxScaler(clip=True)), pass data_range=(low, "
        "high), or use GaussianRBM"
    )
