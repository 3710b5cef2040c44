"""Train on standardised columns, keep the model in the units of the data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.likelihood.rounding import MAX_ROUNDING
from gibbsite.model import RBM
from gibbsite.precision import in_double
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


@torch.no_grad()
def to_data_units(rbm: RBM, shift: Tensor, scale: Tensor) -> RBM:
    r"""The model of shift + scale * v, when rbm is the model of v; a new RBM.

    With $v' = m + s v$: $b' = m + s b$, $\sigma' = s\sigma$, $W' = W$, and as
    $v/\sigma = v'/\sigma' - m/\sigma'$, the hidden biases become $c' = c - W^T m/\sigma'$.
    Log-densities fall by $\sum_i\log s_i$. Raises `ArgumentError` for Bernoulli units.
    A float32 model becomes one of float64 if c' would lose more digits than make `MAX_ROUNDING`
    nats, which it does for columns whose mean is hundreds of standard deviations.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import to_data_units
    >>> rbm = gb.RBM(gb.Gaussian(1), gb.Bernoulli(1))
    >>> to_data_units(rbm, torch.tensor([5.0]), torch.tensor([2.0])).visible.sigma
    tensor([2.])
    """
    wide, dtype = copy.deepcopy(rbm).double(), rbm.weight.dtype
    shift, scale = shift.to(wide.weight), scale.to(wide.weight)
    result = RBM(wide.visible.rescaled(shift, scale), wide.hidden)
    result.weight.copy_(wide.weight)
    result.hidden.bias.sub_(result.visible.statistic(shift) @ wide.weight)
    rounded = copy.deepcopy(result).to(dtype)
    # a large mean must leave of c' what it adds to the inputs of the hidden units
    return rounded if _loss(result, in_double(rounded), shift) <= MAX_ROUNDING else result


def _loss(exact: RBM, rounded: RBM, v: Tensor) -> float:
    """About how many nats F near v is off where the parameters are rounded; all in float64."""
    gaps = [
        rounded.hidden_inputs(v) + rounded.hidden.bias - exact.hidden_inputs(v) - exact.hidden.bias,
        rounded.visible.statistic(v - rounded.visible.bias)
        - exact.visible.statistic(v - exact.visible.bias),
    ]
    return float(torch.linalg.vector_norm(torch.cat(gaps)))
