"""Initialisation of a model from the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gibbsite.checks import as_tensor, check_generator
from gibbsite.errors import ArgumentError
from gibbsite.layers.missing import check_observed
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.holes import observed_means

WEIGHT_SCALE = 0.01

SPREAD = 2**22
"""Entries, about, that biases are found from."""


def initialize(rbm: RBM, data: Tensor, generator: torch.Generator | None = None) -> None:
    """Start afresh: weights ~ N(0, 0.01^2), hidden biases 0, visible biases from the data.

    The visible biases become the log-odds of each column (its mean for Gaussian units), the best
    model without weights. Missing entries, NaN, are left out. `fit` does this to a model whose
    weights are all 0.
    Source: Hinton (2010), A practical guide to training RBMs, section 8.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    >>> gb.initialize(rbm, torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.Generator().manual_seed(0))
    >>> rbm.visible.bias.tolist()[0]
    0.0
    """
    check_generator(generator)
    _initialize(rbm, observed_means(rbm.visible, check_observed(rbm.visible, data)), generator)


def start(
    rbm: RBM, rows: Rows, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> None:
    """`initialize` from rows spread over the data, with `row_weights` if there are any."""
    index = rows.spaced_index(SPREAD * rows.shape[1] // rbm.visible.width)
    data = rbm.visible.coerce(rows.at(index))
    own = None if weights is None else weights[index.to(weights.device)]
    if bool(data.isnan().any()):
        data = observed_means(rbm.visible, data, own)
    if own is not None:  # biases depend on the rows by their mean
        data = data * own[:, None]
    _initialize(rbm, data, generator)


@torch.no_grad()
def _initialize(rbm: RBM, rows: Tensor, generator: torch.Generator | None) -> None:
    rbm.visible.initialize(rows)
    rbm.hidden.zero_biases()
    noise = torch.randn(
        rbm.weight.shape, generator=generator, dtype=rbm.weight.dtype, device=rbm.weight.device
    )
    rbm.weight.copy_(WEIGHT_SCALE * noise)


def row_weights(weights: Any, rows: int, like: Tensor) -> Tensor:
    """Weights over their mean, (rows,), in the dtype of `like`; else `ArgumentError`."""
    weights = as_tensor(weights, like.detach().double()).detach()
    if weights.shape != (rows,):
        raise ArgumentError(
            f"weights of shape {tuple(weights.shape)} for {rows} rows; give one a row"
        )
    bad = ~(torch.isfinite(weights) & (weights >= 0))
    if bool(bad.any()) or not bool(weights.any()):
        row = int(bad.nonzero()[0]) if bool(bad.any()) else 0
        raise ArgumentError(
            f"the weight of row {row + 1} (counted from 1) is {float(weights[row]):g}; expected "
            "finite weights of at least 0, not all of them zero"
        )
    weights = weights / weights.max()  # so that their sum is finite
    relative: Tensor = weights / weights.mean()
    return relative.to(like.dtype)
