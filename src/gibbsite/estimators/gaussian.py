"""Real visible units."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.checks import as_scales
from gibbsite.errors import ArgumentError, DataError
from gibbsite.estimators.base import BaseRBM
from gibbsite.estimators.runs import import_run, read_run
from gibbsite.estimators.settings import AUTO, is_auto
from gibbsite.estimators.tables import Units, as_numpy, as_rows, precision_of
from gibbsite.estimators.training import Training
from gibbsite.layers import Gaussian, Layer
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import (
    Held,
    SigmaFloor,
    Traits,
    Whitening,
    scaling,
    sigma_floor,
    start_whitened,
    to_data_units,
    to_standard_units,
    whitening,
    whitens,
)
from gibbsite.training.run import Penalty
from gibbsite.training.standardize import MOST_COLUMNS


@dataclass(eq=False, repr=False, kw_only=True)
class GaussianRBM(BaseRBM):
    r"""RBM with real visible and binary hidden units, as a scikit-learn transformer.

    $$E(v,h) = \sum_i \frac{(v_i-b_i)^2}{2\sigma_i^2} - c\cdot h
      - \sum_{ij} \frac{v_i}{\sigma_i} W_{ij} h_j$$

    p(v) is a mixture of Gaussians of widths sigma, one for each state of h. Training sees whitened
    columns, or each with mean 0 and standard deviation 1; the model is then converted, exactly, to
    units of the data, so that `rbm_`, `score_samples` (a density, in nats), `sample` are in those.
    What is "auto", as all is that could be, `gibbsite.training.recipe_for` chooses from the data.

    A constant column has no scale: it is only shifted, its sigma stays where it starts, and a
    warning names it. Sparse tables are densified a minibatch at a time.

    Args:
        n_components: number of hidden units.
        sigma: standard deviation of a visible unit given h that training starts from, or keeps
            without `learn_sigma`: one number or n_features, in standard deviations of each column
            (in units of the data without `standardize`).
        learn_sigma: whether to train sigma, one for each column. Without it standardised columns
            leave a model hardly anything to explain at ``sigma=1``; choose it smaller then.
        standardize: whether to train on standardised columns.
        whiten: whether to train on whitened columns instead, from `start_whitened` (so that `sigma`
            holds without `learn_sigma` only), with a `SigmaFloor` and a tenth of the rate for log
            sigma. `rbm_` then has visible units of the type `MultivariateGaussian`, and no
            pseudo-likelihood. Most often the better model: without weights it is the Gaussian of
            the whole covariance already. "auto": for 2 to 2,000 columns, as the command does,
            unless ``standardize=False`` or ``likelihood="pseudo"`` ask for units column by column.
        learning_rate, batch_size, n_iter, verbose, random_state, gradient, steps, chains,
            centered, momentum, schedule, average, l1, l2, likelihood, device, warm_start: as in
            `BernoulliRBM`, but "auto" is the recipe's always. A run that diverges at a rate of the
            recipe starts again at a quarter of it.

    Attributes:
        rbm_: the model, an `RBM` in units of the data; save it with ``gb.save``.
        components_, intercept_hidden_, intercept_visible_: its parameters W transposed, c and b.
        sigma_: standard deviation of each column given h, (n_features,).
        mean_, scale_: what standardising subtracted and divided by, (n_features,); whitening then
            takes out the correlations.
        h_samples_: hidden states of the chains. history_: what training recorded.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Source: Cheng's tutorial (3.3) with a = 1/sigma; Krizhevsky (2009) for learning sigma.

    >>> import numpy as np, gibbsite as gb
    >>> X = np.random.default_rng(0).normal([5, -100], [1, 20], (500, 2))
    >>> model = gb.GaussianRBM(n_components=4, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sigma_.shape
    ((500, 4), (2,))
    >>> bool(abs(model.score(X) + np.log(20) + np.log(2 * np.pi) + 1) < 0.1)  # minus the entropy
    True
    """

    sigma: Any = 1.0
    learn_sigma: bool = True
    standardize: bool = True
    whiten: bool | str = AUTO
    n_components: int | str = field(default=AUTO, kw_only=False)
    learning_rate: float | str = AUTO
    batch_size: int | str = AUTO
    n_iter: int | str = AUTO

    @classmethod
    def from_run(cls, folder: str | Path) -> GaussianRBM:
        """The fitted estimator with the model of a run of the command on real columns.

        As `BernoulliRBM.from_run`. `partial_fit` and a `warm_start` train on in the standard units
        of the run's rows, which its run.json keeps; `DataError` for one of a version without them.
        """
        run = read_run(folder, "gaussian", "multivariate-gaussian")
        if run.scaling is None:
            raise DataError(
                f"{folder}: its run.json does not say how the columns were standardised, as it is "
                "of an earlier version; train it anew, or use its model by gb.load"
            )
        shift, scale, constant = run.scaling
        factor = dict(run.rbm.visible.named_buffers()).get("factor")
        white = None if factor is None else Whitening.of_factor(run.scaling, factor)
        options = {"whiten": white is not None, **run.hyperparameters("sigma", "learn_sigma")}
        rbm = to_standard_units(run.rbm, shift, scale if white is None else white.factor)
        units = Units(shift.numpy(), scale.numpy(), white)
        fitted: GaussianRBM = import_run(cls(**options), run, rbm, units)
        if fitted.learn_sigma:
            fitted._training.data_penalties = [Held("visible.log_sigma", constant)]
        return fitted

    @property
    def sigma_(self) -> NDArray[Any]:
        """Standard deviation of each column given h, in units of the data, (n_features,)."""
        sigma: Any = self.rbm_.visible.sigma
        return as_numpy(sigma)

    @property
    def mean_(self) -> NDArray[Any]:
        """Mean of each column, subtracted in training, (n_features,)."""
        return np.asarray(self._training.units.shift)

    @property
    def scale_(self) -> NDArray[Any]:
        """Standard deviation that each column was then divided by, (n_features,)."""
        return np.asarray(self._training.units.scale)

    def _start(self, X: Any) -> tuple[Layer, Units, list[Penalty]]:
        n = X.shape[1]
        found = scaling(as_rows(X, Units()))
        if warning := found.warning(getattr(self, "feature_names_in_", None)):
            warnings.warn(warning, stacklevel=5)
        shift, scale, constant = found
        white = self._whitening(X)
        if not self.standardize and white is None:
            shift, scale = torch.zeros_like(shift), torch.ones_like(scale)
        sigma = as_scales("sigma", self.sigma, n, torch.zeros(())).expand(n)
        penalties: list[Penalty] = [Held("visible.log_sigma", constant)] if self.learn_sigma else []
        visible = Gaussian(n, sigma, bool(self.learn_sigma))
        return visible, Units(shift.numpy(), scale.numpy(), white), penalties

    def _whitening(self, X: Any) -> Whitening | None:
        """That of the table, if it is asked for, or the command would whiten it too."""
        n = X.shape[1]
        possible = whitens(Gaussian(n), n)
        by_default = self.standardize and self.likelihood != "pseudo" and possible
        if not (by_default if is_auto(self.whiten) else self.whiten):
            return None
        if not possible:
            raise ArgumentError(
                f"whiten=True for {n} columns: expected 2 to {MOST_COLUMNS}; leave it out"
            )
        return whitening(as_rows(X, Units()))

    def _traits(self, visible: Layer, rows: Rows, units: Units) -> Traits:
        return Traits.of(visible, rows)._replace(whitened=units.whitening is not None)

    def _initialize(self, training: Training, X: Any, weights: Tensor | None) -> None:
        if training.units.whitening is None:
            return super()._initialize(training, X, weights)
        constant = training.units.whitening.scaling.constant
        start_whitened(training.rbm, training.generator(), constant)
        training.projections = [SigmaFloor(sigma_floor(as_rows(X, training.units)))]
        return None

    def _precision(self, X: Any) -> torch.dtype:
        """Without `standardize` that of X, as all digits of a column may matter."""
        plain = not self.standardize and (is_auto(self.whiten) or not self.whiten)
        return precision_of(X) if plain else torch.float32

    def _units(self) -> Units:
        return Units()

    def _fitted(self, training: Training) -> RBM:
        white = training.units.whitening
        if white is not None:
            return to_data_units(training.model, white.scaling.shift, white.factor)
        shift, scale = map(torch.as_tensor, (training.units.shift, training.units.scale))
        return to_data_units(training.model, shift, scale)
