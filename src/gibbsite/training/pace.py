"""Speed of training on this machine."""

from __future__ import annotations

import copy
import time

import torch

from gibbsite.gradients import Gradient
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.fit import fit

UPDATES = 30
"""Updates that are timed."""


def timed_update(rbm: RBM, rows: Rows, gradient: Gradient, batch_size: int) -> float:
    """Seconds of an update of a copy of the model, after as many that compile what is needed."""
    n = min(len(rows), UPDATES * batch_size)
    epochs, taken = max(1, UPDATES * batch_size // n), rows.take(torch.arange(n))
    for _ in range(2):
        model, generator = copy.deepcopy(rbm), torch.Generator(rbm.weight.device).manual_seed(0)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        started = time.perf_counter()
        history = fit(
            model,
            taken,
            gradient=gradient,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            generator=generator,
        )
        seconds = time.perf_counter() - started
    return seconds / history.records[-1]["updates"]
