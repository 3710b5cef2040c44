"""A starting point fitted to the data."""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite.checks import check_generator
from gibbsite.model import RBM

WEIGHT_SCALE = 0.01


@torch.no_grad()
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
    rbm.visible.initialize(rbm.visible.check_data(data))
    rbm.hidden.bias.zero_()
    noise = torch.randn(
        rbm.weight.shape, generator=generator, dtype=rbm.weight.dtype, device=rbm.weight.device
    )
    rbm.weight.copy_(WEIGHT_SCALE * noise)
