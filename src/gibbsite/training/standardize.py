"""Train on standardised columns, keep the model in the units of the data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.model import RBM


def column_scales(data: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, (n,) each; constant columns raise `DataError`."""
    shift, scale = data.mean(0), data.std(0, correction=0)
    constant = (scale <= 1e-6 * shift.abs().clamp(min=1e-6)).nonzero()
    if len(constant):
        raise DataError(
            f"column {int(constant[0])} is constant ({shift[constant[0]].item():g}), so it has no "
            "density; leave it out"
        )
    return shift, scale


@torch.no_grad()
def to_data_units(rbm: RBM, shift: Tensor, scale: Tensor) -> RBM:
    r"""The model of shift + scale * v, when rbm is the model of v; exact, a new RBM.

    With $v' = m + s v$: $b' = m + s b$, $\sigma' = s\sigma$, $W' = W$, and as
    $v/\sigma = v'/\sigma' - m/\sigma'$, the hidden biases become $c' = c - W^T m/\sigma'$.
    Log-densities fall by $\sum_i\log s_i$. Raises `ArgumentError` for Bernoulli units.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import to_data_units
    >>> rbm = gb.RBM(gb.Gaussian(1), gb.Bernoulli(1))
    >>> to_data_units(rbm, torch.tensor([5.0]), torch.tensor([2.0])).visible.sigma
    tensor([2.])
    """
    visible = rbm.visible.rescaled(shift, scale)
    result = RBM(visible, copy.deepcopy(rbm.hidden))
    result.weight.copy_(rbm.weight)
    result.hidden.bias.sub_(visible.statistic(shift) @ rbm.weight)
    return result
