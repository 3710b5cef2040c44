"""Log-likelihoods under simple models, which any RBM should beat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gibbsite.covariance import ShrunkCorrelation
from gibbsite.errors import DataError
from gibbsite.likelihood.monitors import as_states
from gibbsite.model import RBM

INDEPENDENT, GAUSSIAN = "independent_columns", "one_gaussian"
WORDS = {INDEPENDENT: "independent columns", GAUSSIAN: "one Gaussian"}

MAX_COLUMNS = 2000
"""Columns beyond which no covariance is estimated, as it takes too long."""


@torch.no_grad()
def baselines(rbm: RBM, data: Tensor, train: Tensor | None = None) -> dict[str, float]:
    r"""Mean log-likelihood of data, in nats a row, under simple models fitted to train.

    ``independent_columns`` is the visible layer of rbm alone, without weights, set by
    `Layer.fitted`: $\log p(v) = -E_v(v) - \log Z_v$. If all columns are real there
    is also ``one_gaussian``, with a full covariance, shrunk as held-out rows ask for
    (`gibbsite.covariance.ShrunkCorrelation`); up to 2,000 columns. A trained model below one of
    them has learned too little.

    Args:
        data: (rows, n_visible); for Bernoulli units 0 and 1, as drawn for the likelihood that they
            are compared with.
        train: rows to fit to; without them the data, which favours the baselines.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.likelihood import baselines
    >>> rbm, rows = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(8)), torch.tensor([[0.0, 0], [1, 1]])
    >>> {name: round(value, 4) for name, value in baselines(rbm, rows).items()}  # -2 log 2
    {'independent_columns': -1.3863}
    """
    v = as_states(rbm, data).double()
    train = v if train is None else as_states(rbm, train).double()
    layer = rbm.visible.uncorrelated().fitted(train)
    zero = torch.zeros_like(v[:1])
    result = {INDEPENDENT: layer.log_prob(v, zero).mean().item()}
    if not math.isfinite(result[INDEPENDENT]):
        raise DataError("values too large to square; rescale the data")
    if bool(layer.measured.all()) and v.shape[1] <= MAX_COLUMNS and len(train) > 1:
        mean, per_unit = layer.mean(zero), layer.statistic(torch.ones_like(zero))
        standard = layer.statistic(v - mean), layer.statistic(train - mean)
        result[GAUSSIAN] = _gaussian(*standard) + per_unit.log().sum().item()
    return result


def _gaussian(v: Tensor, train: Tensor) -> float:
    """Mean log-density of v under one Gaussian fitted to train; both are standardised."""
    found = ShrunkCorrelation.of([train])  # a constant column keeps the sigma of the layer
    squares = (v @ found.vectors) ** 2 / found.values
    return float(-0.5 * (squares + (2 * math.pi * found.values).log()).sum(1).mean())


def shortfalls(log_likelihood: float, baselines: dict[str, float], rows: str) -> list[str]:
    """A sentence for each baseline with a higher log-likelihood than the model's."""
    return [
        f"the model explains the {rows} rows worse than {WORDS[name]}: {log_likelihood:.4f} "
        f"against {value:.4f} nats; train longer, with a smaller learning rate or more hidden units"
        for name, value in baselines.items()
        if log_likelihood < value
    ]
