"""Course of the held-out pseudo-likelihood, which stands in where log Z cannot be had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gibbsite.likelihood.monitors import (
    free_energy_gap,
    has_pseudo_likelihood,
    pseudo_log_likelihoods,
)
from gibbsite.model import RBM
from gibbsite.training.restore import check_same

ROWS = 200
"""Rows for the pseudo-likelihood, at most, which costs as many free energies a row as units."""

CLEAR = 2.0
"""Standard errors by which a later figure must be worse to be clearly worse."""


class PseudoCourse:
    r"""Pseudo-likelihoods of held-out rows by epoch, with the model before they got clearly worse.

    The conditionals $p(v_i \mid v_{-i})$ of held-out rows need no log Z, and get worse where a
    model learns its rows by heart. A model is clearly worse than another by the mean difference of
    the same rows, beyond two standard errors.

    Args:
        rows: states held out, (rows, visible.width); 200 of them are used, at most.
        train: states trained on, for the free-energy gap, or None.
    """

    def __init__(self, rows: Tensor, train: Tensor | None) -> None:
        self.rows, self.train = rows, None if train is None else train[: len(rows)]
        self.epochs: list[int] = []
        self.scores: list[Tensor] = []
        """Pseudo-log-likelihood of each row after each of the epochs, in nats."""
        self.gaps: list[float] = []
        self.best: dict[str, Tensor] = {}
        """Parameters of the best model."""

    def measure(self, model: RBM, epoch: int) -> dict[str, float]:
        """Figures of a model after an epoch, which is kept unless it is clearly worse."""
        self.epochs.append(epoch)
        figures = {}
        if self.train is not None:
            self.gaps.append(free_energy_gap(model, self.train, self.rows))
            figures["validation_gap"] = self.gaps[-1]
        if has_pseudo_likelihood(model):
            self.scores.append(pseudo_log_likelihoods(model, self.rows[:ROWS]).cpu())
            figures["validation_pseudo_likelihood"] = float(self.scores[-1].mean())
        if not self.worse():
            self.best = {name: x.detach().clone() for name, x in model.named_parameters()}
        return figures

    def worse(self) -> int:
        """Number of the last epochs in a row that are clearly worse than the best."""
        highest = max(self.scores, key=lambda scores: float(scores.mean()), default=None)
        for count, scores in enumerate(self.scores[::-1]):
            if highest is None or not _is_clearly_worse(scores, highest):
                return count
        return 0

    @property
    def best_epoch(self) -> int:
        """Epoch of the model that is kept."""
        return self.epochs[len(self.epochs) - 1 - self.worse()]

    @property
    def best_score(self) -> float:
        """Mean pseudo-log-likelihood of that model, in nats; minus infinity if there is none."""
        return float(self.scores[-1 - self.worse()].mean()) if self.scores else -math.inf

    def verdict(self) -> str:
        """The course in words, or "" with too few figures."""
        if len(self.epochs) < 2:
            return ""
        told = ["no likelihood could be estimated"]
        if self.worse():
            told.append(f"overfitting since epoch {self.best_epoch} by the pseudo-likelihood")
        if len(self.gaps) == len(self.epochs):
            told.append(
                f"the gap of training to held-out rows went from {self.gaps[0]:.2f} to "
                f"{self.gaps[-1]:.2f} nats since epoch {self.epochs[0]}"
            )
        return "; ".join(told)

    def state_dict(self) -> dict[str, Any]:
        """The figures and the best parameters, for a checkpoint."""
        scores = torch.stack(self.scores) if self.scores else torch.zeros(0, 0)
        return {
            "epochs": list(self.epochs),
            "gaps": list(self.gaps),
            "scores": scores,
            "best": dict(self.best),
        }

    def load_state_dict(self, state: Mapping[str, Any], model: RBM) -> None:
        """Put back what `state_dict` gave; `ValueError` if it is of another model or other rows."""
        epochs, gaps = [int(x) for x in state["epochs"]], [float(x) for x in state["gaps"]]
        scores, best = list(state["scores"].double().unbind()), state["best"]
        rows = {len(self.rows[:ROWS])} if scores else set()
        if {len(x) for x in scores} != rows or not len(epochs) >= max(len(scores), len(gaps)):
            raise ValueError("pseudo-likelihoods of other rows or epochs")
        if not all(map(math.isfinite, gaps)) or not all(bool(x.isfinite().all()) for x in scores):
            raise ValueError("figures that are not finite")
        parameters = dict(model.named_parameters())
        self.best = restored(best, parameters)
        self.epochs, self.gaps, self.scores = epochs, gaps, scores


def restored(best: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a best model from a checkpoint; `ValueError` if they are of another model."""
    if best and best.keys() != parameters.keys():
        raise ValueError(f"a best model of {sorted(best)}")
    return {
        name: check_same(f"the best {name}", x.detach(), best[name].to(x.device)).clone()
        for name, x in parameters.items()
        if best
    }


def _is_clearly_worse(scores: Tensor, highest: Tensor) -> bool:
    """True if the rows have a lower mean, by more than two standard errors of the difference."""
    change = scores - highest
    error = float(change.std()) / math.sqrt(len(change)) if len(change) > 1 else math.inf
    return float(change.mean()) < -CLEAR * error
