"""The exact gradient, for models small enough to enumerate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.gradients.base import Batch, Info, Stateless
from gibbsite.model import RBM


@dataclass(frozen=True)
class ExactGradient(Stateless):
    """Data expectation minus model expectation, both exact: Cheng's (2.14)-(2.16), (3.14)-(3.16).

    Costs one enumeration (`gb.exact`) an update and raises `TooLargeError` where that does.

    >>> import gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> history = gb.fit(rbm, data, gradient=gb.ExactGradient(), epochs=5)
    """

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        data, model = rbm.data_phase(batch.v, batch.shares), exact.model_phase(rbm)
        gradient = {name: data[name] - batch.total() * model[name] for name in data}
        return gradient, None, batch.means(rbm.hidden_mean(batch.v))
