"""The kernels in plain torch: for other devices, and the oracle of the compiled ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus


def draw_bernoulli_(
    x: Tensor, bias: Tensor, generator: torch.Generator | None = None, scale: float = 1.0
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + scale x), else 0."""
    share = x.mul_(scale).add_(bias).double().sigmoid_()  # float32 would round it to 1 too soon
    return x.copy_(uniform(x, generator) < share)


def draw_probabilities_(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x <- 1 with probability x, else 0. NaN gives 0, where torch.bernoulli would abort."""
    return x.copy_(uniform(x, generator) < x)


def uniform(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform draws strictly within (0, 1), in float64: in float32 torch's are steps of 2^-24."""
    draws = torch.rand(like.shape, dtype=torch.float64, device=like.device, generator=generator)
    return draws.add_(2.0**-55)  # k 2^-53 may be 0; half a step would round the last to 1


def draw_gaussian_(
    x: Tensor,
    bias: Tensor,
    sigma: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
) -> Tensor:
    """x <- Normal(bias + sigma scale x, sigma^2). In float32 torch's noise ends before 6 sigma."""
    noise = torch.randn(x.shape, dtype=torch.float64, device=x.device, generator=generator)
    return x.mul_(scale).add_(noise.to(x.dtype)).mul_(sigma).add_(bias)


def mean_bernoulli_(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """x <- sigmoid(bias + scale x)."""
    return x.mul_(scale).add_(bias).sigmoid_()


def softplus_sum(x: Tensor, bias: Tensor) -> Tensor:
    """sum_j log(1 + exp(bias_j + x_j)); x is (..., n), bias (n,)."""
    # torch replaces softplus(x) by x above its threshold: at 20 that loses 2e-9 a unit
    return softplus(bias + x, threshold=40.0).sum(-1)


def softplus_change(x: Tensor, bias: Tensor, base: Tensor, old: float, new: float) -> Tensor:
    """S(new) - S(old) of S(t) = sum_j log(1 + exp(bias_j + base_j + t (x_j - base_j)))."""
    after, before = (softplus(bias + torch.lerp(base, x, t), threshold=40.0) for t in (new, old))
    return (after - before).sum(-1, dtype=torch.float64)


def add_row_dot_(total: Tensor, x: Tensor, weights: Tensor, scale: float) -> None:
    """total <- total + scale sum_j weights_j x_j, in float64."""
    total.add_(x.double() @ weights.double(), alpha=scale)


def phase_statistics_(
    v: Tensor, h: Tensor, rows: int, v_means: Tensor, h_means: Tensor, shares: Tensor
) -> None:
    """Means of v and of h over the first rows, over the others, and the difference; shares of h."""
    for x, means in ((v, v_means), (h, h_means)):
        torch.mean(x[:rows], 0, out=means[0])
        torch.mean(x[rows:], 0, out=means[1])
        torch.sub(means[0], means[1], out=means[2])
    torch.div(h[:rows], rows, out=shares[:rows])
    torch.div(h[rows:], rows - len(h), out=shares[rows:])


def phase_spread_(x: Tensor, rows: int, center: Tensor, out: Tensor) -> None:
    """Mean of (x - center)^2 over the first rows less that over the others."""
    squares = (x - center) ** 2
    torch.sub(squares[:rows].mean(0), squares[rows:].mean(0), out=out)


def row_dots(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    return torch.sum(x.detach() * y, 1, out=out)


def is_binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def center_(
    weight: Tensor,
    biases: tuple[Tensor, Tensor],
    offsets: tuple[Tensor, Tensor],
    scales: tuple[Tensor, Tensor],
) -> None:
    """weight <- weight - (s b) lam^T - mu (t c)^T; then b <- b - s weight lam, and c likewise."""
    (b, c), (mu, lam), (s, t) = biases, offsets, scales
    weight.addmm_(torch.stack([s * b, mu], 1), torch.stack([lam, t * c]), alpha=-1)
    b.sub_(s * (weight @ lam))
    c.sub_(t * (mu @ weight))


def square_sum(tensors: Iterable[Tensor]) -> float:
    return float(sum(torch.linalg.vector_norm(x).item() ** 2 for x in tensors))


@torch.no_grad()
def ascend_(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rate: float,
    velocities: Sequence[Tensor],
    momentum: float,
) -> None:
    """u <- momentum u + g, x <- x + rate u for each x, g, u; without velocities u is g."""
    for u, gradient in zip(velocities, gradients, strict=False):
        u.mul_(momentum).add_(gradient)
    for x, u in zip(tensors, velocities or gradients, strict=True):
        x.add_(u, alpha=rate)
