"""The kernels in plain torch: for other devices, and the oracle of the compiled ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def draw_bernoulli_(
    x: Tensor, bias: Tensor, generator: torch.Generator | None = None, scale: float = 1.0
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + scale x), else 0."""
    return draw_probabilities_(mean_bernoulli_(x, bias, scale), generator)


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


def softplus_change(x: Tensor, bias: Tensor, base: Tensor, old: float, new: float) -> Tensor:
    """Growth from old to new of sum_j log(1 + exp(bias_j + base_j + t (x_j - base_j)))."""
    # torch replaces softplus(x) by x above its threshold: at 20 that loses 2e-9 a unit
    after, before = (softplus(bias + torch.lerp(base, x, t), threshold=40.0) for t in (new, old))
    return (after - before).sum(-1, dtype=torch.float64)


def row_dot(x: Tensor, weights: Tensor) -> Tensor:
    return x.double() @ weights.double()


def column_mean(x: Tensor) -> Tensor:
    return x.mean(0)


def mean_difference(x: Tensor, rows: int) -> Tensor:
    return x[:rows].mean(0) - x[rows:].mean(0)


def shares(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x[:rows] / rows, x[rows:] / (rows - len(x))])


def is_binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def center_(
    weight: Tensor, left: Tensor, hidden: Tensor, visible: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """weight <- weight - left hidden^T - visible right^T, times hidden and times visible."""
    weight.addmm_(torch.stack([left, visible], 1), torch.stack([hidden, right]), alpha=-1)
    return weight @ hidden, visible @ weight


def square_sum(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x).item() ** 2)


@torch.no_grad()
def ascend_(
    x: Tensor, gradient: Tensor, rate: float, velocity: Tensor | None, momentum: float
) -> None:
    """velocity <- momentum velocity + gradient, x <- x + rate velocity; without: the gradient."""
    if velocity is not None:
        gradient = velocity.mul_(momentum).add_(gradient)
    x.add_(gradient, alpha=rate)
