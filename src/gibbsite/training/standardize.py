"""Train on standardised columns, keep the model in the units of the data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.model import RBM
from gibbsite.rows import Rows


def column_scales(data: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, (n,) each; constant columns raise `DataError`."""
    shift, scale = (moment.float() for moment in column_moments(data))
    constant = (scale <= 1e-6 * shift.abs().clamp(min=1e-6)).nonzero()
    if len(constant):
        raise DataError(
            f"column {int(constant[0])} is constant ({shift[constant[0]].item():g}), so it has no "
            "density; leave it out"
        )
    return shift, scale


def column_moments(data: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, (n,) each, in float64.

    One pass in blocks: Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance.
    """
    count, mean, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for block in data.blocks() if isinstance(data, Rows) else [data]:
        block = block.double()
        n, block_mean = len(block), block.mean(0)
        gap = block_mean - mean
        squares = squares + ((block - block_mean) ** 2).sum(0) + gap**2 * (count * n / (count + n))
        mean = mean + gap * (n / (count + n))
        count += n
    return mean, torch.sqrt(squares / count)


def to_standard_units(rbm: RBM, shift: Tensor, scale: Tensor) -> RBM:
    """The model of (v - shift) / scale, when rbm is the model of v: `to_data_units` undone.

    To go on with a model in the units of the data, such as the command writes, on rows of which
    each column has mean 0 and standard deviation 1. Raises `ArgumentError` for Bernoulli units.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import column_scales, to_data_units, to_standard_units
    >>> rbm = gb.RBM(gb.Gaussian(1, sigma=5.0), gb.Bernoulli(1))
    >>> data = torch.tensor([[290.0], [300.0]])
    >>> shift, scale = column_scales(data)
    >>> standard = to_standard_units(rbm, shift, scale)
    >>> history = gb.fit(standard, (data - shift) / scale)
    >>> to_data_units(standard, shift, scale).visible.sigma
    tensor([5.])
    """
    shift, scale = shift.double(), scale.double()  # shift / scale may need many digits
    standard = to_data_units(copy.deepcopy(rbm).double(), -shift / scale, 1 / scale)
    return standard.to(rbm.weight.dtype)


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
