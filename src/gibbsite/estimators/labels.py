"""Labels of rows as the last visible unit of a model: their probabilities, and early stopping."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.gradients import label_log_probabilities
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.rows import Rows
from gibbsite.training.history import Record

BLOCK_BYTES = 2**24


def blocks_of(rbm: RBM, classes: int, rows: int) -> list[slice]:
    """Slices of rows, so many that the hidden inputs of all classes fill `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (8 * (classes * rbm.hidden.width + rbm.visible.width)))
    return [slice(start, start + size) for start in range(0, rows, size)]


@torch.no_grad()
def posterior(rbm: RBM, rows: Rows, device: torch.device) -> NDArray[np.float64]:
    """log p(y | x) of each row of x, (rows, classes), in float64."""
    model = in_double(copy.deepcopy(rbm).to(device))
    classes = rbm.visible.width - rows.shape[1]
    done = []
    for part in blocks_of(rbm, classes, len(rows)):
        x = rows[part].to(model.weight)
        v = torch.cat([x, x.new_zeros(len(x), classes)], 1)
        done.append(label_log_probabilities(model, v).cpu().numpy())
    return np.concatenate(done)


@dataclass
class HeldOutLabels:
    """Callback for `fit` that ends training once held-out labels are no longer predicted better.

    Args:
        model: gives the model to measure, such as the average of that in training.
        states: held-out rows of x and y, (rows, visible.width); y is the last unit.
        weights: one a row, (rows,); None for ones.
        patience: epochs without a better score after which training ends.

    Attributes:
        best_epoch: epoch of the highest mean log p(y | x); 0 before the first.
        best: the model of that epoch.
        finished: True once patience has run out.
    """

    model: Callable[[], RBM]
    states: Tensor
    weights: Tensor | None
    patience: int
    best_epoch: int = 0
    finished: bool = False
    best: RBM | None = None
    highest: float = field(default=-math.inf, repr=False)

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: Record) -> Record:
        model, epoch = self.model(), int(record["epoch"])
        parts = blocks_of(model, model.visible.width - model.visible.n + 1, len(self.states))
        found = torch.cat([label_log_probabilities(model, self.states[part]) for part in parts])
        true = self.states[:, -found.shape[1] :]
        score = self._mean((found * true).sum(1))
        if score > self.highest or self.best is None:
            self.highest, self.best_epoch, self.best = score, epoch, model
        self.finished = epoch - self.best_epoch >= self.patience
        accuracy = self._mean((found.argmax(1) == true.argmax(1)).to(found.dtype))
        return {"validation_log_probability": score, "validation_accuracy": accuracy}

    def _mean(self, values: Tensor) -> float:
        if self.weights is None:
            return values.mean().item()
        weights = self.weights.to(values)
        return float(weights @ values / weights.sum())
