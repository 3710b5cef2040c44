"""Base class of the estimators: their training, but for the kind of visible units."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from gibbsite.checks import check_counts, check_strength
from gibbsite.errors import ArgumentError
from gibbsite.estimators.fitted import FittedRBM
from gibbsite.estimators.settings import (
    AUTO,
    NAMES,
    STREAM,
    Settings,
    check_given,
    completed,
    is_auto,
)
from gibbsite.estimators.tables import Units, as_rows, precision_of
from gibbsite.estimators.training import Plan, Training
from gibbsite.layers import Bernoulli, Layer
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import Sampler
from gibbsite.training import L1, L2, Traits
from gibbsite.training.initialize import row_weights, start
from gibbsite.training.named import (
    SamplerName,
    make_device,
    make_gradient,
    make_sampler,
)
from gibbsite.training.recipe import base_rows
from gibbsite.training.restarts import with_restarts
from gibbsite.training.run import Penalty


@dataclass(eq=False, repr=False, kw_only=True)
class BaseRBM(FittedRBM):
    """An RBM with binary hidden units as a scikit-learn transformer.

    A subclass gives the visible units and the units of measurement that they are trained in. The
    fitted state lies on the CPU between calls, whatever `device` computes, so that it pickles.

    Attributes:
        _beside_a_rate: values for "auto" where the learning rate is not; of others, the recipe's.
    """

    _beside_a_rate: ClassVar[Settings] = {}

    n_components: int | str = field(default=256, kw_only=False)
    learning_rate: float | str = 0.1
    batch_size: int | str = 10
    n_iter: int | str = 10
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None
    gradient: str = AUTO
    steps: int = 1
    chains: int | str = AUTO
    centered: bool | str = AUTO
    momentum: float | str = AUTO
    schedule: str = AUTO
    average: float | str = AUTO
    l1: float = 0.0
    l2: float | str = AUTO
    likelihood: str = "auto"
    device: str = "cpu"
    warm_start: bool = False

    # hooks of subclasses

    @abstractmethod
    def _start(self, X: Any) -> tuple[Layer, Units, list[Penalty]]:
        """Visible layer for the first table, units to train it in, penalties that X asks for."""

    def _rows(self, X: Any, units: Units) -> Rows:
        """The rows to train on, in those units."""
        return as_rows(X, units)

    def _precision(self, X: Any) -> torch.dtype:
        """Dtype to train in."""
        return torch.float32

    def _fitted(self, training: Training) -> RBM:
        """The model in training, converted to `_units`."""
        return training.model

    # training

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a new model on X, forgetting any earlier one, or the present one on (`warm_start`).

        `n_iter` passes over the rows in minibatches of `batch_size`, through `gibbsite.fit`.

        Args:
            X: (n_samples, n_features): array, scipy sparse matrix or data frame. Sparse rows are
                densified a minibatch at a time. The model takes the dtype of X, float32 or float64
                (always float64 if columns far from 0 need the digits), and is trained in float32
                (`GaussianRBM` without `standardize` in that of X).
            y: ignored.
            sample_weight: (n_samples,), finite and not negative; the weighted mean log-likelihood
                is maximised then. Units of measurement are those of all rows alike.

        Raises:
            DataError: values the units cannot take. A ValueError, as is all of scikit-learn's.
            ArgumentError: a hyperparameter that cannot be used, or another `n_components` than the
                model has that is to be trained on. A ValueError.
            DivergenceError: training became non-finite. An ArithmeticError.
        """
        goes_on = self.warm_start and self.__sklearn_is_fitted__()
        return self._train(X, sample_weight, self._given(), new=not goes_on)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Go on training with the rows of X, once over, in minibatches of `batch_size`.

        Chains, momentum and random numbers go on from the last call, so many small calls are one
        long training run. The learning rate stays at `learning_rate`. Starting biases and units of
        measurement, which `fit` takes from all of its table, come from the first X, as do settings
        left to "auto": let it be a representative one. As the number of rows to come is not known,
        nothing decays but by an `l2` of yours; nor are parameters averaged. Arguments and errors
        are those of `fit`.
        """
        given = {**self._given(), **STREAM}
        if is_auto(given["l2"]):
            given["l2"] = 0.0
        new = not self.__sklearn_is_fitted__()
        known = {} if new else self._training.settings
        chosen = {k: known[k] for k, v in given.items() if is_auto(v) and k in known}
        if "gradient" in chosen:
            chosen["sampler"] = known["sampler"]
        return self._train(X, sample_weight, {**given, **chosen}, new=new)

    def _given(self) -> Settings:
        """The hyperparameters that may be "auto", checked."""
        given = {name: getattr(self, name) for name in NAMES}
        check_given(given)
        check_strength(l1=self.l1)
        check_counts(steps=self.steps)
        if not is_auto(self.learning_rate):
            beside = self._beside_a_rate
            given = {k: beside.get(k, v) if is_auto(v) else v for k, v in given.items()}
        return given

    def _plan(self, settings: Settings, sampler: Sampler | None) -> Plan:
        """Arguments of a call of `gibbsite.fit`."""
        chains, centered = settings["chains"], bool(settings["centered"])
        penalties = L1(self.l1), L2(settings["l2"])
        return Plan(
            epochs=int(settings["n_iter"]),
            schedule=settings["schedule"],
            gradient=make_gradient(settings["gradient"], chains, self.steps, centered, sampler),
            penalties=[penalty for penalty in penalties if penalty.strength],
            learning_rate=float(settings["learning_rate"]),
            momentum=float(settings["momentum"]),
            batch_size=int(settings["batch_size"]),
            average=float(settings["average"]),
            device=make_device(self.device),
        )

    def _train(self, X: Any, sample_weight: Any, given: Settings, new: bool) -> Self:
        """Train a new model, or the present one on."""
        make_device(self.device)
        X = self._validated(X, reset=new)
        weights = None
        if sample_weight is not None:
            like = torch.zeros((), dtype=self._precision(X))
            weights = row_weights(sample_weight, X.shape[0], like)
        if new:
            training = self._new_training(X, weights, given)
        else:
            self._check_components()
            training = self._training
            training.units = self._admit(X)
            visible, units = training.rbm.visible, training.units
            training.settings = completed(
                {**given, "n_components": training.rbm.hidden.n},
                lambda: self._traits(visible, self._rows(X, units), units),
            )
        tempered = training.settings["sampler"] == SamplerName.tempering
        plan = self._plan(training.settings, training.sampler if tempered else None)
        if plan.epochs:
            rows = self._rows(X, training.units)
            training = self._advanced(training, rows, weights, plan)
        self._keep(training)
        rows = as_rows(X, self._units())
        training.sample = training.sample.extended(rows, self.rbm_.weight.dtype)
        if training.history.interrupted:
            raise KeyboardInterrupt  # `gibbsite.fit` kept the model; the caller must stop
        return self

    def _advanced(
        self, training: Training, rows: Rows, weights: Tensor | None, plan: Plan
    ) -> Training:
        """The training, further on; at a rate of the recipe a quarter of it where that diverges."""
        name = type(self).__name__ if self.verbose else None
        if not is_auto(self.learning_rate):
            training.advance(rows, weights, plan, name)
            return training

        def train(rate: float) -> Training:
            own = copy.deepcopy((training.rbm, training.random, training.state))
            attempt = replace(training, rbm=own[0], random=own[1], state=own[2])
            attempt.advance(rows, weights, plan._replace(learning_rate=rate), name)
            return attempt

        return with_restarts(train, plan.learning_rate)

    def _traits(self, visible: Layer, rows: Rows, units: Units) -> Traits:
        """Traits of the rows in units of training."""
        return Traits.of(visible, rows)

    def _check_components(self) -> None:
        if not is_auto(self.n_components) and self.n_components != self.rbm_.hidden.n:
            raise ArgumentError(
                f"n_components={self.n_components!r}: the model to be trained on has "
                f"{self.rbm_.hidden.n}; keep that, or fit a new one with warm_start=False"
            )

    def _new_training(self, X: Any, weights: Tensor | None, given: Settings) -> Training:
        """A new model with biases from X, and its own stream of random numbers."""
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        visible, units, penalties = self._start(X)
        dtype, random = self._precision(X), np.random.RandomState(seed)
        rows = self._rows(X, units)
        settings = completed(given, lambda: self._traits(visible, rows, units))
        rbm = RBM(visible, Bernoulli(int(settings["n_components"]))).to(dtype)
        training = Training(rbm, units, random, penalties, dtype=dtype, settings=settings)
        self._initialize(training, X, weights)
        if settings["sampler"] == SamplerName.tempering:
            training.sampler = make_sampler(settings["sampler"], base_rows(rbm, rows))
        rbm.to(precision_of(X))
        return training

    def _initialize(self, training: Training, X: Any, weights: Tensor | None) -> None:
        """Set the parameters that training starts from."""
        start(training.rbm, as_rows(X, training.units), weights, training.generator())

    def _keep(self, training: Training) -> None:
        """Take the fitted attributes from a model in training."""
        self._training: Training = training
        self.rbm_: RBM = self._fitted(training)
