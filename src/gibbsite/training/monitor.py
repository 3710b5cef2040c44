"""Monitor: figures of the model on fixed data, once an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.likelihood.monitors import (
    as_states,
    has_pseudo_likelihood,
    negative_free_energies,
    pseudo_log_likelihoods,
)
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import reconstruct
from gibbsite.training.history import Record

CHEAP_STATES = 2**16
"""States of the smaller layer up to which log Z is summed every epoch."""

ROWS = 200
"""Rows for the reconstruction error and the pseudo-likelihood."""


@dataclass
class Monitor:
    """Callback for `fit` that measures the model on fixed data after each epoch.

    ``train_log_likelihood`` and ``test_log_likelihood`` (mean, nats, exact) where the model has at
    most 2^16 states to sum over; ``free_energy_gap`` wherever there is a test set;
    ``reconstruction_error`` and, where there is one, ``pseudo_likelihood`` of the first 200 test
    rows (of train, if there is no test set). Means over train are weighted with `weights`, one a
    row, if given.

    >>> import gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> sorted(gb.Monitor(data)(rbm, {}))
    ['pseudo_likelihood', 'reconstruction_error', 'train_log_likelihood']
    """

    train: Tensor
    test: Tensor | None = None
    weights: Tensor | None = None

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: Record) -> Record:
        figures: Record = {}
        enumerable = exact.is_enumerable(rbm, CHEAP_STATES)
        if enumerable or self.test is not None:
            means = {name: self._mean(name, _free_energies(rbm, v)) for name, v in self._sets()}
            if enumerable:
                log_z = exact.log_partition(in_double(rbm)).item()
                figures |= {f"{name}_log_likelihood": -means[name] - log_z for name in means}
            if self.test is not None:
                figures["free_energy_gap"] = means["test"] - means["train"]
        name, data = self._sets()[-1]
        rows = rbm.visible.check_data(data[:ROWS])
        errors = ((rows - reconstruct(rbm, rows)) ** 2).mean(1)
        figures["reconstruction_error"] = self._mean(name, errors)
        if has_pseudo_likelihood(rbm):
            pseudo = pseudo_log_likelihoods(rbm, as_states(rbm, data[:ROWS]))
            figures["pseudo_likelihood"] = self._mean(name, pseudo)
        return figures

    def _sets(self) -> list[tuple[str, Tensor]]:
        train = ("train", self.train)
        return [train] if self.test is None else [train, ("test", self.test)]

    def _mean(self, name: str, values: Tensor) -> float:
        """Mean over the first rows of a set; of train with the weights."""
        if name == "test" or self.weights is None:
            return values.mean().item()
        weights = self.weights[: len(values)].to(values)
        return float(weights @ values / weights.sum())


def _free_energies(rbm: RBM, data: Tensor) -> Tensor:
    """F of each row in float64."""
    return -negative_free_energies(rbm, as_states(rbm, data))
