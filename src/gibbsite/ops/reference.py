"""The kernels in plain torch: for other devices, and the oracle of the compiled ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def draw_bernoulli_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    mean: Tensor | None = None,
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + scale x), else 0; `mean` gets the probabilities."""
    mean_bernoulli_(x, bias, scale)
    if mean is not None:
        mean.copy_(x)
    return draw_probabilities_(x, generator)


def draw_probabilities_(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x <- 1 with probability x, else 0. NaN gives 0, where torch.bernoulli would abort."""
    uniform = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return x.copy_(uniform < x)


def draw_gaussian_(
    x: Tensor,
    bias: Tensor,
    sigma: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
) -> Tensor:
    """x <- Normal(bias + sigma scale x, sigma^2)."""
    noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return x.mul_(scale).add_(noise).mul_(sigma).add_(bias)


def mean_bernoulli_(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """x <- sigmoid(bias + scale x)."""
    return x.mul_(scale).add_(bias).sigmoid_()


def softplus_sum(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """sum_j log(1 + exp(bias_j + scale x_j)) of each row, in float64."""
    # torch replaces softplus(x) by x above its threshold: at 20 that loses 2e-9 a unit
    return softplus(bias + scale * x, threshold=40.0).sum(-1, dtype=torch.float64)


def row_dot(x: Tensor, weights: Tensor) -> Tensor:
    return x.double() @ weights.double()
