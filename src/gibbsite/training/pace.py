"""Speed of training on this machine."""

from __future__ import annotations

import copy
import time

import torch

from gibbsite.gradients import Gradient
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.fit import fit

UPDATES, ROUNDS, ENOUGH = 30, 6, 1.0
"""Updates that are timed at once; how often at most; seconds after which it is not done again."""


def timed_update(rbm: RBM, rows: Rows, gradient: Gradient, batch_size: int) -> float:
    """Seconds of an update of a copy of the model, once what is needed is compiled.

    The least of several rounds, as other programs may take the processor for a moment.
    """
    n = min(len(rows), UPDATES * batch_size)
    epochs, taken = max(1, UPDATES * batch_size // n), rows.take(torch.arange(n))
    found: list[float] = []
    while len(found) < 2 or (len(found) < ROUNDS and sum(found[1:]) * UPDATES < ENOUGH):
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
        found.append(seconds / history.records[-1]["updates"])
    return min(found)
