"""Base class of the estimators: everything but the kind of visible units."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from gibbsite import exact
from gibbsite.checks import check_counts, check_strength, check_tensor, check_unmasked
from gibbsite.errors import ArgumentError, DataError, DivergenceError, LikelihoodWarning
from gibbsite.estimators.scores import LIKELIHOODS, fingerprint, scores
from gibbsite.estimators.settings import (
    AUTO,
    NAMES,
    STREAM,
    Settings,
    check_given,
    completed,
    is_auto,
)
from gibbsite.estimators.tables import Array, Units, as_numpy, as_rows, precision_of
from gibbsite.estimators.training import Plan, Training
from gibbsite.layers import Bernoulli, Layer
from gibbsite.likelihood import LogPartition, log_partition
from gibbsite.likelihood.monitors import negative_free_energies, pseudo_log_likelihoods
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import Gibbs, Sampler, sample
from gibbsite.training import L1, L2, History, Traits
from gibbsite.training.fit import RESTARTS
from gibbsite.training.initialize import row_weights, start
from gibbsite.training.named import (
    SamplerName,
    check_choice,
    make_device,
    make_gradient,
    make_sampler,
)
from gibbsite.training.recipe import base_rows
from gibbsite.training.run import Penalty

log = logging.getLogger("gibbsite")

FLOATS = (np.float64, np.float32)


@dataclass(eq=False, repr=False, kw_only=True)
class BaseRBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
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

    def _admit(self, X: Any) -> Units:
        """Units of training, widened to a later table by rounding at most, else `DataError`."""
        return self._training.units

    def _rows(self, X: Any, units: Units) -> Rows:
        """The rows to train on, in those units."""
        return as_rows(X, units)

    def _precision(self, X: Any) -> torch.dtype:
        """Dtype to train in."""
        return torch.float32

    def _units(self) -> Units:
        """Units of `rbm_`."""
        return self._training.units

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
        """What a call of `gibbsite.fit` takes."""
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
            own = {**given, "n_components": training.rbm.hidden.n}
            rows = self._rows(X, training.units)
            training.settings = completed(
                own, lambda: self._traits(training.rbm.visible, rows, training.units)
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
        for _ in range(RESTARTS if is_auto(self.learning_rate) else 0):
            own = copy.deepcopy((training.rbm, training.random, training.state))
            attempt = replace(training, rbm=own[0], random=own[1], state=own[2])
            try:
                attempt.advance(rows, weights, plan, name)
                return attempt
            except DivergenceError as error:
                rate = plan.learning_rate
                log.warning("training diverged at update %d with a learning rate of %g; it starts "
                            "again at %g", error.step, rate, rate / 4)  # fmt: skip
                plan = plan._replace(learning_rate=rate / 4)
        training.advance(rows, weights, plan, name)
        return training

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

    # fitted attributes

    @property
    def components_(self) -> Array:
        """Weights, (n_components, n_features): the transpose of ``rbm_.weight``."""
        return as_numpy(self.rbm_.weight.T)

    @property
    def intercept_hidden_(self) -> Array:
        """Biases of the hidden units, (n_components,)."""
        return as_numpy(self.rbm_.hidden.bias)

    @property
    def intercept_visible_(self) -> Array:
        """Biases of the visible units, (n_features,)."""
        return as_numpy(self.rbm_.visible.bias)

    @property
    def h_samples_(self) -> Array:
        """Hidden states of the persistent chains, (chains, n_components).

        For gradients that have none, of `chains` new ones (100 by default) after 1000 Gibbs steps,
        always with the same seed.
        """
        chains = self._training.hidden_chains
        if chains is None:
            generator = torch.Generator().manual_seed(0)
            n = 100 if is_auto(self.chains) else int(self.chains)
            v = sample(self.rbm_, n, generator=generator)
            chains = self.rbm_.sample_hidden(v, generator)
        return as_numpy(chains.to(self.rbm_.weight.dtype))

    @property
    def history_(self) -> History:
        """Record by `gibbsite.fit` of the last call of `fit` or `partial_fit`."""
        return self._training.history

    @property
    def _n_features_out(self) -> int:
        return self.rbm_.hidden.n

    # use of the model

    @torch.no_grad()
    def transform(self, X: Any) -> Array:
        r"""Features $E[h\mid v]$ of each row, (n_samples, n_components), in the dtype of X.

        Raises NotFittedError before `fit`, and ValueError for tables that do not fit. Values
        beyond the range trained on are let pass: the formula holds for every real v.
        """
        X = self._validated(X)
        rbm = self._model()
        features = np.empty((X.shape[0], rbm.hidden.n), X.dtype)
        start = 0
        for block in as_rows(X, self._units()).blocks():
            features[start : start + len(block)] = as_numpy(rbm.hidden_mean(block))
            start += len(block)
        return features

    @torch.no_grad()
    def inverse_transform(self, X: Any) -> Array:
        r"""Visible means $E[v\mid h]$ of rows of h, (n_samples, n_features), in units of the data.

        X is (n_samples, n_components): hidden states, or features from `transform`.
        """
        check_is_fitted(self)
        h = check_array(X, accept_sparse="csr", dtype=FLOATS)
        if h.shape[1] != self._n_features_out:
            raise DataError(
                f"X has {h.shape[1]} columns, but {type(self).__name__} has "
                f"{self._n_features_out} components; pass what transform returns"
            )
        rbm = self._model()
        means = [as_numpy(rbm.visible_mean(block)) for block in as_rows(h, Units()).blocks()]
        return self._units().of_data(np.concatenate(means)).astype(h.dtype, copy=False)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        r"""Log-likelihood of each row in nats, $\log p(v) = -F(v) - \log Z$, (n_samples,).

        Deterministic; the score of a row does not depend on the others. The hyperparameter
        `likelihood` says where log Z comes from:

        - "exact": enumeration; TooLargeError (a ValueError) where neither layer has at most 2^25
          states.
        - "bridge": estimated by annealing in both directions, with rows that `fit` kept.
        - "ais": estimated by annealing in one direction: in half the time, but log Z is too low
          on average, so the result too high, and no check can confirm it: it always warns.
        - "auto": "exact" if one of the layers has at most 2^20 states (20 hidden units), else
          "bridge": the same quantity for every model, so that a search compares like with like.

        "pseudo" asks for something else, $\sum_i \log p(v_i \mid v_{-i})$, each conditional exact.

        An estimate that fails its checks warns by `LikelihoodWarning`. `log_partition` has its
        error bar; it is made once a fitted model, by about 8,900 products of 100 rows with the
        weights: 1.5 s of one core for 64 x 256 units, 4.3 s for 784 x 256.
        """
        X = self._validated(X)
        self._admit(X)
        rbm, rows = self._model(), as_rows(X, self._units())
        check_choice("likelihood", self.likelihood, *LIKELIHOODS)
        if self.likelihood == "pseudo":
            return scores(rbm, rows, pseudo_log_likelihoods)
        log_z = self._log_partition(rbm)
        if log_z.problems:
            warnings.warn(
                f"scores of {type(self).__name__}(likelihood={self.likelihood!r}) rest on a "
                f"log Z that failed its checks: {log_z.verdict}",
                LikelihoodWarning,
                stacklevel=2,
            )
        return scores(rbm, rows, negative_free_energies) - log_z.value

    def log_partition(self) -> LogPartition:
        """log Z of `rbm_` as in `score_samples`, with its error and its `verdict`.

        By the method that `likelihood` names ("auto" for "pseudo", which needs none), always with
        the same seed. Cached until the model changes. Raises NotFittedError before `fit`.
        """
        check_is_fitted(self)
        check_choice("likelihood", self.likelihood, *LIKELIHOODS)
        return self._log_partition(self._model())

    def _log_partition(self, rbm: RBM) -> LogPartition:
        method = "auto" if self.likelihood == "pseudo" else self.likelihood
        key = method, rbm.weight.device.type, fingerprint(rbm)
        cached = self._training.log_z
        if cached is None or cached[0] != key:
            generator = torch.Generator(rbm.weight.device).manual_seed(0)
            data = self._training.sample.rows
            cached = key, log_partition(rbm, method, data=data, generator=generator)
            self._training.log_z = cached
        return cached[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples` over the rows, in nats; what GridSearchCV maximises."""
        return float(self.score_samples(X).mean())

    def gibbs(self, v: Any) -> Array:
        """One Gibbs step from each row: h ~ p(h | v), then v ~ p(v | h); (n_samples, n_features).

        In units of the data and the dtype of v. Each call draws anew.
        """
        v = self._validated(v)
        self._admit(v)
        rbm, sampler = self._model(), Gibbs()
        generator = self._training.generator(rbm.weight.device)
        start = sampler.init(rbm, as_rows(v, self._units()).dense())
        state, _ = sampler.step(rbm, start, generator)
        return self._units().of_data(as_numpy(state.v)).astype(v.dtype, copy=False)

    @torch.no_grad()
    def sample(self, n_samples: int = 1, *, steps: int = 1000, random_state: Any = None) -> Array:
        """Draw rows from the model, (n_samples, n_features), in units of the data.

        Independent and exact if one of the layers has at most 2^20 states; else each is the end of
        a Gibbs chain of its own of `steps` steps. Without `random_state` each call draws anew.
        """
        check_is_fitted(self)
        check_counts(n_samples=n_samples, steps=steps)
        rbm = self._model()
        generator = self._training.generator(rbm.weight.device)
        if random_state is not None:
            generator.manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
        if exact.is_small(rbm):
            v = exact.sample(rbm, n_samples, generator)
        else:
            v = sample(rbm, n_samples, steps=steps, generator=generator)
        return self._units().of_data(as_numpy(v))

    def _validated(self, X: Any, reset: bool = False) -> Any:
        """X as an array or CSR matrix of floats; with the columns fitted to, unless they are reset.

        Refuses masked arrays and odd tensors, where scikit-learn loses the mask or fails untyped.
        """
        if not reset:
            check_is_fitted(self)
        check_unmasked(X)
        if isinstance(X, Tensor):
            check_tensor(X)
        return validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=reset)

    def _model(self) -> RBM:
        """The model on `device`; a copy unless that is the CPU."""
        device = make_device(self.device)
        return self.rbm_ if device.type == "cpu" else copy.deepcopy(self.rbm_).to(device)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "rbm_")  # a fit that failed has set attributes of the columns

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
