"""A starting point fitted to the data."""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite.checks import check_generator
from gibbsite.model import RBM
from gibbsite.rows import Rows

WEIGHT_SCALE = 0.01


def initialize(rbm: RBM, data: Tensor, generator: torch.Generator | None = None) -> None:
    """Start afresh: weights ~ N(0, 0.01^2), hidden biases 0, visible biases from the data.

    The visible biases become the log-odds of each column (its mean for Gaussian units), the best
    model without weights. `fit` does this to a model whose weights are all 0.
    Source: Hinton (2010), A practical guide to training RBMs, section 8.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    >>> gb.initialize(rbm, torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.Generator().manual_seed(0))
    >>> rbm.visible.bias.tolist()[0]
    0.0
    """
    check_generator(generator)
    _initialize(rbm, rbm.visible.check_data(data), generator)


def start(
    rbm: RBM, rows: Rows, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> None:
    """`initialize` from rows spread over the data, counted with weights of mean 1."""
    index = rows.spread()
    data = rbm.visible.coerce(rows.at(index))
    if weights is not None:  # biases depend on the rows by their mean
        data = data * weights[index.to(weights.device), None]
    _initialize(rbm, data, generator)


@torch.no_grad()
def _initialize(rbm: RBM, rows: Tensor, generator: torch.Generator | None) -> None:
    rbm.visible.initialize(rows)
    rbm.hidden.zero_biases()
    noise = torch.randn(
        rbm.weight.shape, generator=generator, dtype=rbm.weight.dtype, device=rbm.weight.device
    )
    rbm.weight.copy_(WEIGHT_SCALE * noise)
