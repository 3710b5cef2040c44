"""The exact gradient, for models small enough to enumerate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gibbsite import exact, observed
from gibbsite.gradients.base import Batch, Info, Stateless
from gibbsite.model import RBM
from gibbsite.precision import in_double


@dataclass(frozen=True)
class ExactGradient(Stateless):
    """Data expectation minus model expectation, both exact: Cheng's (2.14)-(2.16), (3.14)-(3.16).

    Costs one enumeration (`gb.exact`) an update and raises `TooLargeError` where that does. Missing
    entries are summed over, too: the gradient is then that of log p(v_observed).

    >>> import gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> history = gb.fit(rbm, data, gradient=gb.ExactGradient(), epochs=5)
    """

    marginalises = True

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        data, info = _phase(rbm, batch)
        model = exact.model_phase(rbm)
        total = replace(batch, observed=None).total()
        gradient = {name: data[name] - total * model[name] for name in data}
        return gradient, None, info


def _phase(rbm: RBM, batch: Batch) -> tuple[dict[str, Tensor], Info]:
    """The positive phase and the means of v and h; of rows with holes in float64."""
    if batch.observed is None:
        return rbm.data_phase(batch.v, batch.shares), batch.means(rbm.hidden_mean(batch.v))
    known = replace(batch, observed=None)
    v = batch.v.masked_fill(~batch.observed, torch.nan).double()
    phase = observed.phase(in_double(rbm), v, known.shares.double())
    gradient = {name: value.to(rbm.weight) for name, value in phase.gradient.items()}
    total = max(float(known.total()), torch.finfo(v.dtype).tiny)
    means = (phase.visible / total, phase.hidden / total)
    return gradient, Info(*(mean.to(rbm.weight) for mean in means))
