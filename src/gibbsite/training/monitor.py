"""The figures a training run reports once an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.likelihood import free_energy_gap, pseudo_likelihood, reconstruction_error
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.training.history import Record

CHEAP_STATES = 2**16
ROWS = 200


@dataclass
class Monitor:
    """Callback for `fit` that measures the model on fixed data after each epoch.

    ``train_log_likelihood`` and ``test_log_likelihood`` (mean, nats, exact) where the model has at
    most 2^16 states to sum over; ``free_energy_gap`` wherever there is a test set;
    ``reconstruction_error`` and ``pseudo_likelihood`` of the first 200 test rows (of train, if
    there is no test set).

    >>> import gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> sorted(gb.Monitor(data)(rbm, {}))
    ['pseudo_likelihood', 'reconstruction_error', 'train_log_likelihood']
    """

    train: Tensor
    test: Tensor | None = None

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: Record) -> Record:
        figures: Record = {}
        if exact.is_enumerable(rbm, CHEAP_STATES):
            log_z = exact.log_partition(in_double(rbm))
            figures["train_log_likelihood"] = _mean_log_likelihood(rbm, self.train, log_z)
            if self.test is not None:
                figures["test_log_likelihood"] = _mean_log_likelihood(rbm, self.test, log_z)
        if self.test is not None:
            figures["free_energy_gap"] = free_energy_gap(rbm, self.train, self.test)
        rows = (self.train if self.test is None else self.test)[:ROWS]
        figures["reconstruction_error"] = reconstruction_error(rbm, rows)
        figures["pseudo_likelihood"] = pseudo_likelihood(rbm, rows)
        return figures


def _mean_log_likelihood(rbm: RBM, v: Tensor, log_z: Tensor) -> float:
    return (negative_free_energies(rbm, v).mean() - log_z).item()
