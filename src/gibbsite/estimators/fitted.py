"""Fitted estimators: their attributes, features, scores and samples."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from gibbsite import exact
from gibbsite.checks import check_counts, check_tensor, check_unmasked
from gibbsite.errors import DataError, LikelihoodWarning
from gibbsite.estimators.scores import LIKELIHOODS, fingerprint, scores
from gibbsite.estimators.settings import is_auto
from gibbsite.estimators.tables import Array, Units, as_numpy, as_rows
from gibbsite.estimators.training import Training
from gibbsite.likelihood import LogPartition, log_partition
from gibbsite.likelihood.monitors import negative_free_energies, pseudo_log_likelihoods
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, sample
from gibbsite.training import History
from gibbsite.training.named import check_choice, make_device

FLOATS = (np.float64, np.float32)


class FittedRBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator once it is fitted: a model, and how it was trained."""

    chains: int | str
    likelihood: str
    device: str
    rbm_: RBM
    _training: Training

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

    def _admit(self, X: Any) -> Units:
        """Units of training, widened to a later table by rounding at most, else `DataError`."""
        return self._training.units

    def _units(self) -> Units:
        """Units of `rbm_`."""
        return self._training.units

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
